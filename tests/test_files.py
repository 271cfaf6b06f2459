"""Files that are whole or not there, and folders that one run writes at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from lesionseg import files
from lesionseg.errors import DataError
from lesionseg.files import clear_scratch, lock, lock_folder, scratch_folder, write_aside, write_text, written_path


def test_a_clone_is_a_copy_or_nothing(tmp_path):
    source, copy = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"bytes")
    if files.clone_file(source, copy):
        assert copy.read_bytes() == b"bytes"
        copy.write_bytes(b"other")
        assert source.read_bytes() == b"bytes"
    else:
        assert not copy.exists()


def test_a_clone_replaces_nothing(tmp_path):
    source, there = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"bytes")
    there.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        files.clone_file(source, there)
    assert there.read_bytes() == b"mine"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


KILLED = """
import sys, time
from lesionseg.files import write_aside
with write_aside(sys.argv[1]) as aside:
    aside.mkdir()
    (aside / "half").write_text("written")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writing(tmp_path):
    """A run in another process that is writing a folder."""
    command = [sys.executable, "-c", KILLED, str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"writing\n"
        yield process
        process.kill()


def test_what_a_killed_run_has_left_is_cleared_by_the_next(tmp_path, writing):
    writing.kill()
    writing.wait()
    assert len(names(tmp_path)) == 1
    files.write_text(tmp_path / "other", "a")
    assert len(names(tmp_path)) == 2, "of another file"
    with files.write_aside(tmp_path / "out") as aside:
        aside.mkdir()
    assert names(tmp_path) == ["other", "out"]


def test_a_run_that_goes_on_keeps_its_scratch_folder(tmp_path, writing):
    before = names(tmp_path)
    files.clear_scratch(tmp_path)
    assert names(tmp_path) == before


def test_links_and_folders_of_others_are_not_cleared(tmp_path):
    mine, theirs = tmp_path / "mine", tmp_path / ".notes.abcd1234.part"
    for folder in (mine, theirs):
        folder.mkdir()
        (folder / "thesis.tex").write_text("text")
    (tmp_path / ".out.abcd1234.part").symlink_to(mine)
    files.clear_scratch(tmp_path)
    assert names(tmp_path) == [".notes.abcd1234.part", ".out.abcd1234.part", "mine"]
    assert (mine / "thesis.tex").exists()
    assert (theirs / "thesis.tex").exists()


def test_the_longest_name_is_written(tmp_path):
    files.write_text(tmp_path / ("x" * 255), "a")
    assert names(tmp_path) == ["x" * 255]


def test_folders_change_places(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    if not files.exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this system cannot exchange two folders at once")
    assert names(tmp_path / "a") == ["b"]
    assert names(tmp_path / "b") == ["a"]


def test_pipes_and_devices_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(DataError, match="a pipe or a device, expected a regular file"):
            files.read_file(path)


HOLDING = """
import sys
from lesionseg.files import lock_folder
with lock_folder(sys.argv[1], "predict"):
    print("holding", flush=True)
    sys.stdin.read()
"""


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


def test_a_lock_that_cannot_be_made_names_what_is_written(tmp_path):
    out = tmp_path / "there" / ("x" * 300)
    with pytest.raises(OSError, match="too long") as raised, lock(out.with_name(f".{out.name}.lock"), out):
        pass
    assert raised.value.filename == str(out)


def test_what_a_link_leads_to_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "circle").symlink_to("circle")
    assert written_path("link") == tmp_path / "there"
    assert written_path(tmp_path / "circle") == tmp_path / "circle"
    assert (written_path("."), written_path("there/..")) == (tmp_path, tmp_path)
    assert written_path("new") == Path("new")


def test_a_lock_that_is_a_link_is_no_lock(tmp_path):
    (tmp_path / "mine").write_text("text")
    (tmp_path / ".predict.lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic links"), lock_folder(tmp_path, "predict"):
        raise AssertionError
    assert (tmp_path / "mine").read_text() == "text"


def test_scratch_of_killed_runs_is_cleared_and_nothing_else(tmp_path):
    for name in (".a1b2c3_4.part", ".model.onnx.a1b2c3_4.part", ".mine.part", "a1b2c3_4.part", ".git"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ("model.onnx" if "model" in name else "file")).touch()
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
