"""What is told about an environment, and whether the commands mend it."""

import importlib.metadata
import shlex
import subprocess
import sys

import pytest
from helpers import ROOT, load_tool

from lesionseg import environment
from lesionseg.environment import Fault, Report

REQUIREMENTS = [
    "torch<2.14,>=2.6",
    "torchvision<0.29,>=0.21",
    "onedl-mmcv<2.4,>=2.3.6",
    "ancient; python_version < '3'",
    "onnxruntime>=1.20; extra == 'export'",
    "ruff>=0.12; extra == 'dev'",
]
GOOD = {"torch": "2.13.0+cu130", "torchvision": "0.28.0+cu130", "onedl-mmcv": "2.3.6"}


@pytest.fixture(autouse=True)
def _uv(monkeypatch):
    """Commands are for uv, for a Python at a path with a space, and for this project's requirements."""
    monkeypatch.setattr(environment, "_uses_pip", lambda: False)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIREMENTS)
    monkeypatch.setattr(sys, "executable", "/my env/bin/python")


def test_no_fault_where_all_versions_fit():
    assert environment.requirement_faults(REQUIREMENTS, GOOD) == []


def test_a_missing_package():
    assert environment.requirement_faults(REQUIREMENTS, {"torch": "2.13.0", "torchvision": "0.28.0"}) == [
        Fault(
            "onedl-mmcv: is not installed, expected onedl-mmcv<2.4,>=2.3.6.",
            "uv pip install --python '/my env/bin/python' 'onedl-mmcv<2.4,>=2.3.6'",
        )
    ]


def test_the_opencv_that_openmmlab_asks_for_may_be_the_headless_one():
    required = ["opencv-python>=4.11,<5", "opencv-python-headless>=4.11,<5"]
    assert environment.requirement_faults(required, {"opencv-python-headless": "4.12.0"}) == []
    assert len(environment.requirement_faults(required, {})) == 2


def test_a_wrong_version_also_of_an_optional_package():
    faults = environment.requirement_faults(REQUIREMENTS, {**GOOD, "torch": "2.14.1", "onnxruntime": "1.19.2"})
    assert [fault.what for fault in faults] == [
        "torch: version 2.14.1, expected torch<2.14,>=2.6.",
        "onnxruntime: version 1.19.2, expected onnxruntime>=1.20.",
    ]
    assert shlex.split(faults[0].command)[-1] == "torch<2.14,>=2.6"


def test_the_package_itself_is_missing():
    (fault,) = environment.requirement_faults(None, {})
    assert fault.what == "lesionseg: is not installed, expected it and what it depends on."
    assert shlex.split(fault.command)[-2:] == ["-e", str(ROOT)]


def test_commands_for_pip(monkeypatch):
    monkeypatch.setattr(environment, "_uses_pip", lambda: True)
    (fault,) = environment.requirement_faults(["torch>=2.6"], {})
    assert fault.command == "'/my env/bin/python' -m pip install 'torch>=2.6'"
    (fault,) = environment.original_faults({"mmcv": "2.1.0", "onedl-mmcv": "2.3.6"})
    assert fault.command == (
        "'/my env/bin/python' -m pip uninstall -y mmcv && "
        "'/my env/bin/python' -m pip install --force-reinstall --no-deps 'onedl-mmcv<2.4,>=2.3.6'"
    )


@pytest.mark.parametrize(("original", "fork"), environment.FORKS.items())
def test_an_original_beside_its_fork(original, fork):
    (fault,) = environment.original_faults({original: "2.1.0", fork: "2.3.6"})
    assert fault.what == (
        f"{original}: version 2.1.0 is installed and shares its files with {fork}, expected {fork} alone."
    )
    uninstall, _, reinstall = fault.command.partition(" && ")
    assert uninstall == f"uv pip uninstall --python '/my env/bin/python' {original}"
    assert "--reinstall --no-deps" in reinstall
    assert shlex.split(reinstall)[-1].startswith(fork)


def test_forks_alone_are_no_fault():
    assert environment.original_faults(dict.fromkeys(environment.FORKS.values(), "2.0")) == []


@pytest.mark.parametrize(
    ("installed", "count"),
    [
        ({"opencv-python-headless": "4.12.0"}, 0),
        ({"opencv-python-headless": "4.12.0", "opencv-python": "4.12.0"}, 0),
        ({"opencv-python-headless": "4.12.0", "opencv-python": "4.11.0"}, 1),
        ({"opencv-python-headless": "4.12.0", "opencv-contrib-python": "4.11.0"}, 1),
    ],
)
def test_opencv_of_two_versions(installed, count):
    faults = environment.opencv_faults(installed)
    assert len(faults) == count
    for fault in faults:
        assert all(f"{name} {version}" in fault.what for name, version in installed.items())
        assert "uninstall" in fault.command
        assert fault.command.endswith("--reinstall --no-deps opencv-python-headless")


