"""What a run shows to people: a few lines, and one live line of progress. All else is for its log file."""

import io
import logging
import os
import shutil
import sys
import sysconfig
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesionseg.engine.processes import is_first_process

if TYPE_CHECKING:
    from mmengine.logging import MMLogger

_PACKAGE = Path(__file__).parents[1]
# Of upstream's warnings those that say why a GPU is not used: a user can mend that.
_ACTIONABLE = ("CUDA initialization", "CUDA capability", "Found GPU")
# Marks a record of the log that is not for people, although this module makes it.
_FOR_THE_LOG = {"for_the_log": True}
_SECONDS_A_LINE = 30
_SECONDS_A_REDRAWING = 0.2


class Screen:
    """Where a run speaks: lines that stay, one that is redrawn in a terminal, and a log that takes the rest.

    Outside of `calm` nothing of OpenMMLab is held back, and `tell` prints.

    Attributes:
        is_calm: whether a run speaks to people now, in place of MMEngine's log.
    """

    def __init__(self) -> None:
        self.is_calm = False
        self._is_mute = False
        # What was held back before there was a log.
        self._kept: list[str] = []
        self._log: MMLogger | None = None
        self._undo: list[Callable[[], None]] = []
        self._drawn = False
        self._told_at = 0.0

    @contextmanager
    def calm(self, verbose: bool = False, launcher: str = "none") -> Iterator[None]:
        """Speak to people while the block runs, and leave to the log what OpenMMLab and others say.

        Args:
            verbose: show MMEngine's log, and warnings, as they come, and no live line.
            launcher: how the processes of a distributed run were started, of which only the first one speaks.
        """
        self._is_mute, self.is_calm = not is_first_process(launcher), not verbose
        earlier = warnings.showwarning
        self._told_at = time.monotonic()
        try:
            if self.is_calm:
                from mmengine.logging import MMLogger

                warnings.showwarning = self._take_warning
                # What speaks until the run has a log of its own.
                self._quieten(MMLogger.get_current_instance())
            yield
        finally:
            warnings.showwarning = earlier
            self._wipe()
            while self._undo:
                self._undo.pop()()
            self._is_mute, self.is_calm, self._log = False, False, None

    def tell(self, text: str, kind: str = "") -> None:
        """Print lines, at once also where another program reads them.

        Args:
            text: the lines.
            kind: `warning` or `note`, which go to stderr.
        """
        if not self._is_mute:
            self._wipe()
            print(f"{kind}: {text}" if kind else text, file=sys.stderr if kind else sys.stdout, flush=True)

    def is_due(self) -> bool:
        """Whether it is time to show the progress again."""
        seconds = _SECONDS_A_REDRAWING if sys.stdout.isatty() else _SECONDS_A_LINE
        return self.is_calm and not self._is_mute and time.monotonic() - self._told_at >= seconds

    def show_progress(self, text: str, lasting: bool = True) -> None:
        """Show how far the run is: in the one line that is redrawn in a terminal, or else in one of its own.

        Args:
            text: in one line.
            lasting: whether it is worth a line of its own.
        """
        if self._is_mute or not self.is_calm or not (lasting or sys.stdout.isatty()):
            return
        self._told_at = time.monotonic()
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write(f"\r\x1b[K{text[:width]}")
            sys.stdout.flush()
            self._drawn = True
        else:
            print(text, flush=True)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Keep for the log what is printed in the block, and what upstream warns of."""
        printed, earlier = io.StringIO(), warnings.showwarning
        warnings.showwarning = self._take_warning
        try:
            with redirect_stdout(printed):
                yield
        finally:
            warnings.showwarning = earlier
            if text := printed.getvalue().strip():
                self._keep(text)

    @contextmanager
    def quiet_children(self) -> Iterator[None]:
        """Have processes that the block starts anew keep their warnings to themselves, while the screen is calm."""
        earlier = os.environ.get("PYTHONWARNINGS")
        try:
            if self.is_calm:
                os.environ["PYTHONWARNINGS"] = "ignore"
            yield
        finally:
            os.environ.pop("PYTHONWARNINGS", None)
            if earlier is not None:
                os.environ["PYTHONWARNINGS"] = earlier

    def take(self, logger: "MMLogger") -> None:
        """Have a run's log take what is held back, and show of its records only those that are for people."""
        if self.is_calm:
            self._quieten(logger)
        self._log, kept, self._kept = logger, self._kept, []
        for text in kept:
            self._keep(text)

    def _quieten(self, logger: "MMLogger") -> None:
        told = _Told(self)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(told)
                self._undo.append(partial(handler.removeFilter, told))

    def _keep(self, text: str) -> None:
        if self._log is None:
            self._kept.append(text)
        else:
            self._log.info(text, extra=_FOR_THE_LOG)

    def _take_warning(
        self, message: Warning | str, category: type, filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        if is_for_people(filename) or any(words in str(message) for words in _ACTIONABLE):
            self.tell(" ".join(str(message).split()), "warning")
        self._keep(warnings.formatwarning(message, category, filename, lineno, line).rstrip())

    def _wipe(self) -> None:
        if self._drawn:
            self._drawn = False
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()


class _Told(logging.Filter):
    """Tells people in a plain line what is for them, and lets only errors of upstream pass as they are."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "for_the_log", False):
            return False
        if not is_for_people(record.pathname):
            return record.levelno >= logging.ERROR
        self._screen.tell(record.getMessage(), "warning" if record.levelno >= logging.WARNING else "")
        return False


def is_for_people(filename: str) -> bool:
    """Whether what a source file says is this project's word or a user's own, and not that of an installed package."""
    if filename.startswith("<"):
        return False
    path = Path(filename)
    return path.is_relative_to(_PACKAGE) or not any(path.is_relative_to(folder) for folder in _installed())


@cache
def _installed() -> tuple[str | Path, ...]:
    """Where packages lie: with `pip install --user` or `--target`, OpenMMLab's are elsewhere than Python's own."""
    found = (find_spec(name) for name in ("mmengine", "torch"))
    beside = [Path(spec.origin).parents[1] for spec in found if spec and spec.origin]
    return *(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")), *beside


def announce(file: str, launcher: str = "none") -> None:
    """Tell, before the seconds that the imports take, what is read."""
    if is_first_process(launcher):
        print(f"reading {file}", flush=True)


def duration(seconds: float) -> str:
    """A time in words.

    Example:
        >>> duration(4000)
        '1 h 07 min'
    """
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


screen = Screen()
