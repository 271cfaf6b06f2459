"""An earlier name of `lesionseg.inference.PostProcessing`, kept for those who import it."""

from lesionseg.inference.postprocess import PostProcessing

__all__ = ["PostProcessing"]
