"""A model and photographs that the tests of prediction share."""

import pytest
from drawn_models import semantic_model
from helpers import draw_photos


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return semantic_model(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture
def photos(tmp_path):
    return draw_photos(tmp_path)
