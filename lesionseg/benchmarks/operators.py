"""How long mmcv's operators take: as lesionseg serves them, and compiled where they are installed."""

import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple

import mmcv.ops  # noqa: F401  It loads mmcv._ext.
import torch
from torch import Tensor

from lesionseg import ops
from lesionseg.environment import compiled_operators
from lesionseg.inference.opening import check_device
from lesionseg.tables import Grid, terminal_table

ROUNDS = 10
IMAGE = 512
# What Mask2Former attends to at 512 x 512: strides 32, 16 and 8, 8 heads of 32 channels, 4 points.
LEVELS, HEADS, HEAD_CHANNELS, POINTS = ((16, 16), (32, 32), (64, 64)), 8, 32, 4


class Row(NamedTuple):
    """One operator's times in milliseconds, None where it is not compiled for this device."""

    operator: str
    ours: float
    compiled: float | None


def run(device: str) -> list[Row]:
    """Time the operators, the fastest of ten rounds, on drawn inputs of the models' sizes.

    Args:
        device: `cpu`, `cuda` or `cuda:1`.

    Raises:
        DataError: it is not there.
    """
    check_device(device)
    compiled = compiled_operators()
    rows = []
    for operator, call in _calls(torch.Generator().manual_seed(0), torch.device(device)):
        # mmcv has no compiled deformable attention for the CPU.
        other = None if device == "cpu" and "attention" in operator else compiled
        rows.append(Row(operator, _time(call, ops, device), _time(call, other, device) if other else None))
    return rows


def table(rows: list[Row]) -> str:
    """Set the rows in a table, with the ratio of ours to compiled."""
    cells = []
    for operator, ours, compiled in rows:
        rest = [f"{compiled:.1f}", f"{ours / compiled:.2f}"] if compiled else ["-", "-"]
        cells.append([operator, f"{ours:.1f}", *rest])
    return terminal_table(Grid(["milliseconds", "lesionseg", "compiled mmcv", "ratio"], cells))


def _calls(generator: torch.Generator, device: torch.device) -> Iterator[tuple[str, Callable[[ModuleType], object]]]:
    """Yield names and functions that call an operator of a module with the interface of mmcv._ext."""
    boxes, scores = _boxes(1000, 20, 200, generator).to(device), torch.rand(1000, generator=generator).to(device)
    yield "nms, 1000 boxes", lambda module: module.nms(boxes, scores, iou_threshold=0.7, offset=0)

    maps = torch.randn(1, 256, IMAGE // 4, IMAGE // 4, generator=generator).to(device)
    # MMDetection takes regions of this size from the map of stride 4.
    rois = _rois(torch.zeros(200), 20, 112, generator).to(device)
    for ratio in (0, 2):
        name = f"RoIAlign, 200 regions, 7x7, 256 channels, ratio {ratio}"
        yield from _roi_align_calls(name, maps, rois, 7, 0.25, ratio)
    masks = (torch.rand(50, 1, IMAGE, IMAGE, generator=generator) > 0.5).float().to(device)
    yield next(
        _roi_align_calls(
            "RoIAlign, 50 mask targets, 28x28",
            masks,
            _rois(torch.arange(50), 200, 400, generator).to(device),
            28,
            1.0,
            0,
        )
    )
    yield from _attention_calls(generator, device)


def _roi_align_calls(
    name: str, maps: Tensor, rois: Tensor, size: int, scale: float, ratio: int
) -> Iterator[tuple[str, Callable[[ModuleType], object]]]:
    pooled = maps.new_ones(len(rois), maps.shape[1], size, size)
    gradient, unused = torch.zeros_like(maps), maps.new_zeros(0)
    settings = dict(
        aligned_height=size,
        aligned_width=size,
        spatial_scale=scale,
        sampling_ratio=ratio,
        pool_mode=1,
        aligned=True,
    )
    yield name, lambda module: module.roi_align_forward(maps, rois, pooled, unused, unused, **settings)
    yield (
        f"{name}, backward",
        lambda module: module.roi_align_backward(pooled, rois, unused, unused, gradient, **settings),
    )


def _attention_calls(
    generator: torch.Generator, device: torch.device
) -> Iterator[tuple[str, Callable[[ModuleType], object]]]:
    sizes = torch.tensor(LEVELS)
    cells = sizes.prod(1)
    starts = cells.cumsum(0) - cells
    queries = int(cells.sum())
    value = torch.randn(1, queries, HEADS, HEAD_CHANNELS, generator=generator)
    locations = torch.rand(1, queries, HEADS, len(LEVELS), POINTS, 2, generator=generator)
    weights = torch.rand(1, queries, HEADS, len(LEVELS), POINTS, generator=generator)
    inputs = [tensor.to(device) for tensor in (value, sizes, starts, locations, weights)]
    gradients = [torch.zeros_like(inputs[index]) for index in (0, 3, 4)]
    output_gradient = torch.ones(1, queries, HEADS * HEAD_CHANNELS, device=device)
    name = f"deformable attention, {queries} queries, {len(LEVELS)} levels"
    yield name, lambda module: module.ms_deform_attn_forward(*inputs, im2col_step=64)
    yield (
        f"{name}, backward",
        lambda module: module.ms_deform_attn_backward(*inputs, output_gradient, *gradients, im2col_step=64),
    )


def _boxes(count: int, smallest: float, largest: float, generator: torch.Generator) -> Tensor:
    """Draw boxes (N, 4), x1 y1 x2 y2 in pixels, inside a square image."""
    center = IMAGE * torch.rand(count, 2, generator=generator)
    half = (smallest + (largest - smallest) * torch.rand(count, 2, generator=generator)) / 2
    return torch.cat([center - half, center + half], 1).clamp(0, IMAGE)


def _rois(image: Tensor, smallest: float, largest: float, generator: torch.Generator) -> Tensor:
    return torch.cat([image[:, None].float(), _boxes(len(image), smallest, largest, generator)], 1)


def _time(call: Callable[[ModuleType], object], module: ModuleType, device: str) -> float:
    """Fastest of some rounds in milliseconds, as other processes can only slow a round down."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    call(module)
    seconds = []
    for _ in range(ROUNDS):
        wait()
        start = time.perf_counter()
        call(module)
        wait()
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds)
