import os
import subprocess
import sys
import threading

import pytest

from lesionseg.errors import DataError
from lesionseg.workers import map_files, usable_cores


def test_results_come_in_the_order_of_the_items():
    first_may_end = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert first_may_end.wait(10)
        first_may_end.set()
        return 2 * number

    assert list(map_files(work, range(5), "doubling", workers=2)) == [0, 2, 4, 6, 8]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinities here")
def test_cores_are_those_that_the_process_may_use():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_after_a_fault_nothing_more_is_begun():
    begun = []

    def work(number: int) -> None:
        begun.append(number)
        raise DataError(str(number))

    with pytest.raises(DataError, match="0"):
        list(map_files(work, range(10_000), workers=1))
    assert len(begun) < 10_000


def test_nothing_is_no_work():
    assert list(map_files(str, [], "nothing")) == []


def test_too_few_threads_are_told(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(DataError, match=r"threads: can't start new thread, expected 3 of them\. Ask for fewer"):
        list(map_files(str, range(5), workers=3))


def test_a_process_ends_with_the_one_that_started_it():
    # Without any clean-up, as after a SIGKILL. Who holds the pipe of stdout is waited for.
    code = (
        "import os; from lesionseg.workers import fresh_process; fresh_process().submit(abs, 1).result(); os._exit(3)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=60).returncode == 3
