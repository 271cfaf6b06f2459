"""How long a conversion takes, as a ratio to decoding every file of the release once on the same cores."""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from lesionseg.cli import progress
from lesionseg.data.release.convert import convert
from lesionseg.data.release.layouts.isic import find_release
from lesionseg.data.sources import Source
from lesionseg.tables import Grid, terminal_table
from lesionseg.workers import map_files


def convert_seconds(raw: Path, short_edge: int, workers: int | None, rounds: int) -> dict[str, float]:
    """Time both on as many threads in interleaved rounds; the data set folders are made in the system's temporary one.

    Args:
        raw: folder of a release.
        short_edge: pixels of the shrunk copies.
        workers: how many threads decode; None for one a core.
        rounds: how often to repeat.

    Returns:
        what was done -> median of the rounds in seconds; the first is bare decoding.
    """
    listing = find_release(raw)

    def decode() -> None:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        sources = [source for pair in listing.pairs for source in (pair.image, pair.mask)]
        list(map_files(_decode, sources, workers=workers))
        cv2.setNumThreads(threads)

    def convert_to(short_edge: int | None) -> None:
        # Its progress bar would be drawn over ours.
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            convert(listing, Path(folder, "out"), short_edge, workers)

    ways: dict[str, Callable[[], None]] = {
        "decoding every file once": decode,
        f"converting with --short-edge {short_edge}": lambda: convert_to(short_edge),
        "converting at full size": lambda: convert_to(None),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in progress(range(rounds), rounds, "timing"):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in seconds.items()}


def convert_table(seconds: dict[str, float]) -> str:
    """Set the times in a table, with their ratios to the first."""
    decoding = next(iter(seconds.values()))
    cells = [[name, f"{taken:.2f}", f"{taken / decoding:.2f}"] for name, taken in seconds.items()]
    return terminal_table(Grid(["way", "seconds", "x decoding"], cells))


def _decode(source: Source) -> None:
    flags = cv2.IMREAD_UNCHANGED if source.suffix == ".png" else cv2.IMREAD_COLOR
    cv2.imdecode(np.frombuffer(source.read(), np.uint8), flags)
