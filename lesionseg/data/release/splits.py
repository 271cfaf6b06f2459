"""Random splits that are the same on every machine, and keep groups of images together."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path, PurePosixPath

from lesionseg.data.lists import read_table
from lesionseg.data.names import listed_id
from lesionseg.data.release.listing import Listing, Pair
from lesionseg.errors import DataError, first_names

_ID_COLUMNS = ("image_id", "isic_id", "image_name", "image", "id")
_GROUP_COLUMNS = ("patient_id", "lesion_id")


def split_again(
    listing: Listing,
    fractions: Mapping[str, Fraction],
    seed: int = 0,
    group_csv: Path | None = None,
    group_column: str | None = None,
) -> None:
    """Give the pairs of a listing new splits at random; see `random_splits` and `read_groups`.

    Raises:
        DataError: the table of groups is not fit, or a split would be empty.
        OSError: the table cannot be read.
    """
    ids = list(dict.fromkeys(pair.id for pair in listing.pairs))
    groups = read_groups(group_csv, ids, group_column) if group_csv else {}
    if group_csv and len(groups) < len(ids):
        listing.notes.append(f"{group_csv}: {len(ids) - len(groups)} images have an empty group, each counts as one")
    listing.pairs = random_splits(listing.pairs, fractions, seed, groups)


def random_splits(
    pairs: Sequence[Pair], fractions: Mapping[str, Fraction], seed: int = 0, groups: Mapping[str, str] | None = None
) -> list[Pair]:
    """Assign pairs to splits at random, whole groups at a time.

    A hash of seed and group puts the groups in order, so neither the order of files nor the version of
    Python matters. Each group in turn goes to the split that lacks most images.

    Args:
        pairs: all images; their own splits do not matter.
        fractions: split -> its share of the images; they sum to 1.
        seed: another seed gives another split.
        groups: id -> group, such as a patient; an image without one is on its own.

    Returns:
        The pairs with their new splits, in the order of split and id.

    Raises:
        DataError: a split would be empty.
    """
    images = len({pair.id for pair in pairs})
    members = defaultdict(list)
    for pair in pairs:
        members[("group", groups[pair.id]) if groups and pair.id in groups else ("image", pair.id)].append(pair)
    order = sorted(members, key=lambda group: hashlib.sha256(repr((seed, *group)).encode()).digest())
    splits: dict[str, list[Pair]] = {split: [] for split in fractions}
    # Not pairs: an image may have a mask for each of several findings.
    counts = dict.fromkeys(fractions, 0)
    for group in order:
        # At a tie the smaller split comes first, so that two images at 3:1 do not both go to training.
        lack = {split: (share * images - counts[split], -counts[split]) for split, share in fractions.items()}
        split = max(lack, key=lack.__getitem__)
        splits[split] += [replace(pair, split=split) for pair in members[group]]
        counts[split] += len({pair.id for pair in members[group]})
    empty = [split for split, assigned in splits.items() if not assigned]
    if empty:
        step = "Choose other fractions." if len(members) >= len(splits) else "Add images of other groups."
        raise DataError(
            f"--split: {images} images in {len(members)} groups leave {' and '.join(empty)} empty, "
            f"expected images in every split. {step}"
        )
    return [pair for assigned in splits.values() for pair in sorted(assigned, key=lambda pair: pair.id)]


def read_groups(path: Path, ids: Sequence[str], column: str | None = None) -> dict[str, str]:
    """Read which images show one lesion or come from one patient.

    Args:
        path: a table with a header and a row for each image, such as HAM10000_metadata.csv; see
            `lesionseg.data.lists.read_table`. Images are named by their id, with or without its sub-folders and the
            extension of the file.
        ids: the images that need a group.
        column: the header of the groups; by default patient_id or lesion_id, whichever is there.

    Returns:
        id -> group; an image whose cell is empty is left out.

    Raises:
        DataError: no such columns, or images that are missing or have two groups.
        OSError: the file cannot be read.
    """
    wanted = [column] if column else _GROUP_COLUMNS
    header, rows = read_table(path, [*_ID_COLUMNS, *wanted])
    there = {name.lower(): name for name in reversed(header)}
    id_column = next((there[name] for name in _ID_COLUMNS if name in there), None)
    columns = [there[name.lower()] for name in wanted if name.lower() in there]
    if id_column is None or len(columns) != 1:
        step = "Choose the column of the groups with --group-column."
        if id_column is None:
            step = f"Call the column of the images {_ID_COLUMNS[0]}."
        raise DataError(
            f"{path}: the columns are {', '.join(filter(None, header)) or 'none'}, expected one of "
            f"{', '.join(_ID_COLUMNS)} and {column or ' or '.join(_GROUP_COLUMNS)}. {step}"
        )
    groups_of = defaultdict(set)
    for row in rows:
        groups_of[listed_id(row[id_column])].add(row[columns[0]])
    found = {id: groups_of.get(id) or groups_of.get(PurePosixPath(id).name, set()) for id in ids}
    for fact, wrong in (
        ("have no row", [id for id, groups in found.items() if not groups]),
        (f"have more than one {columns[0]}", [id for id, groups in found.items() if len(groups) > 1]),
    ):
        if wrong:
            raise DataError(
                f"{path}: {len(wrong)} of {len(ids)} images {fact} ({first_names(wrong)}), expected one row for each "
                f"{id_column}; its first are {first_names(list(groups_of), 2) or 'none'}. Correct the table."
            )
    return {id: group for id, (group,) in found.items() if group}
