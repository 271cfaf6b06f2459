"""An image in, its lesion out: by networks, exported files and other methods, behind one interface.

Example:
    >>> from lesionseg.inference import PostProcessing, Segmenter
    >>> segmenter = Segmenter("model.onnx", postprocess=PostProcessing(largest=True))
    >>> segmenter.predict("a.jpg").mask  # (H, W) bool
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lesionseg.inference.postprocess import PostProcessing
    from lesionseg.inference.segmenter import Segmenter

__all__ = ["PostProcessing", "Segmenter"]


def __getattr__(name: str) -> object:
    # Not imported here, so that names such as those of the engines cost no numpy.
    if name in __all__:
        return getattr(import_module(f"{__name__}.{'segmenter' if name == 'Segmenter' else 'postprocess'}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
