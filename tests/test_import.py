"""How the plain operators take the place of compiled ones, and what importing the package costs."""

import importlib
import subprocess
import sys

import pytest
from helpers import ROOT

import lesionseg
from lesionseg import ops


def test_special_names_are_no_operators():
    assert not hasattr(importlib.import_module("mmcv._ext"), "__path__")
    assert not hasattr(ops, "__wrapped__")


def test_environment_report_of_mmcv_works():
    assert all(isinstance(version(), str) for version in (ops.get_compiler_version, ops.get_compiling_cuda_version))


def test_loading_twice_adds_one_finder():
    count = len(sys.meta_path)
    importlib.reload(lesionseg)
    assert len(sys.meta_path) == count


def run_python(code, path=ROOT):
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(path)!r}); {code}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


@pytest.mark.slow
def test_importing_openmmlab_opens_no_connection(monkeypatch):
    monkeypatch.delenv("NO_ALBUMENTATIONS_UPDATE")
    code = "import network; network.watch(); import lesionseg.openmmlab, albumentations; print(network.attempts)"
    assert run_python(f"sys.path.insert(0, 'tests'); {code}").splitlines()[-1] == "[]"


def test_import_is_light():
    assert run_python("import lesionseg; print({'torch', 'numpy', 'mmcv', 'mmengine'} & set(sys.modules))") == "set()"


@pytest.fixture
def fake_mmcv(tmp_path):
    """A folder with an empty package `mmcv`, so that it imports at once."""
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").touch()
    return tmp_path


def test_the_stand_in_is_loaded_where_nothing_is_compiled(fake_mmcv):
    code = (
        "import lesionseg, mmcv._ext; print('torch' in sys.modules, mmcv._ext.nms.__module__, mmcv._ext.__spec__.name)"
    )
    assert run_python(code, fake_mmcv) == "True lesionseg.ops mmcv._ext"


def test_a_compiled_module_is_used_where_there_is_one(fake_mmcv):
    (fake_mmcv / "mmcv" / "_ext.py").write_text("nms = 'compiled'")
    assert run_python("import lesionseg, mmcv._ext; print(mmcv._ext.nms)", fake_mmcv) == "compiled"


def test_no_other_missing_module_is_answered(fake_mmcv):
    code = "import importlib.util, lesionseg; print(importlib.util.find_spec('mmcv.other'))"
    assert run_python(code, fake_mmcv) == "None"
