import io
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import MASK2FORMER, ROOT, draw_release_folder, load_tool

from lesionseg.cli import MOST_THREADS, tool
from lesionseg.errors import DataError
from lesionseg.evaluation.report_file import Report
from lesionseg.evaluation.scores import PER_IMAGE, POOLED
from lesionseg.files import lock

ENVIRONMENT = dict(os.environ, PYTHONPATH=str(ROOT))
TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))


@pytest.mark.parametrize("name", TOOLS)
def test_help_answers_without_loading_torch_numpy_or_openmmlab(name):
    code = (
        "import sys, runpy; sys.modules.update(torch=None, numpy=None, cv2=None, mmengine=None, mmcv=None); "
        f"sys.argv = ['{name}', '--help']; runpy.run_path('{ROOT}/tools/{name}.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("train", ["a.py"]),
        ("test", ["a.py", "a.pth"]),
        ("export", ["a.py", "a.pth", "--out", "out"]),
        ("predict", ["model.onnx", "photos", "--out", "out"]),
    ],
)
def test_the_first_word_comes_before_anything_heavy_is_imported(name, arguments, tmp_path):
    for file in ("a.py", "a.pth", "model.onnx", "photos/a.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    code = (
        "import sys, runpy; sys.modules.update(torch=None, numpy=None, cv2=None, mmengine=None, onnxruntime=None); "
        f"sys.argv = ['{name}', *{arguments}]; runpy.run_path('{ROOT}/tools/{name}.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT)
    assert done.stdout == f"reading {arguments[0]}\n"
    assert done.returncode == 1


@pytest.mark.parametrize("name", TOOLS)
def test_wrong_usage_ends_with_2(name, capsys):
    with pytest.raises(SystemExit) as ending:
        load_tool(name).main(["--no-such-flag"])
    assert ending.value.code == 2


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("predict", ["model.onnx", "photos", "--out", ""], "argument --out: '', expected a path"),
        ("predict", ["", "photos", "--out", "out"], "argument MODEL: '', expected a path"),
        (
            "predict",
            ["model.onnx", "photos", "--out", "out", "--smooth", "nan"],
            "argument --smooth: 'nan', expected a",
        ),
        ("predict", ["model.onnx", "photos", "--out", "out", "--min-area=-1"], "argument --min-area: '-1', expected a"),
        ("compare", ["work_dir", ""], "argument WORK_DIR: '', expected a path"),
        ("export", ["config.py", "a.pth", "--out", "out", "--work-dir", "w"], "unrecognized arguments: --work-dir w"),
        ("benchmark", ["train", "config.py", "--launcher", "slurm"], "unrecognized arguments: --launcher slurm"),
        ("benchmark", ["convert", ""], "argument RAW: '', expected a path"),
    ],
)
def test_arguments_that_mean_nothing_are_wrong_usage(name, arguments, said, capsys):
    with pytest.raises(SystemExit) as ending:
        load_tool(name).main(arguments)
    assert ending.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("a.png: cut off,\n  expected whole."), "error: a.png: cut off, expected whole."),
        (
            PermissionError(13, "Permission denied", "/x"),
            "expected a path that you may write to. Choose a folder that you",
        ),
        (OSError(28, "No space left on device"), "error: file system: No space left on device, expected free space. F"),
        (OSError(999, "Odd"), "error: file system: Odd, expected a path that can be used. Check the path"),
        (DataError("\x1b[2Ja.png: \u202eodd."), r"error: \x1b[2Ja.png: \u202eodd."),
        (DataError(b"l\xe9sion.png: odd.".decode("utf-8", "surrogateescape")), r"error: l\udce9sion.png: odd."),
        (ModuleNotFoundError("No module named 'mmcv'", name="mmcv"), "Run `python tools/check_env.py`"),
    ],
)
def test_errors_of_the_user_are_one_line_and_exit_code_1(error, line, capsys):
    @tool
    def main(argv=None):
        raise error

    assert main([]) == 1
    printed = capsys.readouterr().err
    assert line in printed
    assert printed.count("\n") == 1


def recurse(number=0):
    return recurse(number + 1)


def divide():
    return 1 / 0


def ask_for_an_exabyte():
    return bytearray(1 << 60)


def loop_in_causes():
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def import_our_own():
    raise ImportError("ours", name="lesionseg.data")


