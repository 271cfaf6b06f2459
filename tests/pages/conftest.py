"""A model, and pages that are served while a test looks at them."""

from contextlib import ExitStack

import pytest
from drawn_models import semantic_model

from lesionseg.pages.address import Address


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return semantic_model(tmp_path_factory.mktemp("model") / "dark.onnx")


@pytest.fixture
def serve():
    """Serve a page that a function makes, as long as the test runs; gives its address."""
    pytest.importorskip("gradio", reason="the extra apps is not installed")
    from lesionseg.pages.serving import private_gradio, served

    with ExitStack() as stack:
        stack.enter_context(private_gradio())
        yield lambda make, address=None, css="": stack.enter_context(served(make(), address or Address(), css))
