"""A model and photographs that the tests of prediction share, and runs that are ended."""

import time

import pytest
from drawn_models import semantic_model
from helpers import draw_photos
from predicted import table

from lesionseg.inference.segmenter import Segmenter

_SECONDS = 60


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return semantic_model(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture
def photos(tmp_path):
    return draw_photos(tmp_path)


@pytest.fixture
def interrupted(monkeypatch):
    """Lets Ctrl-C, or another error, come when the model is asked for the image of this number.

    With a folder, after the images before it, which are written behind, are in its table. Each has its row after its
    crops and instances have theirs.
    """

    def interrupt(number, error=KeyboardInterrupt, folder=None):
        predict_batch, asked = Segmenter.predict_batch, []

        def stop(self, images):
            asked.append(images)
            if len(asked) == number:
                deadline = time.monotonic() + _SECONDS
                while folder and len(table(folder)) < number - 1:
                    assert time.monotonic() < deadline, f"{folder}: its table does not grow"
                    time.sleep(0.01)
                raise error
            return predict_batch(self, images)

        monkeypatch.setattr(Segmenter, "predict_batch", stop)
        return asked

    return interrupt
