"""One or two models -> a page on which they are tried, until Ctrl-C."""

from collections.abc import Sequence

from lesionseg.inference.opening import find_paths
from lesionseg.pages.address import Address


def demo(models: Sequence[Sequence[str]], address: Address) -> str:
    """Serve the page until Ctrl-C.

    Args:
        models: one or two, each the path of an exported one, or of a config and its checkpoint.
        address: where.

    Returns:
        What was done, a line.

    Raises:
        DataError: a model cannot be used, before the page is served.
    """
    for model in models:
        find_paths(*model)
    address.check()
    from lesionseg.inference.segmenter import Segmenter
    from lesionseg.pages.demo import model_name
    from lesionseg.pages.demo_page import demo_css, demo_page
    from lesionseg.pages.serving import private_gradio, served, wait_for_the_end

    with private_gradio():
        page = demo_page([(model_name(model[0]), Segmenter(*model)) for model in models])
        with served(page, address, demo_css()) as url:
            print(f"showing {' and '.join(model[0] for model in models)} at {url} (Ctrl-C ends it)", flush=True)
            wait_for_the_end()
    return "the page has ended; its uploads are removed"
