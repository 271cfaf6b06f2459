"""The commands that the READMEs show."""

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile

from helpers import ROOT

from lesionseg.main import COMMANDS

READMES = [ROOT / "README.md", *sorted((ROOT / "configs").glob("*/README.md")), *(ROOT / ".github").glob("*.md")]
BLOCK = re.compile(r"```bash\n(.*?)```", re.S)


def commands_of(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every call of a tool in a README: its name, and its arguments, with the variables that were set above it."""
    variables = {}
    for block in BLOCK.findall(text):
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
