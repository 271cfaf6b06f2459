"""The walls of the house: every import runs down, and what is light stays light.

Imports inside functions and those for annotations count too. That an exported file is predicted without torch and
OpenMMLab is tested where that is run, in commands/test_predict.py.
"""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest
from helpers import ROOT

# From top to bottom; those in one line know nothing of each other.
FLOORS = (
    {"main"},
    {"commands"},
    {"pages"},
    {"benchmarks"},
    {"deploy"},
    {"openmmlab", "postprocess"},
    {"evaluation", "inference"},
    {"engine"},
    {"models", "data", "documents"},
    {"pixels"},
    {"environment"},
    {"workers"},
    {"cli", "ops"},
    {"system_errors"},
    {"files", "shipped", "tables"},
    {"errors", "late_imports"},
)
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
MOST_LINES = 400


def read_imports() -> dict[str, set[str]]:
    """Which modules of the package each of them imports, or names in a text as `import_module` takes it."""
    files = {}
    for path in (ROOT / "lesionseg").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        files[name.removesuffix(".__init__")] = path
    imports = {}
    for name, path in files.items():
        named = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: a relative import, expected a full name"
                modules = {f"{node.module}.{alias.name}" for alias in node.names} & set(files)
                named |= modules or {str(node.module)}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                named.add(node.value)
        imports[name] = named & set(files) - {name}
    return imports


# Without the package itself: its version is everybody's, and it names `lesionseg.ops` for mmcv.
IMPORTS = {
    name: {each for each in named if each != "lesionseg"}
    for name, named in read_imports().items()
    if name != "lesionseg"
}


def floor(module: str) -> str:
    return module.split(".")[1]


def test_every_part_has_a_floor():
    assert {floor(name) for name in IMPORTS} - set(LEVEL) == set(), "give it a place in FLOORS"


def test_imports_run_down():
    up = [
        f"{name} imports {other}"
        for name, named in IMPORTS.items()
        for other in sorted(named)
        if floor(name) != floor(other) and LEVEL[floor(other)] <= LEVEL[floor(name)]
    ]
    assert up == []


def test_imports_make_no_circle():
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_pixels_need_errors_and_files_only():
    needed = {floor(other) for name, named in IMPORTS.items() if floor(name) == "pixels" for other in named}
    assert needed <= {"pixels", "errors", "files"}


def test_a_wrong_path_of_a_config_is_told_before_anything_heavy_is_imported():
    code = """
import sys
from lesionseg.engine.config import Options
heavy = {"torch", "numpy", "cv2", "mmengine", "mmcv"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
try:
    Options("none.py").check_path()
except ValueError as error:
    print(error)
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == ""
    assert done.stdout.startswith("none.py: no such config, expected")


def test_test_files_have_names_of_their_own():
    # pytest takes two of one name for the same module.
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_no_file_is_long():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for folder in ("lesionseg", "tools", "tests")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}
