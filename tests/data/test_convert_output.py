"""What is at the output already, and what a killed conversion leaves there."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import ANY

import pytest
from drawn_release import (
    failure,
    leftovers,
    tree,
    write_folder,
)
from helpers import ROOT

from lesionseg.data.release import data_set_folder as folder_module
from lesionseg.data.release.layouts.isic import RELEASES

IMAGES, MASKS = RELEASES[2018]["training"]


def test_an_earlier_result_stays_without_overwrite(raw, out, run):
    run(raw, out)
    before = tree(out)
    (line,) = failure(run, out, raw, out, "--splits", "test")
    assert line == f"{out}: exists, expected nothing there. Choose another folder or pass --overwrite."
    assert tree(out) == before
    code, stdout, _ = run(raw, out, "--splits", "test", "--overwrite")
    assert code == 0
    assert "3 test" in stdout
    assert not (out / "images/training").exists()
    assert leftovers(out) == [out]


def test_an_audit_that_goes_with_what_it_was_of_is_told(raw, out, run, tmp_path):
    run(raw, out)
    groups, kept = out / "audit/groups.csv", tmp_path / "kept.csv"
    names = (path.stem for path in (out / "images").rglob("*.jpg"))
    kept.write_text("id,group\n" + "".join(f"{name},{name}\n" for name in names))
    groups.parent.mkdir()
    shutil.copy(kept, groups)
    # Then groups are in index.csv.
    assert run(raw, out, "--group-csv", kept, "--overwrite") == (0, ANY, "")
    patients = tmp_path / "patients.csv"
    patients.write_text(kept.read_text().replace("group", "patient_id"))
    for others in ([], ["--group-csv", patients]):
        groups.parent.mkdir()
        shutil.copy(kept, groups)
        code, _, stderr = run(raw, out, "--overwrite", *others)
        assert code == 0
        assert f"note: {out / 'audit'} was of the data set that was here before" in stderr
        assert f"tools/audit.py {out} --out {out / 'audit'}\n" in stderr
        assert not groups.exists()


def test_a_failed_run_leaves_the_earlier_result(raw, out, run):
    run(raw, out)
    before = tree(out)
    (raw / MASKS / "ISIC_0000000_segmentation.png").unlink()
    failure(run, out, raw, out, "--overwrite")
    assert tree(out) == before


@pytest.mark.parametrize("name", ["thesis.tex", "index.csv"])
def test_what_another_has_made_is_never_replaced(raw, out, run, name):
    write_folder(out, {name: b"a,b\n"})
    (line,) = failure(run, out, raw, out, "--overwrite")
    assert "not replaced even with --overwrite" in line
    assert tree(out) == {name: b"a,b\n"}


@pytest.mark.parametrize("leaves", ["an error", "a kill"])
def test_the_earlier_result_comes_back_where_renaming_breaks_off(raw, out, run, monkeypatch, leaves):
    run(raw, out)
    before = tree(out)
    if leaves == "a kill":
        scratch = out.with_name(f".{out.name}.converting")
        scratch.mkdir()
        out.rename(scratch / "old")
        (line,) = failure(run, raw / "x", raw, out)
        assert "exists, expected nothing there" in line
    else:
        replace = os.replace

        def fail_once(source, target):
            if Path(source).name == "new":
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(target))
            replace(source, target)

        monkeypatch.setattr(folder_module, "exchange", lambda *_: False)
        monkeypatch.setattr(folder_module.os, "replace", fail_once)
        failure(run, out, raw, out, "--overwrite")
    assert tree(out) == before
    assert leftovers(out) == [out]


def test_a_link_in_place_of_the_scratch_folder_is_not_followed(raw, out, tmp_path, run):
    mine = tmp_path / "mine"
    write_folder(mine, {"thesis.tex": b"text", "new/a": b"a", "old/a": b"a"})
    out.parent.mkdir()
    scratch = out.with_name(f".{out.name}.converting")
    scratch.symlink_to(mine)
    (line,) = failure(run, out, raw, out)
    assert line.startswith(f"{scratch}: a link or a file, expected nothing there")
    scratch.unlink()
    scratch.mkdir()
    for name in ("new", "old", "lock"):
        (scratch / name).symlink_to(mine)
    assert run(raw, out)[0] == 0
    assert leftovers(out) == [out]
    assert sorted(tree(mine)) == ["new/a", "old/a", "thesis.tex"]


def test_the_earlier_result_is_there_at_every_moment(raw, out, run, monkeypatch):
    run(raw, out)
    replace = os.replace

    def there(*paths):
        replace(*paths)
        assert out.exists()

    monkeypatch.setattr(folder_module.os, "replace", there)
    assert run(raw, out, "--overwrite")[0] == 0


def test_an_empty_folder_may_be_filled(raw, out, run):
    out.mkdir(parents=True)
    assert run(raw, out)[0] == 0
    assert (out / "index.csv").is_file()


def test_a_link_to_another_disk_stays_a_link(raw, out, tmp_path, run):
    target = tmp_path / "big disk" / "isic"
    target.mkdir(parents=True)
    out.parent.mkdir()
    out.symlink_to(target)
    assert run(raw, out)[0] == 0
    assert out.is_symlink()
    assert (target / "index.csv").is_file()


KILLED = """
import signal, sys, time
sys.path[:0] = [{tests!r}]
from helpers import load_tool
from lesionseg.data.release import convert
# A shell's background jobs, and so perhaps these tests, start with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
write_lists = convert.write_lists
def wait(*args):
    write_lists(*args)
    print("written", flush=True)
    time.sleep(60)
convert.write_lists = wait
load_tool("convert_isic").main([{raw!r}, {out!r}, "--short-edge", "40"])
"""


@pytest.fixture
def writing(raw, out):
    """A run in another process that has written everything aside and not yet renamed it."""
    script = KILLED.format(tests=str(ROOT / "tests"), raw=str(raw), out=str(out))
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout.readline() == b"written\n"
        yield process
        process.kill()


def test_a_killed_run_leaves_no_result_and_the_next_one_clears_up(raw, out, run, writing):
    writing.send_signal(signal.SIGKILL)
    writing.wait()
    assert not out.exists()
    assert len(leftovers(out)) == 1, "the test is to kill a run that has begun to write"
    assert run(raw, out)[0] == 0
    assert leftovers(out) == [out]


def test_what_a_killed_run_had_replaced_is_cleared_up(raw, out, run):
    run(raw, out)
    write_folder(out.with_name(f".{out.name}.converting"), {"old/index.csv": b"", "new/index.csv": b"", "lock": b""})
    assert run(raw, out, "--overwrite")[0] == 0
    assert leftovers(out) == [out]


def test_a_run_that_goes_on_is_not_disturbed(raw, out, run, writing):
    (line,) = failure(run, out, raw, out)
    assert "another run is writing it" in line
    assert writing.poll() is None


def test_ctrl_c_leaves_nothing(raw, out, writing):
    writing.send_signal(signal.SIGINT)
    assert writing.wait(timeout=30) == 0, "the script drops the exit code"
    assert leftovers(out) == []
