"""How long models take, and how much memory, side by side on the same machine."""

import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from lesionseg.inference.runtimes.model import Model
from lesionseg.inference.segmenter import Segmenter
from lesionseg.workers import fresh_process

_WARM_UP = 2
_SECONDS = 20.0
# For tens of milliseconds after a run, onnxruntime's threads wait for the next one by spinning. PyTorch, run in that
# time on the same two cores, took more than twice as long.
_REST = 0.1
_LEAST_RUNS, _MOST_RUNS = 5, 30


def latencies(models: Mapping[str, Model], batch: np.ndarray) -> dict[str, float]:
    """Time models on the same batch, in turn, so that whatever else the machine does meets all of them.

    Args:
        models: by name.
        batch: (N, 3, H, W) float32.

    Returns:
        by name, the median of 5 to 30 runs after a warm-up, in milliseconds.
    """
    for model in models.values():
        for _ in range(_WARM_UP):
            model.run(batch)
    times: dict[str, list[float]] = {name: [] for name in models}
    end = time.perf_counter() + _SECONDS
    for count in range(_MOST_RUNS):
        if count >= _LEAST_RUNS and time.perf_counter() > end:
            break
        for name, model in models.items():
            time.sleep(_REST)
            start = time.perf_counter()
            model.run(batch)
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(runs) for name, runs in times.items()}


def peak_memory(opener: Callable[..., Model], arguments: Sequence, threads: int, image: str | PathLike) -> float | None:
    """Predict an image in a process of its own.

    Args:
        opener: makes the model in that process, a function or class that can be imported there.
        arguments: of the opener.
        threads: CPU threads that torch may use.
        image: a picture file.

    Returns:
        the most memory that it held, libraries and model included, in MiB; None where the system does not tell.
    """
    with fresh_process() as pool:
        return pool.submit(_predict_and_tell, opener, tuple(arguments), threads, image).result()


def _predict_and_tell(
    opener: Callable[..., Model], arguments: tuple, threads: int, image: str | PathLike
) -> float | None:
    model = opener(*arguments)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    Segmenter(model).predict(image)
    return process_peak_memory()


def process_peak_memory() -> float | None:
    """The most memory that this process held so far, in MiB; None where the system does not tell."""
    status = Path("/proc/self/status")
    # Not getrusage: its figure begins with that of the process that started this one.
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.is_file() else None
    return int(found[1]) / 1024 if found else None
