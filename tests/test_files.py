import os
import subprocess
import sys

import pytest
from helpers import ROOT

from lesionseg.errors import DataError
from lesionseg.files import clear_scratch, lock_folder, scratch_folder, write_aside, write_text

HOLDING = """
import sys
from lesionseg.files import lock_folder
with lock_folder(sys.argv[1], "predict"):
    print("holding", flush=True)
    sys.stdin.read()
"""


def names(folder):
    return sorted(os.listdir(folder))


def test_one_run_at_a_time(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", HOLDING, str(out)]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout.readline() == b"holding\n"
        refused = pytest.raises(
            DataError, match=r"out: another run is writing it, expected one at a time\. Wait for it"
        )
        with refused, lock_folder(out, "predict"):
            raise AssertionError
        with lock_folder(out, "test"):
            assert names(out) == [".predict.lock", ".test.lock"]
        other.kill()
        other.wait()
    # What a killed run leaves is in nobody's way.
    assert names(out) == [".predict.lock"]
    with lock_folder(out, "predict"):
        (out / "a.png").touch()
    assert names(out) == ["a.png"]


def test_a_folder_that_stays_empty_goes_again(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(ZeroDivisionError), lock_folder(tmp_path / "there" / "a" / "b", "predict"):
        raise ZeroDivisionError
    assert names(tmp_path / "there") == []


def test_a_lock_that_is_a_link_is_no_lock(tmp_path):
    (tmp_path / "mine").write_text("text")
    (tmp_path / ".predict.lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic links"), lock_folder(tmp_path, "predict"):
        raise AssertionError
    assert (tmp_path / "mine").read_text() == "text"


def test_scratch_of_killed_runs_is_cleared_and_nothing_else(tmp_path):
    for name in (".a1b2c3_4.part", ".model.onnx.a1b2c3_4.part", ".mine.part", "a1b2c3_4.part", ".git"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / ".b1b2c3_4.part").symlink_to(".git")
    (tmp_path / ".c1b2c3_4.part").touch()
    with scratch_folder(tmp_path) as used:
        (used / "file").touch()
        clear_scratch(tmp_path)
        assert names(used) == ["file"]
    with lock_folder(tmp_path, "export"):
        pass
    assert names(tmp_path) == [".b1b2c3_4.part", ".c1b2c3_4.part", ".git", ".mine.part", "a1b2c3_4.part"]
    assert names(tmp_path / ".git") == ["file"]


def test_nothing_half_written_stays(tmp_path):
    def write_half():
        with write_aside(tmp_path / "a.txt") as aside:
            aside.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert names(tmp_path) == []


def test_the_longest_names_are_written(tmp_path):
    write_text(tmp_path / ("x" * 255), "l\udce9sion")
    assert (tmp_path / ("x" * 255)).read_text() == "l\\udce9sion"
