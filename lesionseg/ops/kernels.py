"""Kernels: torchvision's, whose wheels hold them for every torch, in `torch.ops.torchvision`, and our own of Triton."""

from functools import cache
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from lesionseg.errors import DataError

try:
    import torchvision
except (ImportError, RuntimeError) as error:
    said = " ".join(str(error).split())
    raise DataError(
        f"torchvision: does not load beside torch {torch.__version__} ({said}), expected a build for it. "
        "tools/check_env.py tells how to get it."
    ) from error

__all__ = ["kernels_for", "torchvision"]


def kernels_for(tensor: Tensor, operator: str) -> ModuleType | None:
    """The module `lesionseg.ops.<operator>_kernels`, on CUDA, if Triton is there; nothing for float64."""
    return _kernels(operator) if tensor.is_cuda and tensor.dtype != torch.float64 else None


@cache
def _kernels(operator: str) -> ModuleType | None:
    try:
        # torch for CUDA brings Triton on Linux.
        return import_module(f"lesionseg.ops.{operator}_kernels")
    except ImportError:
        return None
