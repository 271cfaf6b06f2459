"""Files that are whole or not there."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT

from lesionseg import files
from lesionseg.errors import DataError


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


def test_a_folder_is_locked_once(tmp_path):
    lock = files.lock_folder(tmp_path)
    with pytest.raises(BlockingIOError):
        files.lock_folder(tmp_path)
    os.close(lock)
    os.close(files.lock_folder(tmp_path))


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
