"""What several test modules of data sets are about."""

import pytest
from drawn_release import (
    write_release,
)
from helpers import load_tool


@pytest.fixture
def run(capsys):
    """Run the tool; gives exit code, stdout and stderr."""
    tool = load_tool("convert_isic")

    def run(*argv):
        code = tool.main([str(arg) for arg in argv])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def raw(tmp_path):
    return write_release(tmp_path / "raw", 2018)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "made" / "isic"
