"""What is computed once and kept, also for CUDA graphs."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
# A graph knows where tensors lie, and does not keep them there.
_held_for_graphs: list[Any] = []


def kept(most: int) -> Callable[[Callable[_Parameters, _Result]], Callable[_Parameters, _Result]]:
    """Keep the results for the arguments that were used last, and for good what a CUDA graph was made with.

    Args:
        most: how many results.
    """

    def decorate(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
        cached = lru_cache(maxsize=most)(function)

        @wraps(function)
        def call(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
            result = cached(*args, **kwargs)  # type: ignore[arg-type]  # All are hashable.
            if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
                _held_for_graphs.append(result)
            return result

        return call

    return decorate


@kept(64)
def constant(values: tuple, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers, or rows of them, as a tensor on a device; to copy them to a GPU waits for it."""
    return torch.tensor(values, dtype=dtype, device=device)