@pytest.mark.parametrize(
    ("work", "fact"),
    [
        (divide, "ended by ZeroDivisionError: division by zero, expected a result. Try other input, and report this"),
        (recurse, "ended by RecursionError: maximum recursion depth exceeded"),
        (loop_in_causes, "ended by ValueError: first, expected"),
        (import_our_own, "ended by ImportError: ours, expected"),
        (ask_for_an_exabyte, "out of memory (MemoryError), expected more of it. End other programs"),
    ],
)
def test_what_nobody_foresaw_is_one_line_and_a_file_with_the_traceback(work, fact, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    @tool
    def main(argv=None):
        work()

    assert main(["in put.png", "--out", "x"]) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith(f"error: test_tools 'in put.png' --out x: {fact}")
    (saved,) = tmp_path.iterdir()
    assert f" {saved}." in printed
    assert "Traceback (most recent call last)" in saved.read_text()
    assert f"in {work.__name__}\n" in saved.read_text()


def test_a_traceback_that_cannot_be_saved_is_one_line_all_the_same(monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null")

    @tool
    def main(argv=None):
        raise AssertionError("x" * 5000)

    assert main(["y" * 5000]) == 1
    printed = capsys.readouterr().err
    assert printed.endswith("traceback in no file (Not a directory).\n")
    assert len(printed) < 900


def test_any_name_can_be_printed(monkeypatch):
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))

    @tool
    def main(argv=None):
        print("l\udce9sion \u00e4")

    assert main([]) == 0
    sys.stdout.flush()
    assert printed.getvalue() == b"l\\udce9sion \\xe4\n"


def test_several_faults_are_a_line_each(capsys):
    @tool
    def main(argv=None):
        raise DataError("a: one", "b: two")

    assert main([]) == 1
    assert capsys.readouterr().err == "error: a: one\nerror: b: two\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_tool_in_one_line_and_what_is_half_written_goes(number, code, tmp_path, capsys):
    @tool
    def main(argv=None):
        with lock(tmp_path / ".lock", tmp_path):
            signal.raise_signal(number)

    before = signal.getsignal(number)
    assert main([]) == code
    assert capsys.readouterr().err == "stopped\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) is before


def test_phantoms_are_drawn_and_converted(tmp_path, capsys):
    counts = ["--training", "4", "--validation", "2", "--test", "3", "--height", "48", "--width", "64"]
    assert load_tool("draw_phantoms").main([str(tmp_path / "release"), *counts]) == 0
    assert load_tool("convert_isic").main([str(tmp_path / "release"), str(tmp_path / "out")]) == 0
    assert "4 training, 2 validation, 3 test" in capsys.readouterr().out
    assert load_tool("draw_phantoms").main([str(tmp_path / "release"), *counts]) == 1


def test_benchmark_of_the_input_gives_ratios_to_the_stock_way(isic_folder, capsys):
    arguments = ["input", MASK2FORMER, "--images", "3", "--rounds", "1", "--cfg-options", f"data_root={isic_folder}"]
    assert load_tool("benchmark").main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    stock = next(line.split() for line in lines if line.strip().startswith("stock loading and resizing"))
    own = next(line.split() for line in lines if line.strip().startswith("this config's loading and resizing"))
    assert float(own[-1]) == pytest.approx(float(own[-2]) / float(stock[-2]), rel=0.01)
    assert "decoding at a reduced scale changed pixels by at most 0" in lines[-1]


@pytest.fixture
def commands(monkeypatch):
    """The commands that the quickstart runs; each pretends to have done its work."""
    ran = []

    def run(command, check):
        ran.append(command[1:])
        name, *arguments = command[1:]
        if name.endswith("train.py"):
            work_dir = Path(arguments[arguments.index("--work-dir") + 1])
            work_dir.mkdir(parents=True)
            (work_dir / "last_checkpoint").write_text("/elsewhere/iter_300.pth")
        if name.endswith("test.py"):
            work_dir = Path(arguments[arguments.index("--work-dir") + 1])
            scores = dict.fromkeys(PER_IMAGE, 0.5) | dict(dice=0.91)
            origin = dict.fromkeys(("config", "checkpoint", "checkpoint_sha256", "dataset_sha256"), "-")
            Report(1, scores, dict.fromkeys(POOLED, 0.5), origin).write(work_dir)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    return ran


def test_quickstart_runs_the_tools_of_a_user_and_prints_their_commands(commands, tmp_path, capsys):
    assert load_tool("quickstart").main(["--work-dir", str(tmp_path)]) == 0
    names = [command[0].rsplit("/", 1)[-1] for command in commands]
    assert names == ["draw_phantoms.py", "convert_isic.py", "train.py", "test.py"]
    assert commands[-1][2] == str(tmp_path / "model" / "iter_300.pth")
    printed = capsys.readouterr().out
    assert printed.count("\n$ uv run tools/") == 4
    assert "mean Dice 0.910" in printed


@pytest.mark.parametrize("installed", [False, True])
def test_quickstart_on_a_release_without_test_split_scores_its_validation(commands, tmp_path, monkeypatch, installed):
    monkeypatch.setattr("lesionseg.commands.quickstart.has_imagenet_weights", lambda: installed)
    draw_release_folder(tmp_path / "release", training=1, validation=1)
    assert load_tool("quickstart").main(["--data", str(tmp_path / "release"), "--work-dir", str(tmp_path / "w")]) == 0
    assert [command[0].rsplit("/", 1)[-1] for command in commands] == ["convert_isic.py", "train.py", "test.py"]
    assert ("effnet" in commands[1][1]) == installed
    assert Path(commands[1][1]).is_file()
    assert "--split validation" in " ".join(commands[-1])


