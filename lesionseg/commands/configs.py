"""The configs that come with this package, with what their folders' READMEs say about them."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from lesionseg.errors import DataError
from lesionseg.shipped import config_paths

_PURPOSE = "what it is for"
_SCORES = ("Jaccard", "threshold Jaccard", "Dice")


def list_configs(words: Sequence[str] = (), width: int = 120) -> str:
    """Name every config, with what it is for and its scores where they were measured.

    Args:
        words: only configs with all of them in their name.
        width: of the terminal in characters; names, which are to be copied, are never folded.

    Raises:
        DataError: there is none.
    """
    chosen = {name: path for name, path in config_paths().items() if all(word in name for word in words)}
    if not chosen:
        raise DataError(f"{' '.join(words)}: in the name of no config, expected words such as mask2former. Try fewer.")
    lines = []
    for folder, configs in groupby(chosen.items(), key=lambda item: item[1].parent):
        facts = _facts(folder / "README.md")
        lines.append(f"{folder.name}:")
        for name, _ in configs:
            known = facts.get(name, {})
            scores = ", ".join(f"{score} {known[score]}" for score in _SCORES if score in known)
            told = "; ".join(filter(None, [known.get(_PURPOSE), scores]))
            lines += [f"  {name}", *textwrap.wrap(told, width, initial_indent="    ", subsequent_indent="    ")]
        lines.append("")
    return "\n".join(lines)


def _facts(readme: Path) -> dict[str, dict[str, str]]:
    """What a README's tables say about each config, by name and column; the first that says it counts."""
    facts: dict[str, dict[str, str]] = {}
    for header, cells in _table_rows(readme.read_text(encoding="utf-8")):
        for name in re.findall("`([^`]+)`", cells[0]):
            known = facts.setdefault(name, {})
            for column, cell in zip(header, cells, strict=True):
                known.setdefault(column, cell.replace("`", ""))
    return facts


def _table_rows(markdown: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield each row of a Markdown text's tables, as (header, cells)."""
    header: list[str] = []
    for line in markdown.splitlines():
        if not line.startswith("|"):
            header = []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not header:
            header = cells
        elif set(cells) != {"---"}:
            yield header, cells
