"""What all command-line tools share: exit codes, messages and progress."""

import argparse
import errno
import functools
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from lesionseg.errors import DataError

Item = TypeVar("Item")

EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
_SECONDS_A_LINE = 5

# OpenMP's threads otherwise wait for each other by spinning for a millisecond. On few cores they then keep loader
# processes, and any other program, from the very cores that they wait for. Read when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def tool(main: Callable[[Sequence[str] | None], int | None]) -> Callable[..., int]:
    """Turn a tool's `main(argv)` into one that returns an exit code and ends bad input in one line a fault on stderr.

    0 is done, 1 a data or run error, 130 stopped by Ctrl-C. argparse itself ends with 2 for wrong usage.
    Errors that are our own fault keep their traceback.
    """

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        _escape_what_cannot_be_shown()
        try:
            return main(argv) or EXIT_DONE
        except DataError as error:
            return _fail(*map(_last_error, error.args))
        except ImportError as error:
            if (error.name or "").startswith("lesionseg"):
                raise
            return _fail(f"{error}. Run `python tools/check_env.py`: it says what is missing and how to install it.")
        except OSError as error:
            if error.strerror is None:
                raise
            return _fail(f"{error.filename or 'file system'}: {error.strerror}.{_OS_HINTS.get(error.errno, '')}")
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return EXIT_INTERRUPTED

    return wrapped


_OS_HINTS = {
    errno.ENOENT: " Check the path.",
    errno.EACCES: " Choose a folder that you may write to, or change its permissions.",
    errno.ENOSPC: " Free some space or choose another disk; nothing half-written was left.",
    errno.EROFS: " Choose a folder that can be written to.",
}


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the tools that run a config share."""
    parser.add_argument("config", help="such as configs/mask2former/mask2former_r50_1xb4-20k_isic2018-512x512.py")
    parser.add_argument("--work-dir", metavar="DIR", help="where results go (default: work_dirs/<config>)")
    parser.add_argument(
        "--cfg-options",
        metavar="KEY=VALUE",
        nargs="+",
        default=[],
        help="settings of the config to change, such as data_root=data/mine train_dataloader.batch_size=2",
    )
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none", help="how processes were started"
    )
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="also load checkpoints that hold more than weights. Such a file can run any code on this machine: "
        "only for files whose origin you are sure of",
    )
    # torch.distributed.launch passes it; torchrun sets LOCAL_RANK instead.
    parser.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)


def positive(text: str) -> int:
    """argparse's type for a whole number from 1."""
    return _whole_number(text, least=1)


def count(text: str) -> int:
    """argparse's type for a whole number from 0."""
    return _whole_number(text, least=0)


def share(text: str) -> float:
    """argparse's type for a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number from 0 to 1")
    return number


def _whole_number(text: str, least: int) -> int:
    # Python's own int reads 1_000 and digits of other scripts, too.
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number, {least} or more")
    return int(text)


def _escape_what_cannot_be_shown() -> None:
    """Let no name of a file end a run in its last line: bytes that are no UTF-8 are shown as Python writes them."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _last_error(message: str) -> str:
    """What a loader process raises arrives with its whole traceback as the message."""
    return str(message).rsplit("DataError: ", 1)[-1]


def _fail(*messages: str) -> int:
    for message in messages:
        print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    return EXIT_FAILED


def progress(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    """Yield the items while a progress bar with the time left runs on stderr."""
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError:
        yield from _plain_progress(items, total, description)
        return
    yield from track(items, description, total=total, console=Console(stderr=True))


def _plain_progress(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    """Print a line at the end, and before it one about every five seconds."""
    told = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        if count == total or time.monotonic() - told > _SECONDS_A_LINE:
            told = time.monotonic()
            print(f"{description} {count} of {total}", file=sys.stderr)
