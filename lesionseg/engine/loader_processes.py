"""The processes that load data end when a run ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.runner import Runner


@contextmanager
def loaders_end_with(runner: Runner) -> Iterator[None]:
    """When the block ends, end the processes that load the data of its loops, where they live on.

    Left to the garbage collector, with the runner and all that leads back to it, torch's loaders lose the queues by
    which they tell their processes to end, and then wait five seconds for each.
    """
    try:
        yield
    finally:
        for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
            # A training without persistent workers has an iterator of its own.
            for name in ("dataloader", "dataloader_iterator"):
                holder: Any = getattr(loop, name, None)
                iterator: Any = getattr(holder, "_iterator", None)
                if hasattr(iterator, "_shutdown_workers"):
                    iterator._shutdown_workers()
                    holder._iterator = None
