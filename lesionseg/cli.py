"""What all command-line tools share: exit codes, messages and progress."""

import argparse
import functools
import math
import os
import re
import shlex
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from os import PathLike
from pathlib import Path
from threading import current_thread, main_thread
from typing import TypeVar

from lesionseg.errors import DataError, Stopped, is_out_of_memory
from lesionseg.files import real_path
from lesionseg.system_errors import describe_system_error

Item = TypeVar("Item")

EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
_SECONDS_A_LINE = 30
# Characters of a command or of a foreign message in one of ours.
_MOST_SHOWN = 300
_MISSING = "Run `python tools/check_env.py`: it says what is missing and how to install it."
# More threads than cores only wait for each other, and a million of them stop the machine.
MOST_THREADS = max(64, os.cpu_count() or 1)

# OpenMP's threads otherwise wait for each other by spinning for a millisecond. On few cores they then keep loader
# processes, and any other program, from the very cores that they wait for. Read when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def tool(main: Callable[[Sequence[str] | None], int | None]) -> Callable[..., int]:
    """Turn a tool's `main(argv)` into one that returns an exit code and ends bad input in one line a fault on stderr.

    0 is done, 1 a data or run error, 130 stopped by Ctrl-C, 143 by SIGTERM; argparse itself ends with 2 for wrong
    usage. What nobody foresaw is one line, too: it names the command, and the file that its traceback was saved in.
    """
    name = Path(main.__code__.co_filename).stem

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        _print_any_name()
        try:
            with _stopped_by_sigterm():
                return main(argv) or EXIT_DONE
        except DataError as error:
            return _fail(*map(_last_error, error.args))
        except Stopped as stop:
            print(stop, file=sys.stderr)
            # As shells tell it: 130 for SIGINT, 143 for SIGTERM.
            return 128 + stop.number
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return EXIT_INTERRUPTED
        except Exception as error:
            if isinstance(error, OSError) and error.strerror is not None:
                return _fail(describe_system_error(error))
            if isinstance(error, ImportError) and not (error.name or "").startswith("lesionseg"):
                return _fail(f"{error}. {_MISSING}")
            command = shlex.join([name, *map(str, sys.argv[1:] if argv is None else argv)])
            return _fail(f"{_shortened(command)}: {describe_unforeseen(error)}")

    return wrapped


@contextmanager
def signals_handled(handler: Callable[[int, object], None] | signal.Handlers, *numbers: int) -> Iterator[None]:
    """Handle signals so while the block runs; outside the main thread Python cannot, and nothing happens."""
    if current_thread() is not main_thread():
        yield
        return
    earlier = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)


def _stopped_by_sigterm() -> AbstractContextManager[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that what it has half-written goes; in the main thread only."""
    process = os.getpid()

    def stop(number: int, frame: object) -> None:
        if os.getpid() == process:
            raise Stopped(number)
        # A process that was forked meanwhile ends as if there were no handler.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    return signals_handled(stop, signal.SIGTERM)


def describe_unforeseen(error: Exception) -> str:
    """Save an error's traceback, and say in half a line what happened, what to do, and where the file is."""
    fact = f"{type(error).__name__}: {_shortened(str(error))}".rstrip(": ")
    saved = _save_traceback(error)
    if is_out_of_memory(error):
        return (
            f"out of memory ({fact}), expected more of it. End other programs, or give smaller images, fewer at once; "
            f"the traceback is in {saved}."
        )
    return f"ended by {fact}, expected a result. Try other input, and report this with the traceback in {saved}."


def _save_traceback(error: Exception) -> str:
    """Add a traceback, which says nothing to a user, to the file of this process; its path, or why there is none."""
    try:
        path = _traceback_file(tempfile.gettempdir())
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{shlex.join(sys.argv)}\n\n{''.join(traceback.format_exception(error))}\n")
    except OSError as failure:
        return f"no file ({failure.strerror})"
    return path


@functools.cache
def _traceback_file(folder: str) -> str:
    descriptor, path = tempfile.mkstemp(prefix="lesionseg-", suffix=".txt", dir=folder)
    os.close(descriptor)
    return path


def _print_any_name() -> None:
    """Let names be printed whose bytes are no text in the terminal's encoding; stderr escapes them by itself."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the tools that load a config share."""
    parser.add_argument(
        "config",
        type=path,
        help="a file, the work_dir of a training, or a name that `lesionseg configs` lists, such as "
        "mask2former_r50_1xb4-20k_isic2018-512x512",
    )
    parser.add_argument(
        "--cfg-options",
        metavar="KEY=VALUE",
        nargs="+",
        default=[],
        help="settings of the config to change, such as data_root=data/mine train_dataloader.batch_size=2",
    )
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="also load checkpoints that hold more than weights. Such a file can run any code on this machine: "
        "only for files whose origin you are sure of",
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the tools that run a config, in a work_dir and on any number of processes, share."""
    add_config_arguments(parser)
    parser.add_argument(
        "--work-dir",
        metavar="DIR",
        type=path,
        help="where results go (default: work_dirs/<config>, or the config, where that is the work_dir of a training)",
    )
    add_launcher(parser)
    add_verbose(parser)
    # torch.distributed.launch passes it; torchrun sets LOCAL_RANK instead.
    parser.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)


def add_launcher(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the flag that says that this process is one of several."""
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="how the processes of a run were started that share it: by torchrun, srun or mpirun",
    )


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Add the flag that shows what is otherwise for the log alone."""
    parser.add_argument(
        "--verbose", action="store_true", help="show MMEngine's log, in place of a few lines and one of progress"
    )


def add_mask_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what may be done to masks: the settings of `lesionseg.inference.PostProcessing`."""
    group = parser.add_argument_group("masks, in the order of these steps")
    group.add_argument(
        "--smooth",
        metavar="SIGMA",
        type=amount,
        default=0,
        help="round off the edge by a Gaussian of so many pixels, or below 1 so many of the image's shorter edge",
    )
    group.add_argument("--fill-holes", action="store_true", help="add what the lesion encloses")
    group.add_argument(
        "--min-area",
        metavar="AREA",
        type=amount,
        default=0,
        help="drop components of fewer pixels, or below 1 of a smaller share of the image",
    )
    group.add_argument("--largest", action="store_true", help="keep only the largest component")


