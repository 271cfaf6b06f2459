"""A page and its parts as HTML, in which every text is escaped.

A page holds its pictures, its style and its one script itself. Should a text ever get out of its place, it could
still do nothing: browsers run that one script and load nothing, as the page's own policy tells them
(https://www.w3.org/TR/CSP3/).
"""

import base64
import hashlib
import html
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

from lesionseg.cli import describe_unforeseen, one_line
from lesionseg.errors import DataError
from lesionseg.files import final_path, write_text
from lesionseg.pixels.outlines import PREDICTION_COLOUR, TRUTH_COLOUR
from lesionseg.pixels.pictures import data_url
from lesionseg.tables import Grid

# The one page of a run, in its folder.
REPORT_PAGE = "report.html"
_HERE = Path(__file__).parent


def text(words: object) -> str:
    """Escape a text, in one line; what would be obeyed or not be seen, such as control codes, is written out.

    Example:
        >>> text("<b>a & b</b>")
        '&lt;b&gt;a &amp; b&lt;/b&gt;'
    """
    return html.escape(one_line(str(words)))


def page(title: str, about: str, *parts: str) -> str:
    """Make a page.

    Args:
        title: its heading, and the name of its tab.
        about: a line below the heading.
        parts: HTML, as the functions here give it.
    """
    style, script = ((_HERE / f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    for name, colour in (("truth", TRUTH_COLOUR), ("prediction", PREDICTION_COLOUR)):
        style = style.replace(f"--{name}: none", f"--{name}: rgb{colour}")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{text(title)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            f"<header><h1>{text(title)}</h1><p>{text(about)}</p></header>",
            "<main>",
            *parts,
            "</main>",
            f"<script>{script}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def section(heading: str, *parts: str) -> str:
    """Set parts under a heading; nothing where there are none."""
    inside = "".join(parts)
    return f"<section><h2>{text(heading)}</h2>{inside}</section>" if inside else ""


def paragraph(words: str) -> str:
    return f"<p>{text(words)}</p>"


def remarks(lines: Iterable[str], kind: str = "note") -> str:
    """List what a reader has to know; `kind` is `note`, or `good` for what is as it should be."""
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    return f'<ul class="remarks {kind}">{items}</ul>' if items else ""


def term(name: str, meaning: str = "") -> str:
    """Set a name whose meaning shows where a pointer or the keyboard is on it, or a finger has touched it."""
    if not meaning:
        return text(name)
    return f'<button type="button" class="term" aria-description="{text(meaning)}">{text(name)}</button>'


def figures(values: Iterable[tuple[str, str, str]]) -> str:
    """Set a few numbers large: of each its name, the number and its meaning."""
    tiles = "".join(
        f"<div><dt>{term(name, meaning)}</dt><dd>{text(value)}</dd></div>" for name, value, meaning in values
    )
    return f'<dl class="figures">{tiles}</dl>'


def facts(values: Iterable[tuple[str, object]]) -> str:
    """List names with what they stand for."""
    rows = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in values)
    return f'<dl class="facts">{rows}</dl>'


def table(grid: Grid, meanings: Mapping[str, str] | None = None) -> str:
    """Set a table, whose first column names its rows.

    Args:
        grid: the table.
        meanings: of what stands in the header or in the first column, by name.
    """
    meanings = meanings or {}
    words = grid.header[:1] if grid.words is None else grid.words

    def cell(tag: str, column: str, inside: str, more: str = "") -> str:
        kind = ' class="words"' if column in words else ""
        return f"<{tag}{more}{kind}>{inside}</{tag}>"

    head = "".join(cell("th", name, term(name, meanings.get(name, "")), ' scope="col"') for name in grid.header)
    body = ""
    for first, *others in grid.cells:
        row = cell("th", grid.header[0], term(first, meanings.get(first, "")), ' scope="row"')
        row += "".join(cell("td", name, text(value)) for name, value in zip(grid.header[1:], others, strict=True))
        body += f"<tr>{row}</tr>"
    caption = f"<caption><span>{text(grid.title)}</span></caption>" if grid.title else ""
    inside = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    # A keyboard can scroll what is too wide.
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{text(grid.title or grid.header[0])}">{inside}</div>'
    )


def side_by_side(parts: Sequence[str]) -> str:
    """Set parts beside each other where there is room."""
    return f'<div class="beside">{"".join(parts)}</div>'


def picture(data: bytes, kind: str, about: str) -> str:
    """Show the bytes of a picture file.

    Args:
        data: of the file.
        kind: such as `image/png`.
        about: what it shows, for those who do not see it.
    """
    return f'<img class="plot" alt="{text(about)}" src="{data_url(data, kind)}">'


def write_page(path: str | PathLike, make: Callable[[], str]) -> bool:
    """Write a page, whole or not at all; where that fails, a warning is all that comes of it.

    Whatever the page is about is done by then, and must not be lost with it.

    Args:
        path: where it goes; an earlier page is replaced.
        make: gives its HTML.

    Returns:
        Whether it was written.
    """
    try:
        write_text(path, make())
    except Exception as error:
        Path(path).unlink(missing_ok=True)
        reason = str(error) if isinstance(error, (DataError, OSError)) else describe_unforeseen(error)
        print(f"warning: {final_path(path)}: not written, all else is: {reason}", file=sys.stderr)
        return False
    return True
