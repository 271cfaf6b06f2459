"""How the plain operators take the place of compiled ones, and what importing the package costs."""

import importlib
import subprocess
import sys

import pytest
from helpers import ROOT

import lesionseg
from lesionseg import late_imports, ops


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


def test_openmmlab_is_loaded_without_what_its_rare_parts_need():
    code = (
        "import lesionseg.openmmlab; from mmseg.models.backbones import timm_backbone, vit; "
        "rare = {'albumentations', 'matplotlib', 'numba', 'pandas', 'sklearn', 'timm', 'transformers'}; "
        "print(rare & set(sys.modules), timm_backbone.timm.list_models('vit_tiny_patch16_224'), 'timm' in sys.modules)"
    )
    assert run_python(code) == "set() ['vit_tiny_patch16_224'] True"


LATE = """
import scarce.parts as parts
import scarce
from scarce.parts import Part, make
{more}
"""


@pytest.fixture
def scarce(tmp_path, monkeypatch):
    """Makes a late package `scarce`, and imports a module that has it at its top and some more lines."""
    (tmp_path / "scarce").mkdir()
    (tmp_path / "scarce" / "__init__.py").touch()
    (tmp_path / "scarce" / "parts.py").write_text("class Part:\n    size = 3\ndef make(part): return [part]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(late_imports, "_LATE", ("scarce", "nowhere_installed"))

    def load(more=""):
        (tmp_path / "user.py").write_text(LATE.format(more=more))
        with late_imports.late_imports():
            return importlib.import_module("user")

    yield load
    for name in ("scarce", "scarce.parts", "user"):
        sys.modules.pop(name, None)


def test_a_late_package_is_imported_when_a_part_of_it_is_used(scarce):
    user = scarce()
    assert "scarce" not in sys.modules
    assert user.make(user.Part.size) == [3]
    assert isinstance(user.parts.Part(), user.Part)
    assert sys.modules["scarce.parts"].make is user.parts.make


def test_a_late_package_is_imported_at_once_where_a_class_is_made_of_its_own(scarce):
    user = scarce("class Own(Part): pass")
    assert issubclass(user.Own, sys.modules["scarce.parts"].Part)
    assert user.Own().size == user.scarce.parts.Part.size


def test_a_package_that_is_not_installed_is_missing_as_ever(scarce):
    with pytest.raises(ModuleNotFoundError, match="nowhere_installed"):
        scarce("import nowhere_installed")
    assert not [finder for finder in sys.meta_path if type(finder).__module__ == late_imports.__name__]


def test_below_a_package_that_is_late_at_its_top_nothing_is_there(scarce, monkeypatch):
    monkeypatch.setattr(late_imports, "_LATE", ())
    monkeypatch.setattr(late_imports, "_LATE_TOP", ("scarce",))
    with pytest.raises(ImportError, match="scarce"):
        scarce()