def add_mask_names(parser: argparse.ArgumentParser) -> None:
    """Add how masks of several folders are found and matched; see `lesionseg.data.scored_masks`."""
    parser.add_argument(
        "--suffix",
        metavar="SUFFIX",
        dest="suffixes",
        type=_suffix,
        action="append",
        default=[],
        help="what follows the id in the names of masks, such as _mask or .bmp; may be given several times, where "
        "folders differ. In a folder without such names, masks are <id>.png or <id>_segmentation.png",
    )
    parser.add_argument(
        "--common", action="store_true", help="take the images that all have, in place of refusing folders that differ"
    )


def check_exists(path: str | PathLike, expected: str) -> None:
    """Raise DataError where an input is not there, before anything heavy is imported."""
    if not os.path.exists(path):
        raise DataError(f"{path}: no such file or folder, expected {expected}. Check the path.")


def path(text: str) -> str:
    """argparse's type for a path: an empty one, as of a variable of the shell that is not set, would be this folder."""
    if not text:
        raise argparse.ArgumentTypeError("'', expected a path, such as . for this folder")
    return text


def path_object(text: str) -> Path:
    """argparse's type for a path, see `path`, as pathlib has it."""
    return Path(path(text))


def check_folder(path: str | PathLike | None, flag: str) -> None:
    """Raise DataError where a file stands in the place of the folder that a flag names."""
    if path and os.path.exists(path) and not os.path.isdir(path):
        raise DataError(f"{path}: a file, expected a folder for the results. Choose another {flag}.")


def check_once(folders: Sequence[str | PathLike], what: str) -> None:
    """Raise DataError where a folder is given twice, by whatever path."""
    resolved = list(map(real_path, folders))
    for number, folder in enumerate(folders):
        if resolved[number] in resolved[:number]:
            raise DataError(f"{folder}: given twice, expected every {what} once. Leave one out.")


def positive(text: str) -> int:
    """argparse's type for a whole number from 1."""
    return _whole_number(text, least=1)


def count(text: str) -> int:
    """argparse's type for a whole number from 0."""
    return _whole_number(text, least=0)


def threads(text: str) -> int:
    """argparse's type for how many threads work."""
    number = _whole_number(text, least=1)
    if number > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number from 1 to {MOST_THREADS}")
    return number


def _suffix(text: str) -> str:
    if not text.strip() or "/" in text:
        raise argparse.ArgumentTypeError(f"{text!r}, expected the end of a name, such as _mask")
    return text


def share(text: str) -> float:
    """argparse's type for a number from 0 to 1."""
    return _number(text, 1, "from 0 to 1")


def amount(text: str) -> float:
    """argparse's type for a number from 0."""
    return _number(text, sys.float_info.max, "from 0")


def _number(text: str, most: float, expected: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number {expected}")
    return number


def name(text: str) -> str:
    """argparse's type for a name, of which a variable of a shell that is not set leaves nothing."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is blank, expected a name")
    return text


def _whole_number(text: str, least: int) -> int:
    # Python's own int reads 1_000 and digits of other scripts, too.
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number, {least} or more")
    return int(text)


def _last_error(message: str) -> str:
    """What a loader process raises arrives with its whole traceback as the message."""
    return str(message).rsplit("DataError: ", 1)[-1]


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _fail(*messages: str) -> int:
    for message in messages:
        print(f"error: {one_line(message)}", file=sys.stderr)
    return EXIT_FAILED


def one_line(message: str) -> str:
    """Set a message in one line; what a terminal would obey, such as codes in the name of a file, is escaped."""
    line = " ".join(str(message).split())
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def progress(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    """Yield the items while a progress bar with the time left runs on stderr; it goes when all are done."""
    if not sys.stderr.isatty():
        yield from _plain_progress(items, total, description)
        return
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError:
        yield from _plain_progress(items, total, description)
        return
    yield from track(items, description, total=total, console=Console(stderr=True), transient=True)


def _plain_progress(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    """Print a line about every half minute."""
    told = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        if time.monotonic() - told > _SECONDS_A_LINE:
            told = time.monotonic()
            print(f"{description} {count} of {total}", file=sys.stderr)
