"""What a run shows, and what it leaves to its log."""

import io
import os
import subprocess
import sys
import sysconfig
import warnings

import pytest
import tiny_training
from helpers import ROOT

from lesionseg.cli import progress
from lesionseg.engine.progress import tell_training
from lesionseg.engine.screen import Screen, announce, duration, screen


def train(work_dir, verbose=False, launcher="none", **more):
    with screen.calm(verbose, launcher):
        runner = tiny_training.run(tiny_training.settings(work_dir, **more))
        tell_training(runner)
    return next(work_dir.glob("*/*.log")).read_text()


def warn_in(folder, text):
    warnings.warn_explicit(text, UserWarning, f"{folder}/module.py", 1)


def test_a_training_says_what_it_is_how_far_it_is_and_what_it_found(tmp_path, capsys):
    log = train(tmp_path, scores={2: 3 / 7, 4: 2 / 7, 6: 5 / 7})
    iteration, *rest = (line.partition(",")[0] for line in capsys.readouterr().out.splitlines())
    assert [iteration, *rest[:3]] == [
        "validation after 2 iterations: score 0.429 (best so far)",
        "iteration 3 of 6",
        "validation after 4 iterations: score 0.286 (best so far 0.429)",
        "validation after 6 iterations: score 0.714 (best so far)",
    ]
    assert [line.split(None, 1) for line in rest[3:]] == [
        ["model", "NoisyNet of Sequential; 0.0 million parameters"],
        ["device", rest[4].split(None, 1)[1]],
        ["precision", "float32"],
        ["training", "6 iterations of 2 images"],
        ["results", str(tmp_path)],
        ["log", str(next(tmp_path.glob("*/*.log")))],
    ]
    assert "System environment" in log
    assert "Hooks will be executed" in log


def test_verbose_shows_the_log_and_no_line_of_progress(tmp_path, capsys):
    train(tmp_path, verbose=True)
    shown = capsys.readouterr().out
    assert "System environment" in shown
    assert "validation after" not in shown
    assert "iteration 3" not in shown


def test_of_several_processes_only_the_first_speaks(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    train(tmp_path, launcher="pytorch", length=4)
    announce("config.py", "pytorch")
    assert capsys.readouterr().out == ""
    announce("config.py", "none")
    assert capsys.readouterr().out == "reading config.py\n"


def test_of_warnings_those_of_this_project_are_shown_and_all_are_in_the_log(tmp_path, capsys):
    upstream = sysconfig.get_path("purelib")
    with warnings.catch_warnings(), screen.calm():
        warnings.simplefilter("always")
        warn_in(upstream, "before the log")
        with screen.held_back():
            print("printed")
        runner = tiny_training.run(tiny_training.settings(tmp_path, length=4))
        warn_in(upstream, "after it")
        warn_in("own/hooks", "of a user's own\ncode")
        warn_in(upstream, "CUDA initialization: the driver is too old")
        runner.logger.warning("of our own hooks")
        # That hooks of MMEngine say so is looked at where they are: here they are called from this file.
        runner.logger.handle(runner.logger.makeRecord("x", 30, f"{upstream}/m.py", 1, "of their hooks", (), None))
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        "warning: of a user's own code",
        "warning: CUDA initialization: the driver is too old",
        "warning: of our own hooks",
    ]
    assert "printed" not in shown.out
    log = next(tmp_path.glob("*/*.log")).read_text()
    for text in ("before the log", "printed", "after it", "of a user's own", "of our own hooks", "of their hooks"):
        assert text in log


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_in_a_terminal_one_line_is_redrawn_and_gives_way(monkeypatch):
    terminal, told = Terminal(), Screen()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "20")
    with told.calm():
        told.show_progress("iteration 3 of 6, loss 0.1", lasting=False)
        told.show_progress("iteration 4")
        told.tell("validation")
        told.show_progress("iteration 5")
    assert terminal.getvalue() == (
        "\r\x1b[Kiteration 3 of 6, l\r\x1b[Kiteration 4\r\x1b[Kvalidation\n\r\x1b[Kiteration 5\r\x1b[K"
    )


def test_what_is_brief_is_no_line_where_there_is_no_terminal(capsys):
    with screen.calm():
        screen.show_progress("waiting", lasting=False)
    assert list(progress(range(3), 3, "checking")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_long_work_is_told_now_and_then_where_there_is_no_bar(is_terminal, capsys, monkeypatch):
    monkeypatch.setattr("lesionseg.cli._SECONDS_A_LINE", 0)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    assert list(progress(range(2), 2, "checking")) == [0, 1]
    assert capsys.readouterr().err == "checking 1 of 2\nchecking 2 of 2\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99, "99 s"), (100, "2 min"), (5900, "98 min"), (7380, "2 h 03 min")]
)
def test_durations_are_words(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("target", ["mmdet/models/heads.py", "albumentations/core.py"])
def test_packages_installed_beside_openmmlab_do_not_speak_to_people(target, tmp_path):
    # As with `pip install --user` or `--target`.
    (tmp_path / "mmengine").mkdir()
    (tmp_path / "mmengine/__init__.py").touch()
    code = f"from lesionseg.engine.screen import is_for_people; print(is_for_people({str(tmp_path / target)!r}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    said = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment, cwd=tmp_path)
    assert said.strip() == "False"
