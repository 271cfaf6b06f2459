"""The commands in the READMEs name tools, flags, configs and settings that are there.

`.ci/run` also runs those of the quickstart, of the tutorials and of "Your own images in six commands"; the others take
releases of gigabytes, long trainings or GPUs.
"""

import re
import shlex
from itertools import takewhile

import pytest
from helpers import ROOT, help_of

from lesionseg.engine.config import Options, load_config
from lesionseg.main import COMMANDS

READMES = [ROOT / "README.md", *sorted((ROOT / "configs").glob("*/README.md")), *(ROOT / ".github").glob("*.md")]
BLOCK = re.compile(r"```bash\n(.*?)```", re.S)


def commands_of(readme):
    """Every call of a tool: its name, and its arguments, with the variables that were set above it."""
    variables = {}
    for block in BLOCK.findall(readme.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            for word in words:
                if assigned := re.fullmatch(r"([A-Z]+)=(.*)", word):
                    variables[assigned[1]] = assigned[2]
            words = [re.sub(r"\$([A-Z]+)", lambda name: variables.get(name[1], name[0]), word) for word in words]
            for number, word in enumerate(words):
                rest = list(takewhile(lambda each: each not in ("&&", "|", ";"), words[number + 1 :]))
                if tool := re.fullmatch(r"tools/(\w+)\.py", word):
                    yield tool[1], rest
                elif word == "lesionseg" and rest and not rest[0].startswith("-"):
                    yield COMMANDS[rest[0]], rest[1:]


COMMANDS_OF = {
    f"{readme.parent.name}/{readme.name} {number}: {tool}": (tool, arguments)
    for readme in READMES
    for number, (tool, arguments) in enumerate(commands_of(readme))
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
