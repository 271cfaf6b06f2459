"""The operators' limits: of precision, of memory, and what is said where there is no operator."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

# Bound on temporary memory: elements of copied float32 maps.
MOST_ELEMENTS = 2**25


def at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def parts(sizes: Sequence[int], most: int) -> Iterator[slice]:
    """Slice a sequence of items so that the sizes in a slice add up to at most `most`, or it holds a single item."""
    start = total = 0
    for index, size in enumerate(sizes):
        if index > start and total + size > most:
            yield slice(start, index)
            start, total = index, 0
        total += size
    if sizes:
        yield slice(start, len(sizes))


def only_compiled(operator: str) -> str:
    return (
        f"mmcv.ops: {operator} exists only as a compiled operator, expected one that lesionseg has. "
        "To compile mmcv, add `[tool.uv.extra-build-dependencies] onedl-mmcv = [{ requirement = "
        '"torch", match-runtime = true }, "setuptools<81", "ninja"]` to pyproject.toml '
        "and run `uv sync --reinstall-package onedl-mmcv`"
    )
