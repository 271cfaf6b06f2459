"""Lists and tables that people bring, as their programs have written them: any usual encoding and separator."""

import codecs
import csv
import os
from collections.abc import Sequence
from io import StringIO
from os import PathLike
from typing import NamedTuple

from lesionseg.errors import DataError
from lesionseg.files import read_file
from lesionseg.tables import cell_text

# With a byte order mark an encoding is certain; UTF-8 that is not is hardly ever valid by chance.
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# Every byte means something in the last one.
_ENCODINGS = ("utf-8", "cp1252", "latin-1")
# Excel writes semicolons where a comma stands before decimals.
_SEPARATORS = (",", ";", "\t", "|")


class Table(NamedTuple):
    """A table of text.

    Attributes:
        header: of the columns, without blanks around.
        rows: a cell by its column; missing cells are empty.
    """

    header: list[str]
    rows: list[dict[str, str]]


def read_text(path: str | PathLike) -> str:
    """Read a text in UTF-8, in UTF-16 with its mark, or in the encoding of Windows in Europe and America.

    Raises:
        DataError: no regular file.
        OSError: it cannot be read.
    """
    data = read_file(path)
    marked = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    for encoding in [marked] if marked else _ENCODINGS:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{os.fspath(path)}: not a text in {marked}, as it begins, expected UTF-8. Save it as such.")


def read_lines(path: str | PathLike) -> list[str]:
    """Read the lines of a list that are not blank, without blanks around.

    Raises:
        DataError: it has none, or as from `read_text`.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    if not any(lines):
        raise DataError(f"{os.fspath(path)}: an empty list, expected an id a line. Write the ids into it.")
    return list(filter(None, lines))


def read_table(path: str | PathLike, columns: Sequence[str] = ()) -> Table:
    """Read a table with a header: separated by commas, semicolons or tabs, with or without blanks after them.

    Args:
        path: a CSV file.
        columns: headers to look for: the separator that gives most of them is the right one.

    Raises:
        DataError: not such a table, or as from `read_text`.
    """
    text = read_text(path)
    separator = ""
    if text.lower().startswith("sep="):
        # Excel's own way to say it, in a line before the header.
        first, _, text = text.partition("\n")
        separator = first.strip("\r\n")[4:]
    if "\0" in text:
        raise DataError(f"{os.fspath(path)}: it holds zero bytes, expected a table as text (CSV). Export it as CSV.")
    try:
        tables = [_parse(text, one) for one in (separator if len(separator) == 1 else _SEPARATORS)]
    except csv.Error as error:
        raise DataError(f"{os.fspath(path)}: {error}, expected a CSV file. Export it as CSV.") from error

    def fit(table: Table) -> tuple[int, int]:
        return len({name.lower() for name in columns} & {name.lower() for name in table.header}), len(table.header)

    return max(tables, key=fit)


def _parse(text: str, separator: str) -> Table:
    lines = [
        [cell_text(cell.strip()) for cell in line]
        for line in csv.reader(StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    ]
    lines = [line for line in lines if any(line)]
    header = lines[0] if lines else []
    rows = [dict(zip(header, [*line, *[""] * (len(header) - len(line))], strict=False)) for line in lines[1:]]
    return Table(header, rows)
