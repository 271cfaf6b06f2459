"""A function over many files, on all cores that this process may use, and processes for what needs one of its own."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TypeVar

from lesionseg.cli import progress
from lesionseg.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """The CPU cores that this process may use; a batch system often gives fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_files(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    description: str | None = None,
    workers: int | None = None,
) -> Iterator[Result]:
    """Give a function's results in the order of the items.

    Threads do the work: OpenCV, zlib and the disk let them go side by side, and other than processes they start at
    once. Where one fails, or the caller stops, no other is begun.

    Args:
        function: of one item.
        items: what it is called with.
        description: of the work, beside a progress bar on stderr; None for work too short for one.
        workers: how many threads; by default one a core.

    Raises:
        DataError: this process may not have so many threads.
    """
    pool = ThreadPoolExecutor(workers or usable_cores())
    try:
        try:
            results = pool.map(function, items)
        except RuntimeError as error:
            # "can't start new thread": so much memory, or so many processes, this one may not have.
            raise DataError(
                f"threads: {error}, expected {workers or usable_cores()} of them. Ask for fewer (--workers 1 where the "
                "tool has it), or raise the limits of memory and processes (ulimit -v, ulimit -u)."
            ) from error
        yield from results if description is None else progress(results, len(items), description)
    finally:
        pool.shutdown(cancel_futures=True)


def fresh_process() -> ProcessPoolExecutor:
    """A process that has nothing of this one's memory and settings, and ends with it, however this one ends."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_end_with_parent)


def end_with(parent: int) -> None:
    """Let the system kill this process when its parent ends, however that ends; on Linux, which alone has this.

    Args:
        parent: the parent's process id.
    """
    if sys.platform == "linux":
        # prctl(2), PR_SET_PDEATHSIG.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _end_with_parent() -> None:
    # A worker waits for work in a pipe that it holds open itself: killed parents would leave it there for ever.
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
