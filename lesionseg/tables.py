"""Tables for a terminal, in Markdown and as CSV: laid out here alone, so that all look alike.

CSV and names with values need the standard library only; rich, which lays out tables, is imported when asked for.
"""

import csv
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

_NARROWEST = 16  # characters of a column of words in a terminal
_UNLIMITED = 10_000
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
# Emphasis, code, links, HTML, columns, formulas, what is struck out, and entities; an underscore only where it is not
# inside a word.
_MARKDOWN = re.compile(r"[\\`*\[\]<>|$~&]|(?<![^\W_])_|_(?![^\W_])")
_ADDRESS = re.compile(r"(?i)(https?|www|@)([:.\w])")


class Grid(NamedTuple):
    """A table of text.

    Attributes:
        header: of the columns.
        cells: a list a line, as long as the header.
        title: above it, without colon.
        words: headers of the columns of words, by default the first. They are folded where the terminal is narrow;
            all others are numbers, and never are.
    """

    header: Sequence[str]
    cells: Sequence[Sequence[str]]
    title: str = ""
    words: Collection[str] | None = None


def csv_text(header: Sequence[str], rows: Iterable[Mapping[str, object]], digits: int | None = None) -> str:
    """Write lines as CSV; what a line lacks is empty.

    Args:
        header: the columns.
        rows: a mapping by column a line.
        digits: behind the point of every float; by default as many as give the very same float again.
    """
    text = StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value, digits) for name, value in row.items()})
    return text.getvalue()


def cell_text(cell: str) -> str:
    """A text as it was before `csv_text` kept it from being a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA_STARTS) else cell


def terminal_table(grid: Grid, width: int = _UNLIMITED) -> str:
    """Set a table for a terminal.

    Args:
        grid: the table.
        width: of the terminal in characters. Where the numbers need more, the text is wider.
    """
    from rich.console import Console

    narrowest = Console(width=_UNLIMITED).measure(_lay_out(grid, most=_NARROWEST)).maximum
    text = StringIO()
    console = Console(width=max(width, narrowest), file=text, color_system=None)
    console.print(_lay_out(grid))
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "\n".join([*([f"{grid.title}:"] if grid.title else []), *filter(None, lines)])


def markdown_table(grid: Grid) -> str:
    """Write a table as GitHub's Markdown; what its text holds of Markdown and HTML is shown as it stands."""
    lines = [list(map(markdown_text, grid.header)), ["---"] * len(grid.header)]
    lines += [list(map(markdown_text, line)) for line in grid.cells]
    table = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([*([f"{markdown_text(grid.title)}:", ""] if grid.title else []), *table])


def markdown_text(text: str) -> str:
    """Escape what Markdown or HTML would make of a text, in one line.

    Example:
        >>> markdown_text("<b>a|b</b>")
        '\\\\<b\\\\>a\\\\|b\\\\</b\\\\>'
    """
    line = "".join(each if each.isprintable() else " " for each in text)
    # An address becomes a link by itself.
    return _ADDRESS.sub(r"\1&#8203;\2", _MARKDOWN.sub(r"\\\g<0>", line))


def named_values(values: Iterable[tuple[str, str]], indent: str = "  ") -> list[str]:
    """Set values behind their names, one a line, in one column."""
    pairs = list(values)
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{indent}{name:<{width}}  {value}" for name, value in pairs]


def side_by_side(left: Sequence[str], right: Sequence[str]) -> str:
    """Set two blocks of lines beside each other."""
    width, height = max(map(len, left)) + 4, max(len(left), len(right))
    left, right = ([*block, *[""] * (height - len(block))] for block in (left, right))
    return "\n".join(f"{one:<{width}}{other}".rstrip() for one, other in zip(left, right, strict=True))


def _cell(value: object, digits: int | None) -> object:
    if isinstance(value, str):
        return _plain_text(value)
    return f"{value:.{digits}f}" if isinstance(value, float) and digits is not None else value


def _plain_text(text: str) -> str:
    """A text as a cell that can be written, and that no spreadsheet computes.

    Spreadsheets take what begins with these characters for a formula, which may run programs or send data away; an
    apostrophe before it makes it text (https://owasp.org/www-community/attacks/CSV_Injection). Bytes of a path that
    are no UTF-8 are written as Python shows them.
    """
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"'{text}" if text.startswith(_FORMULA_STARTS) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _lay_out(grid: Grid, most: int | None = None) -> "Table":
    """Lay out a table whose columns of words are at most so many characters wide."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in grid.header:
        if name in (grid.header[:1] if grid.words is None else grid.words):
            table.add_column(name, overflow="fold", min_width=_NARROWEST, max_width=most)
        else:
            table.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
    for line in grid.cells:
        table.add_row(*map(Text, line))
    return table
