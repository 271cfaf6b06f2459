"""A browser, a model, and pages that are served while a test looks at them."""

import shutil
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


@pytest.fixture(scope="module")
def chromium():
    """The browser; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("the browser chromium is not installed (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium):
    """A tab of 1,400 x 900 pixels; fails where any request has left this machine, or a script has failed."""
    context = chromium.new_context(viewport=dict(width=1400, height=900), accept_downloads=True)
    tab = context.new_page()
    asked, failed = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: failed.append(str(error)))
    yield tab
    context.close()
    own = ("http://127.0.0.1:", "data:", "blob:http://127.0.0.1:")
    assert [url for url in asked if not url.startswith(own)] == []
    assert failed == []
