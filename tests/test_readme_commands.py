"""The commands in the READMEs name tools, flags, configs and settings that are there; test_readme_runs.py runs them."""

import re
from itertools import takewhile

import pytest
from helpers import ROOT, help_of
from readmes import READMES, commands_of

from lesionseg.engine.config import Options, load_config

COMMANDS_OF = {
    f"{readme.parent.name}/{readme.name} {number}: {tool}": (tool, arguments)
    for readme in READMES
    for number, (tool, arguments) in enumerate(commands_of(readme.read_text(encoding="utf-8")))
}


def test_there_are_commands():
    assert len(COMMANDS_OF) > 30


@pytest.mark.parametrize("command", COMMANDS_OF)
def test_a_command_fits_its_tool(command):
    tool, arguments = COMMANDS_OF[command]
    assert (ROOT / "tools" / f"{tool}.py").is_file()
    flags = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    known = help_of(tool, *arguments[: tool == "benchmark"])
    assert [flag for flag in flags if not re.search(rf"{flag}\b(?!-)", known)] == []


def settings_of(arguments):
    """What `--cfg-options` changes."""
    behind = arguments[arguments.index("--cfg-options") + 1 :] if "--cfg-options" in arguments else []
    return tuple(takewhile(lambda word: not word.startswith("--"), behind))


CONFIGURED = {
    (word, settings_of(arguments))
    for _, arguments in COMMANDS_OF.values()
    for word in arguments
    if re.fullmatch(r"configs/\w+/[\w.-]+\.py|(mask2former|mask-rcnn|segformer|mae)_[\w-]+", word)
}


@pytest.mark.parametrize(("config", "changes"), sorted(CONFIGURED))
def test_configs_take_their_settings(config, changes, monkeypatch):
    monkeypatch.chdir(ROOT)
    load_config(Options(config, cfg_options=changes))
