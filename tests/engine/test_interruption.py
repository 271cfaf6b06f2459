"""What a signal to a training leaves of its other signals."""

import signal
import sys

import pytest

from lesionseg.engine.interruption import stop_request


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="takes POSIX signals")
def test_a_loader_process_that_ends_with_the_training_is_no_error(monkeypatch, capfd):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    both = {signal.SIGTERM, signal.SIGCHLD}
    ended = []
    with stop_request.noted():
        # As torch's, which raises an error for a loader process that a signal has ended.
        signal.signal(signal.SIGCHLD, lambda number, frame: ended.append(number))
        stop_request.defer()
        # Both are there before Python looks.
        signal.pthread_sigmask(signal.SIG_BLOCK, both)
        for number in both:
            signal.raise_signal(number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
        assert stop_request.pending == signal.SIGTERM
    assert [str(each.exc_value) for each in unraisable] == []
    assert ended == []
    assert "stopping at the end of this step" in capfd.readouterr().err
