"""How long a training step takes: in float32 with MMEngine alone, and as tools/train.py does it."""

import contextlib
import copy
import logging
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

import lesionseg.openmmlab  # noqa: F401
from lesionseg.cli import progress
from lesionseg.engine.config import Options, load_config, told_as_misfit
from lesionseg.engine.cpu_speed import keep_freed_memory, use_channels_last, use_cpu_precision, use_float32
from lesionseg.tables import Grid, terminal_table

STOCK, OURS = WAYS = "float32, MMEngine alone", "as tools/train.py does"
BATCHES = 4


@dataclass(frozen=True)
class Row:
    """One way to train.

    Attributes:
        name: what it does.
        seconds: of a step, the median of the rounds' medians.
        times_stock: how many times as fast as the stock way.
    """

    name: str
    seconds: float
    times_stock: float


def train_rows(options: Options, steps: int, rounds: int) -> list[Row]:
    """Time training steps on batches that lie in memory, in turns, each way in a process of its own.

    Args:
        options: config and flags; the config's own precision is compared with float32.
        steps: in each round.
        rounds: of both ways.

    Raises:
        DataError: the config or its data cannot be used.
    """
    # What is wrong with a config is told before processes are started, each of which imports all for long.
    load_config(options)
    context = multiprocessing.get_context("spawn")
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    with contextlib.ExitStack() as stack:
        pools = {name: stack.enter_context(ProcessPoolExecutor(1, context)) for name in WAYS}
        for name, pool in pools.items():
            pool.submit(_prepare, options, name).result()
            pool.submit(_median_step, BATCHES).result()  # Warms up.
        for _ in progress(range(rounds), rounds, "timing"):
            for name, pool in pools.items():
                seconds[name].append(pool.submit(_median_step, steps).result())
    medians = {name: median(each) for name, each in seconds.items()}
    return [Row(name, each, medians[STOCK] / each) for name, each in medians.items()]


def train_table(rows: list[Row]) -> str:
    """Set the rows in a table."""
    cells = [[row.name, f"{1000 * row.seconds:.0f}", f"{row.times_stock:.2f}"] for row in rows]
    return terminal_table(Grid(["training step", "ms", "x stock"], cells))


# Of a process of its own: a model, its optimizer and batches.
_training: tuple[BaseModel, OptimWrapper, list[dict]]


def _prepare(options: Options, way: str) -> None:
    global _training
    logging.disable(logging.INFO)
    with told_as_misfit(options.config):
        _training = _build(load_config(options), way)


def _build(cfg: Config, way: str) -> tuple[BaseModel, OptimWrapper, list[dict]]:
    init_default_scope(cfg.default_scope)
    if way == STOCK:
        use_stock(cfg)
    else:
        keep_freed_memory()
        use_cpu_precision(cfg)
    loader = Runner.build_dataloader(dict(cfg.train_dataloader, num_workers=0, persistent_workers=False), seed=0)
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).to(get_device())
    model.train()
    if way == OURS:
        use_channels_last(model)
    return model, build_optim_wrapper(model, cfg.optim_wrapper), list(islice(loader, BATCHES))


def use_stock(cfg: Config) -> None:
    """Put MMEngine's and MMSegmentation's own in the place of this project's; changes the config in place."""
    use_float32(cfg)
    cfg.optim_wrapper.pop("constructor", None)
    if cfg.model.get("decode_head", {}).get("type") == "LesionMask2FormerHead":
        cfg.model.decode_head.type = "Mask2FormerHead"


def _median_step(steps: int) -> float:
    """Take training steps; the median of their seconds."""
    model, optim_wrapper, batches = _training
    seconds = []
    for batch in islice(cycle(batches), steps):
        batch = copy.deepcopy(batch)
        start = time.perf_counter()
        model.train_step(batch, optim_wrapper)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return median(seconds)
