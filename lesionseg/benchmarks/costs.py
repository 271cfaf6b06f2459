"""What a training step costs besides time: operators, kernels, waits for the GPU."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


@dataclass(frozen=True)
class GpuWork:
    """What a step does on a CUDA GPU.

    Attributes:
        kernels: kernels, copies and fills that run there.
        busy_seconds: for which they run.
        waits: how often the CPU waits for the GPU.
    """

    kernels: int
    busy_seconds: float
    waits: int


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operators = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operators += 1
        return func(*args, **(kwargs or {}))


def dispatched_operators(step: Callable[[], object]) -> int:
    """Count the operators that PyTorch dispatches in a step: forward, backward and optimizer, views too."""
    with _Counter() as counter:
        step()
    return counter.operators


def gpu_work(step: Callable[[], object]) -> GpuWork:
    """Profile a step on the GPU in use."""
    events = _profiled(step)
    # Annotations of whole steps are listed as if they ran on the GPU, too.
    on_gpu = [each for each in events if each.device_type.name == "CUDA" and not each.is_user_annotation]
    return GpuWork(
        kernels=sum(each.count for each in on_gpu),
        busy_seconds=sum(each.self_device_time_total for each in on_gpu) / 1e6,
        # The profiler waits, too.
        waits=_waits(events) - _waits(_profiled(lambda: None)),
    )


def _profiled(step: Callable[[], object]) -> Any:
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        step()
        torch.cuda.synchronize()
    return profiler.key_averages()


def _waits(events: Any) -> int:
    return sum(each.count for each in events if each.key in _WAITS)
