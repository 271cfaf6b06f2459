"""What a training step costs: with MMEngine alone, as tools/train.py does it, and of other projects' models."""

import contextlib
import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

import lesionseg.openmmlab  # noqa: F401
from lesionseg.benchmarks.costs import GpuWork, dispatched_operators, gpu_work
from lesionseg.benchmarks.models import process_peak_memory
from lesionseg.benchmarks.peers import build_peer, check_peer, lesions, peers_of
from lesionseg.cli import progress
from lesionseg.engine.config import Options, load_config, told_as_misfit
from lesionseg.engine.cpu_speed import keep_freed_memory, use_channels_last, use_float32, use_precision
from lesionseg.engine.progress import most_gpu_memory
from lesionseg.engine.step_graph import train_step_of
from lesionseg.tables import Grid, terminal_table
from lesionseg.workers import fresh_process

STOCK, OURS = "float32, MMEngine alone", "as tools/train.py does"
BATCHES = 4
_UPSTREAM = {"BatchSegDataPreProcessor": "SegDataPreProcessor", "BatchDetDataPreprocessor": "DetDataPreprocessor"}


@dataclass(frozen=True)
class Row:
    """One way to train.

    Attributes:
        name: what it does.
        seconds: of a step, the median of the rounds' medians.
        times_stock: how many times as fast as the stock way.
        images_per_second: in training steps alone.
        memory: the most, in MiB: of the GPU where there is one, else of the process with all that it has imported; None
            where the system does not tell.
        operators: how many PyTorch dispatches in a step.
        gpu: what a step does on the GPU, None without one.
    """

    name: str
    seconds: float
    times_stock: float
    images_per_second: float
    memory: float | None
    operators: int
    gpu: GpuWork | None


@dataclass(frozen=True)
class _Cost:
    batch_size: float
    memory: float | None
    operators: int
    gpu: GpuWork | None


def train_rows(options: Options, steps: int, rounds: int, peers: bool = False) -> list[Row]:
    """Time training steps on batches that lie in memory, in turns, each way in a process of its own.

    Args:
        options: config and flags; the config's own precision is compared with float32.
        steps: in each round.
        rounds: of all ways.
        peers: whether other projects' models are timed, too, on the same images.

    Raises:
        DataError: the config or its data cannot be used, or a peer is not installed.
    """
    # What is wrong with a config is told before processes are started, each of which imports all for long.
    cfg = load_config(options)
    ways = [STOCK, OURS, *(peers_of(cfg) if peers else [])]
    for name in ways[2:]:
        check_peer(name)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with contextlib.ExitStack() as stack:
        pools = {name: stack.enter_context(fresh_process()) for name in ways}
        # Side by side: most of it is waiting for what is imported.
        for prepared in [pool.submit(_prepare, options, name) for name, pool in pools.items()]:
            prepared.result()
        for pool in pools.values():
            pool.submit(_median_step, BATCHES).result()  # Warms up.
        for _ in progress(range(rounds), rounds, "timing"):
            for name, pool in pools.items():
                seconds[name].append(pool.submit(_median_step, steps).result())
        costs = {name: pool.submit(_cost).result() for name, pool in pools.items()}
    medians = {name: median(each) for name, each in seconds.items()}
    return [
        Row(
            name,
            each,
            times_stock=medians[STOCK] / each,
            images_per_second=costs[name].batch_size / each,
            memory=costs[name].memory,
            operators=costs[name].operators,
            gpu=costs[name].gpu,
        )
        for name, each in medians.items()
    ]


def train_table(rows: list[Row]) -> str:
    """Set the rows in a table."""
    header = ["training step", "ms", "images/s", "x stock", "MiB", "operators"]
    on_gpu = all(row.gpu for row in rows)
    cells = []
    for row in rows:
        cells.append(
            [
                row.name,
                f"{1000 * row.seconds:.0f}",
                f"{row.images_per_second:.1f}",
                f"{row.times_stock:.2f}",
                f"{row.memory:,.0f}" if row.memory else "",
                f"{row.operators:,}",
            ]
        )
        if row.gpu:
            cells[-1] += [f"{row.gpu.kernels:,}", f"{row.gpu.busy_seconds / row.seconds:.0%}", str(row.gpu.waits)]
    return terminal_table(Grid([*header, *(["kernels", "GPU busy", "waits"] if on_gpu else [])], cells))


@dataclass(frozen=True)
class Training:
    """Of a process of its own.

    Attributes:
        step: takes a training step; it may change the batch.
        batches: each as `step` takes it.
        batch_size: the mean number of images of a batch.
    """

    step: Callable[[Any], object]
    batches: list[Any]
    batch_size: float


_training: Training


def _prepare(options: Options, way: str) -> None:
    global _training
    logging.disable(logging.INFO)
    with told_as_misfit(options.config):
        _training = build_training(load_config(options), way)


def build_training(cfg: Config, way: str) -> Training:
    init_default_scope(cfg.default_scope)
    if way == STOCK:
        use_stock(cfg)
    else:
        keep_freed_memory()
        use_precision(cfg)
    loader = Runner.build_dataloader(dict(cfg.train_dataloader, num_workers=0, persistent_workers=False), seed=0)
    batches = list(islice(loader, BATCHES))
    batch_size = sum(len(batch["inputs"]) for batch in batches) / len(batches)
    torch.manual_seed(0)
    if way not in (STOCK, OURS):
        preprocess = MODELS.build(cfg.model.data_preprocessor)
        batches = [lesions(**preprocess(batch, training=True)) for batch in batches]
        bfloat16 = cfg.optim_wrapper.type in ("AmpOptimWrapper", "Bfloat16OptimWrapper")
        return Training(build_peer(way, cfg, bfloat16), batches, batch_size)
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).to(get_device())
    model.train()
    if way == OURS:
        use_channels_last(model, cfg)
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    step = train_step_of(model, cfg) if way == OURS else model.train_step
    return Training(lambda batch: step(batch, optim_wrapper), batches, batch_size)


def use_stock(cfg: Config) -> None:
    """Put OpenMMLab's own in the place of this project's; changes the config in place."""
    use_float32(cfg)
    cfg.optim_wrapper.pop("constructor", None)
    if cfg.model.get("decode_head", {}).get("type") == "LesionMask2FormerHead":
        cfg.model.decode_head.type = "Mask2FormerHead"
        cfg.model.decode_head.pixel_decoder.type = "mmdet.MSDeformAttnPixelDecoder"
    preprocessor = cfg.model.data_preprocessor
    preprocessor.type = _UPSTREAM.get(preprocessor.type, preprocessor.type)
    if cfg.model.type == "LesionMaskRCNN":
        cfg.model.type = "MaskRCNN"


def _median_step(steps: int) -> float:
    """Take training steps; the median of their seconds."""
    seconds = []
    for batch in islice(cycle(_training.batches), steps):
        batch = copy.deepcopy(batch)
        start = time.perf_counter()
        _training.step(batch)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def _cost() -> _Cost:
    """What a step costs; after all timing, because counting slows it down."""

    def step() -> None:
        _training.step(copy.deepcopy(_training.batches[0]))

    memory = most_gpu_memory() / 2**20 if torch.cuda.is_available() else process_peak_memory()
    work = gpu_work(step) if torch.cuda.is_available() else None
    return _Cost(_training.batch_size, memory, dispatched_operators(step), work)
