"""The tutorials are clean, small, and name what is there; `pytest --nbmake tools/tutorials` runs them."""

import ast
import re
from importlib import import_module

import pytest
from helpers import ROOT, help_of

nbformat = pytest.importorskip("nbformat")

TUTORIALS = sorted((ROOT / "tools" / "tutorials").glob("*.ipynb"))
MOST_BYTES = 100_000
# A command up to the end of its line, or of its code in a text; a backslash goes on in the next line.
COMMAND = re.compile(r"tools/(\w+)\.py((?:\\\n|[^`\n])*)")
FLAG = re.compile(r"(?<!\S)--[a-z][a-z-]*")
PATH = re.compile(r"(?<![\w/])(?:\.\./)*((?:configs|lesionseg|tools|tests)/[\w./-]*\w)")


@pytest.fixture(params=TUTORIALS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=nbformat.NO_CONVERT)


def test_they_are_small_together():
    assert len(TUTORIALS) >= 2
    assert sum(path.stat().st_size for path in TUTORIALS) < MOST_BYTES


def test_nothing_of_a_run_is_kept(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert not cell.get("outputs"), cell.id
        assert cell.get("execution_count") is None, cell.id


def test_files_and_flags_that_are_named_are_there(notebook):
    for cell in notebook.cells:
        assert [path for path in PATH.findall(cell.source) if not (ROOT / path).exists()] == [], cell.id
        for tool, arguments in COMMAND.findall(cell.source):
            flags = FLAG.findall(arguments)
            assert [flag for flag in flags if not re.search(rf"{flag}\b(?!-)", help_of(tool))] == [], cell.id


def test_names_that_are_imported_are_there(notebook):
    for cell in notebook.cells:
        if cell.cell_type != "code" or cell.source.startswith("%%bash"):
            continue
        for node in ast.walk(ast.parse(re.sub("^%%.*", "", cell.source))):
            if isinstance(node, ast.ImportFrom):
                module = import_module(node.module)
                assert [each.name for each in node.names if not hasattr(module, each.name)] == [], cell.id


def test_no_cell_hides_its_errors(notebook):
    # IPython's %%capture keeps an exception to itself; `with capture_output()` lets it through.
    assert [cell.id for cell in notebook.cells if cell.source.startswith("%%capture")] == []