def test_a_torch_without_cuda():
    fault = environment.gpu_fault("NVIDIA T4", None, None, "")
    assert fault.what == "torch: a build without CUDA, expected one for NVIDIA T4."
    assert fault.command == (
        "uv pip install --python '/my env/bin/python' --reinstall-package torch --reinstall-package torchvision "
        "--torch-backend=auto 'torch<2.14,>=2.6' 'torchvision<0.29,>=0.21'"
    )


def test_a_hidden_gpu():
    fault = environment.gpu_fault("NVIDIA T4", "13.0", "-1", "")
    assert "CUDA_VISIBLE_DEVICES='-1' hides NVIDIA T4" in fault.what
    assert fault.command == "unset CUDA_VISIBLE_DEVICES"


def test_a_driver_too_old_for_torch(monkeypatch):
    monkeypatch.setattr(environment, "_uses_pip", lambda: True)
    fault = environment.gpu_fault("NVIDIA T4", "13.0", None, "The NVIDIA driver is too old")
    assert "built for CUDA 13.0 and cannot use NVIDIA T4 (The NVIDIA driver is too old)" in fault.what
    assert fault.command.startswith("'/my env/bin/python' -m pip install uv && '/my env/bin/python' -m uv pip install")


def test_versions_of_this_environment():
    installed = environment.installed_versions()
    assert installed["onedl-mmcv"].startswith("2.3.")
    assert "pytest" in installed


def test_the_report_names_faults_and_commands():
    report = str(Report([("python", "3.11"), ("GPU", "none")], [Fault("torch: no.", "mend it")]))
    assert report.splitlines() == [
        "python  3.11",
        "GPU     none",
        "",
        "fault 1: torch: no.",
        "  run: mend it",
        "",
        "1 fault",
    ]


def test_exit_code_and_last_line(monkeypatch, capsys):
    module = load_tool("check_env")
    for faults, code, last in (([], 0, "all is well"), ([Fault("a", "b")] * 2, 1, "2 faults")):
        monkeypatch.setattr(module, "inspect_environment", lambda faults=faults: Report([("python", "3")], faults))
        assert module.main([]) == code
        assert capsys.readouterr().out.splitlines()[-1] == last


def test_facts_of_this_environment(monkeypatch):
    monkeypatch.undo()
    facts = dict(environment.inspect_environment().facts)
    assert facts["operators"].startswith(("torchvision", "compiled"))
    assert facts["torch"].startswith("2.")
    assert int(facts["CPU cores"]) >= 1


@pytest.fixture
def python(monkeypatch):
    """Run this Python in a new process: exit code and output."""
    monkeypatch.undo()

    def run(*arguments):
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT)
        assert done.stderr == ""
        return done.returncode, done.stdout

    return run


TOOL = ROOT / "tools" / "check_env.py"
BLOCKED = f"""
import runpy, sys
class Blocker:
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition('.')[0] in ('torch', 'mmcv', 'mmengine', 'numpy', 'cv2'):
            raise ImportError('blocked ' + fullname)
sys.meta_path.insert(0, Blocker())
runpy.run_path({str(TOOL)!r}, run_name='__main__')
"""


def test_it_tells_what_cannot_be_imported(python):
    code, output = python("-c", BLOCKED)
    assert code == 1
    assert "torch: fails on import (ImportError: blocked torch), expected it to load." in output
    assert "cv2: fails on import (ImportError: blocked cv2)" in output
    assert "none: the small configs run on the CPU" in output
    assert output.splitlines()[-1] == "2 faults"


def test_a_torchvision_for_another_torch_is_installed_again_with_its_torch(python):
    # What its import says then.
    broken = BLOCKED.replace("'torch', 'mmcv', 'mmengine', 'numpy', 'cv2'", "'torchvision',").replace(
        "ImportError('blocked ' + fullname)", "RuntimeError('operator torchvision::nms does not exist')"
    )
    code, output = python("-c", broken)
    assert code == 1
    assert "torchvision: fails on import (RuntimeError: operator torchvision::nms does not exist)" in output
    assert "--reinstall-package torch --reinstall-package torchvision --torch-backend=auto" in output
    assert output.splitlines()[-1] == "1 fault"


def test_it_works_where_nothing_is_installed(python):
    code, output = python("-I", "-S", str(TOOL))
    assert code == 1
    assert output.count("not installed") >= 10
    assert output.splitlines()[-1] == "1 fault"
    assert f"-e {ROOT}" in output


def test_help_needs_no_package(python):
    code, output = python("-c", BLOCKED, "--help")
    assert code == 0
    assert "command that mends it" in output
