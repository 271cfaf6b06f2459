"""A Gradio page on this machine: nothing leaves it, and no error says where anything lies."""

import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event
from types import ModuleType
from typing import TYPE_CHECKING

from lesionseg.cli import describe_unforeseen, one_line
from lesionseg.errors import DataError, Stopped
from lesionseg.pages.address import LOOPBACK, Address
from lesionseg.system_errors import describe_system_error

if TYPE_CHECKING:
    import gradio as gr

# Of an upload. A camera's largest JPEG has 50 MB.
MOST_BYTES = 100 * 10**6
# Browsers hold to it, whatever a page or a part of it asks for: scripts and pictures of this server and no others.
_POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; form-action 'self'; frame-ancestors 'self'"
# Of an absolute path, all but its last part.
_FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/:]+/)+")
_FAILED = "This could not be done. The terminal in which the page was started says why."


def import_gradio() -> ModuleType:
    """Import Gradio.

    Raises:
        DataError: it is not installed.
    """
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise DataError(
            f"{error.name}: not installed, expected it to serve a page. Install the extra apps: pip install '.[apps]'."
        ) from error
    return gradio


@contextmanager
def private_gradio() -> Iterator[None]:
    """Let Gradio keep uploads in a folder that only this user reads and that is removed when the block ends.

    Settings of Gradio in the environment, which could share the page or more files than are meant, do not count.
    """
    earlier = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="lesionseg-page-", ignore_cleanup_errors=True) as folder:
        for name in [name for name in os.environ if name.startswith("GRADIO_")]:
            del os.environ[name]
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1")
        # Gradio asks its own server whether it answers.
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join([*LOOPBACK, earlier.get("NO_PROXY", "")])
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(earlier)


def theme() -> "gr.themes.Base":
    """A plain look in the fonts of the reader's own system: Gradio's would be asked for elsewhere."""
    gradio = import_gradio()
    font = gradio.themes.Font
    return gradio.themes.Base(
        primary_hue="blue",
        neutral_hue="slate",
        radius_size="md",
        font=[font("system-ui"), font("Segoe UI"), font("DejaVu Sans"), font("sans-serif")],
        font_mono=[font("ui-monospace"), font("DejaVu Sans Mono"), font("monospace")],
    )


@contextmanager
def served(page: "gr.Blocks", address: Address, css: str = "") -> Iterator[str]:
    """Serve a page while the block runs.

    Gives:
        its address, such as `http://127.0.0.1:7860/`.

    Raises:
        DataError: it cannot listen there.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    address.check()
    # Otherwise, a page from elsewhere whose name is made to lead to this machine could read what is served.
    hosts = list(LOOPBACK) if address.is_local else ["*"]
    page.launch(
        server_name=address.host,
        server_port=address.port,
        auth=address.auth,
        share=False,
        show_error=False,
        max_file_size=MOST_BYTES,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        footer_links=[],
        theme=theme(),
        css=f"footer {{display: none !important}}\n{css}",
        app_kwargs=dict(
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(_ContentPolicy)]
        ),
        prevent_thread_lock=True,
        inbrowser=False,
        quiet=True,
    )
    # A browser that is closed amid an upload is no event.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    try:
        yield page.local_url
    finally:
        page.close(verbose=False)


def wait_for_the_end() -> None:
    """Wait for Ctrl-C, by which a page is ended."""
    try:
        Event().wait()
    except Stopped:
        raise
    except KeyboardInterrupt:
        print(file=sys.stderr)


class _ContentPolicy:
    """Sends `_POLICY` with every answer."""

    def __init__(self, app: Callable) -> None:
        self.app = app

    async def __call__(self, scope: Mapping, receive: Callable, send: Callable) -> None:
        async def send_with_policy(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self.app(scope, receive, send_with_policy)


def told(error: Exception, names: Mapping[str, str]) -> str:
    """Say in a page what is wrong, without a path of this machine; what nobody foresaw is told in the terminal.

    Args:
        error: that was raised.
        names: what paths are called in the page.
    """
    if isinstance(error, OSError) and error.strerror is not None:
        error = DataError(describe_system_error(error))
    if not isinstance(error, DataError):
        print(f"error: {one_line(describe_unforeseen(error))}", file=sys.stderr)
        return _FAILED
    message = str(error)
    for path, name in names.items():
        message = message.replace(path, name)
    return one_line(_FOLDERS.sub("", message))
