"""Ctrl-C and SIGTERM, with which Slurm pre-empts: a training ends with a checkpoint, not in the middle of a step."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread

import torch
from mmengine.dist import all_reduce, is_distributed

from lesionseg.errors import Stopped

_STOPS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """What the process was asked by SIGINT or SIGTERM, while `noted` lasts.

    Until `defer` a signal ends the process at once, by `Stopped`. From then on the first is only noted, for the end of
    the step, and the second ends it at once.
    """

    def __init__(self) -> None:
        self._deferred = False
        self._signal: int | None = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Take the signals for the time of the block; outside the main thread Python cannot, and nothing happens."""
        if current_thread() is not main_thread():
            yield
            return
        self._deferred, self._signal, self._process = False, None, os.getpid()
        # torch sets SIGCHLD itself, see _note.
        earlier = {number: signal.getsignal(number) for number in (*_STOPS, signal.SIGCHLD)}
        for number in _STOPS:
            signal.signal(number, self._note)
        try:
            yield
        finally:
            self._deferred, self._signal = False, None
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def defer(self) -> None:
        """From now on, steps are ended before the process is."""
        self._deferred = True

    def asked(self) -> int | None:
        """The number of the signal that any process of the training got; all processes have to ask at the same step."""
        if not is_distributed():
            return self._signal
        number = torch.tensor(self._signal or 0)
        all_reduce(number, "max")
        return int(number) or None

    @property
    def pending(self) -> int | None:
        """The number of the signal that this process got."""
        return self._signal

    def _note(self, number: int, frame: object) -> None:
        if os.getpid() != self._process:
            # Ctrl-C reaches the loader processes, too; the step that is to be ended may need them.
            return
        if not self._deferred or self._signal:
            raise Stopped(number)
        self._signal = number
        # SIGTERM to a whole group ends the loader processes, and torch would raise an error for each, amid the step.
        # Without any function, Python would print one for those that have ended already.
        signal.signal(signal.SIGCHLD, _let_be)
        print("\nstopping at the end of this step; a second signal stops at once", file=sys.stderr, flush=True)


def _let_be(number: int, frame: object) -> None:
    """Take a signal, and do nothing."""


stop_request = StopRequest()
