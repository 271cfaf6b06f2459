"""The command `lesionseg`, and the configs that it knows by name."""

import re
import subprocess
import sys
from itertools import pairwise

import pytest
from helpers import MASK2FORMER, ROOT

import lesionseg
from lesionseg import shipped
from lesionseg.commands.configs import list_configs
from lesionseg.engine.config import Options
from lesionseg.errors import DataError
from lesionseg.main import COMMANDS, main
from lesionseg.shipped import config_paths, find_config

NAME = "mask2former_r18c4-w64_1xb8-amp-albu-2500i_isic2018-128x128"


def test_every_tool_is_a_command():
    assert sorted(COMMANDS.values()) == sorted(path.stem for path in (ROOT / "tools").glob("*.py"))


def test_a_command_is_its_tool(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lesionseg"])
    assert main(["train", "none.py"]) == 1
    assert capsys.readouterr().err.startswith("error: none.py: no such config")
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert capsys.readouterr().out.startswith("usage: lesionseg train [-h]")


def test_commands_are_listed_with_what_they_do(capsys):
    with pytest.raises(SystemExit) as ending:
        main([])
    assert ending.value.code == 0
    assert "Train a model as a config says." in capsys.readouterr().out


def test_an_unknown_command_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as ending:
        main(["trian"])
    assert ending.value.code == 2
    assert "invalid choice: 'trian'" in capsys.readouterr().err


def test_configs_have_names_of_their_own():
    files = [path for path in (ROOT / "configs").glob("*/*.py") if path.parent.name not in ("_base_", "deploy")]
    assert len(config_paths()) == len(files)


@pytest.mark.parametrize("given", [NAME, f"{NAME}.py", f"configs/mask2former/{NAME}.py"])
def test_a_config_is_found_by_name_from_anywhere(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Options(given).config == MASK2FORMER


@pytest.mark.parametrize("given", [f"configs/mask_rcnn/{NAME}.py", f"elsewhere/{NAME}.py", "mask2former"])
def test_what_is_no_config_of_ours_stays_as_it_is_given(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(given) == given


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{NAME}.py").touch()
    assert find_config(f"{NAME}.py") == f"{NAME}.py"


def test_in_a_wheel_configs_lie_inside_of_the_package(tmp_path, monkeypatch):
    (tmp_path / "shipped" / "configs").mkdir(parents=True)
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path)
    assert shipped.shipped("configs") == tmp_path / "shipped" / "configs"
    assert shipped.shipped("tools") == tmp_path.parent / "tools"


def test_configs_are_listed_with_purpose_and_scores():
    lines = list_configs(["r18c4", "isic"], width=60).splitlines()
    assert lines[:2] == ["mask2former:", f"  {NAME}"]
    assert "for a CPU: ResNet-18 up to conv4" in lines[2]
    assert "Jaccard 0." in " ".join(lines)
    assert max(map(len, lines[2:])) <= 60


def test_every_config_says_by_itself_what_it_is_for():
    lines = [*list_configs(width=1000).splitlines(), ""]
    told = {name.strip(): text for name, text in pairwise(lines) if re.match(r"  \S", name)}
    assert len(told) == len(config_paths())
    assert [name for name, text in told.items() if not text.startswith("    ") or "the same" in text] == []


def test_words_of_no_config_are_told():
    with pytest.raises(DataError, match="unet: in the name of no config"):
        list_configs(["unet"])


def test_the_segmenter_is_there_by_the_package_s_name():
    from lesionseg.inference import Segmenter

    assert lesionseg.Segmenter is Segmenter
    with pytest.raises(AttributeError, match="no attribute 'Segmentor'"):
        _ = lesionseg.Segmentor


def test_the_command_is_installed():
    code = "from importlib.metadata import entry_points as e; print(e(group='console_scripts')['lesionseg'].value)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "lesionseg.main:main"