def test_quickstart_stops_where_a_tool_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(subprocess, "run", lambda command, check: SimpleNamespace(returncode=1))
    assert load_tool("quickstart").main(["--work-dir", str(tmp_path)]) == 1
    assert "tools/draw_phantoms.py: ended with exit code 1" in capsys.readouterr().err


def test_quickstart_needs_a_split_to_validate_on(tmp_path, capsys):
    release = draw_release_folder(tmp_path / "release", training=1, test=1)
    assert load_tool("quickstart").main(["--data", str(release), "--work-dir", str(tmp_path / "w")]) == 1
    assert "its splits are test, training, expected training and validation" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_quickstart_needs_a_folder(tmp_path, capsys):
    assert load_tool("quickstart").main(["--data", str(tmp_path / "none")]) == 1
    assert "none: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("draw_phantoms", ["out", "--spot-share", "0.001", "0.002"], "--spot-share is for --close-ups. Add it."),
        ("draw_phantoms", ["out", "--training", "-3"], "argument --training: '-3', expected a whole number, 0 or more"),
        (
            "export",
            ["c.py", "c.pth", "--out", "o", "--threads", "0"],
            "argument --threads: '0', expected a whole number, 1",
        ),
        (
            "export",
            ["c.py", "c.pth", "--out", "o", "--threads", "1000000"],
            f"argument --threads: '1000000', expected a whole number from 1 to {MOST_THREADS}",
        ),
        ("predict", ["m", "i", "--out", "o", "--threads", "9" * 15], "expected a whole number from 1 to"),
        ("convert_isic", ["raw", "out", "--short-edge", "x"], "argument --short-edge: 'x', expected a whole number, 1"),
        ("masks2coco", ["data", "--min-area", "1_0"], "argument --min-area: '1_0', expected a whole number, 1 or more"),
        (
            "predict",
            ["m", "i", "--out", "o", "--min-score", "nan"],
            "argument --min-score: 'nan', expected a number from",
        ),
        (
            "predict",
            ["m", "i", "--out", "o", "--batch-size", "0"],
            "argument --batch-size: '0', expected a whole number",
        ),
        ("benchmark", ["train", "c.py", "--rounds", "0"], "argument --rounds: '0', expected a whole number, 1 or more"),
    ],
)
def test_numbers_out_of_range_say_what_is_expected(name, arguments, message, capsys):
    with pytest.raises(SystemExit) as ending:
        load_tool(name).main(arguments)
    assert ending.value.code == 2
    assert message in capsys.readouterr().err


def test_no_phantoms_are_no_release(tmp_path, capsys):
    none = ["--training", "0", "--validation", "0", "--test", "0"]
    assert load_tool("draw_phantoms").main([str(tmp_path / "release"), *none]) == 1
    assert "release: 0, 0 and 0 images, expected 1 to 10000000 in all" in capsys.readouterr().err
    assert not (tmp_path / "release").exists()


MISSING = [
    ("train", ["none.py"], "none.py: no such config"),
    ("test", ["none.py", "none.pth"], "none.py: no such config"),
    ("test", [MASK2FORMER, "none.pth"], "none.pth: no such checkpoint"),
    ("export", [MASK2FORMER, "none.pth", "--out", "out"], "none.pth: no such checkpoint"),
    ("export", [MASK2FORMER, __file__, "--out", "out", "--deploy-cfg", "none.py"], "none.py: no such file or folder"),
    ("benchmark", ["train", "none.py"], "none.py: no such config"),
    ("predict", ["none.onnx", "none.jpg", "--out", "out"], "none.jpg: no such file or folder"),
    ("predict", ["none.onnx", __file__, "--out", "out"], "none.onnx: no such model"),
    ("convert_isic", ["none", "out"], "none: no such folder"),
    ("masks2coco", ["none"], "none: no such file or folder"),
    ("evaluate", ["none", "a", "--out", "out"], "none: no such folder, expected a folder of masks"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), MISSING)
def test_a_wrong_path_is_told_before_torch_or_numpy_are_loaded(name, arguments, message):
    code = (
        "import sys, runpy; sys.modules.update(torch=None, numpy=None, cv2=None, mmengine=None, mmcv=None); "
        f"sys.argv = {[name, *arguments]!r}; runpy.run_path('{ROOT}/tools/{name}.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert message in done.stderr


def test_a_name_that_is_no_utf8_does_not_end_the_last_line():
    code = "from lesionseg.cli import tool; raise SystemExit(tool(lambda _: print('Made l\\udce9sion'))())"
    environment = dict(os.environ, PYTHONIOENCODING="utf-8:strict")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, env=environment)
    assert (done.returncode, done.stdout) == (0, b"Made l\\udce9sion\n"), done.stderr
