"""A CSV file that grows row by row, so that whatever ends a run, what was done stands in it."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from io import StringIO
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar, get_args

from lesionseg.files import write_text
from lesionseg.tables import csv_text

Row = TypeVar("Row")
# After the point, in all tables of a run.
DIGITS = 6


class GrowingTable(Generic[Row]):
    """A table whose rows are dataclasses of strings, numbers and None.

    Args:
        path: of the file; one that is there is replaced.
        kind: the dataclass.
        rows: to begin with.
    """

    def __init__(self, path: Path, kind: type[Row], rows: Iterable[Row] = ()) -> None:
        self.path = path
        self._kind = kind
        self._lock = Lock()
        write_text(path, self._text(rows))
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace", newline="")

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows at once, so that they are there whatever comes; from any thread."""
        text = self._text(rows).partition("\n")[2]
        with self._lock:
            self._file.write(text)
            self._file.flush()

    def leave(self) -> None:
        """End with the rows as they were added."""
        self._file.close()

    def close(self, rows: Iterable[Row] | None) -> None:
        """End with these rows, in their order; with None, the file goes."""
        self.leave()
        if rows is None:
            self.path.unlink(missing_ok=True)
        else:
            write_text(self.path, self._text(rows))

    def _text(self, rows: Iterable[Row]) -> str:
        return csv_text([field.name for field in fields(self._kind)], map(asdict, rows), DIGITS)  # type: ignore[arg-type]


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Read the rows that were written whole; where a run was killed, the last may be cut off."""
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    # A cell may be a long outline.
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(StringIO(text[: text.rfind("\n") + 1], newline=""))
    rows: list[Row] = []
    try:
        for line in reader:
            rows += _read_row(line, kind)
    except csv.Error:
        pass
    return rows


def _read_row(line: Mapping[str, str], kind: type[Row]) -> list[Row]:
    values: dict[str, Any] = {}
    try:
        for field in fields(kind):  # type: ignore[arg-type]
            text = line[field.name]
            type_ = (get_args(field.type) or (field.type,))[0]
            values[field.name] = None if text == "" and type(None) in get_args(field.type) else type_(text)
    except (KeyError, ValueError, TypeError):
        return []
    return [kind(**values)]
