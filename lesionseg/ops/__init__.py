"""mmcv's compiled operators, by torchvision's and in plain PyTorch, so that nothing has to be compiled.

`mmcv.ops` calls a compiled module, `mmcv._ext`. Where that is missing, importing lesionseg puts this one in its place:
the same function names, argument names and outputs written in place, on CPU and CUDA, forward and backward.
Inputs of less than float32 are computed in float32.

An operator that is not here can be imported but not called; the error says how to get the compiled one.
"""

from collections.abc import Callable
from typing import NoReturn

from lesionseg.errors import DataError
from lesionseg.ops.attention import ms_deform_attn_backward, ms_deform_attn_forward
from lesionseg.ops.focal_loss import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from lesionseg.ops.limits import only_compiled
from lesionseg.ops.regions import roi_align_backward, roi_align_forward
from lesionseg.ops.suppression import nms

__all__ = [
    "get_compiler_version",
    "get_compiling_cuda_version",
    "ms_deform_attn_backward",
    "ms_deform_attn_forward",
    "nms",
    "roi_align_backward",
    "roi_align_forward",
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
]


def get_compiler_version() -> str:
    """What environment reports show for the operators' compiler."""
    return "none, operators of torchvision and in plain PyTorch"


def get_compiling_cuda_version() -> str:
    """What environment reports show for the operators' CUDA compiler."""
    return get_compiler_version()


def __getattr__(name: str) -> Callable:
    # mmcv.ops asserts on import that every operator it knows is there.
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise DataError(only_compiled(name))

    return refuse


for _name in __all__:
    # Reports name an operator by its module.
    globals()[_name].__module__ = __name__
