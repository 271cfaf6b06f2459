"""Folds: every labelled image is held out once, and groups of images are held out together; as a file, folds.csv."""

from collections.abc import Collection, Mapping, Sequence
from os import PathLike

from lesionseg.data.lists import read_table
from lesionseg.data.names import known_id
from lesionseg.data.release.splits import shuffled_groups
from lesionseg.errors import DataError, first_names
from lesionseg.tables import csv_text

FOLDS = "folds.csv"


def assign_folds(ids: Sequence[str], groups: Mapping[str, str], folds: int, seed: int = 0) -> dict[str, int]:
    """Put each image into a fold, whole groups at a time, so that folds are as equal as groups let them be.

    The largest group goes first, each to the fold that has the fewest images; `shuffled_groups` orders what is equal.

    Args:
        ids: of the images.
        groups: id -> group, such as a patient; an image without one is on its own.
        folds: how many, 2 or more.
        seed: another seed gives other folds.

    Returns:
        id -> fold, from 0, in the order of `ids`.

    Raises:
        DataError: there are fewer groups than folds.
    """
    order = sorted(shuffled_groups(ids, groups, seed), key=len, reverse=True)
    if len(order) < folds:
        raise DataError(
            f"--folds {folds}: {len(ids)} images in {len(order)} groups leave folds empty, expected as many groups as "
            "folds. Give fewer folds."
        )
    members: list[list[str]] = [[] for _ in range(folds)]
    for group in order:
        min(members, key=len).extend(group)
    of_id = {id: number for number, fold in enumerate(members) for id in fold}
    return {id: of_id[id] for id in ids}


def folds_text(folds: Mapping[str, int]) -> str:
    """What `read_folds` reads: a table of id and fold."""
    return csv_text(("id", "fold"), (dict(id=id, fold=fold) for id, fold in folds.items()))


def read_folds(path: str | PathLike, ids: Collection[str]) -> dict[str, int]:
    """Read which fold each image is in, from a table with the columns id and fold.

    Args:
        path: of the table.
        ids: of the images that it should be of.

    Raises:
        DataError: no such table, or an image is in two folds.
        OSError: it cannot be read.
    """
    header, rows = read_table(path, ("id", "fold"))
    wrong = [row["id"] for row in rows if not row.get("fold", "").isdecimal()] if "id" in header else []
    if "id" not in header or "fold" not in header or not rows or wrong:
        fact = f"no number of a fold for {first_names(wrong)}" if wrong else f"columns {', '.join(header) or 'none'}"
        raise DataError(f"{path}: {fact}, expected id and fold, and a line an image. Let tools/folds.py write it.")
    folds: dict[str, int] = {}
    for row in rows:
        id, fold = known_id(row["id"], ids), int(row["fold"])
        if folds.setdefault(id, fold) != fold:
            raise DataError(f"{path}: {id} is in two folds, expected it in one. Correct the table.")
    return folds
