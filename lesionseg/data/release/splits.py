"""Random splits that are the same on every machine, and keep groups of images together."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path, PurePosixPath

from lesionseg.data.lists import read_table
from lesionseg.data.names import find_listed, listed_id
from lesionseg.data.release.listing import SPLITS, Listing, Pair
from lesionseg.errors import DataError, first_names
from lesionseg.files import real_path

_ID_COLUMNS = ("image_id", "isic_id", "image_name", "image", "id")
GROUP_COLUMNS = ("patient_id", "lesion_id")
# As `tools/audit.py` calls them. Other tables may mean something else by the first.
_OTHER_GROUP_COLUMN = "group"
_PATH_COLUMN = "path"


def add_groups(listing: Listing, path: Path, column: str | None = None) -> None:
    """Give the pairs of a listing the groups of a table; see `read_groups`.

    Raises:
        DataError: the table is not fit.
        OSError: it cannot be read.
    """
    ids = list(dict.fromkeys(pair.id for pair in listing.pairs))
    groups = read_groups(path, ids, column, {pair.image.path: pair.id for pair in listing.pairs if pair.image.path})
    if len(groups) < len(ids):
        listing.notes.append(f"{path}: {len(ids) - len(groups)} images have an empty group, each counts as one")
    listing.set_groups(groups)


def note_shared_groups(listing: Listing) -> None:
    """Note which groups have images in several splits, where a test sees patients that were trained on."""
    splits = defaultdict(set)
    for pair in listing.pairs:
        if pair.group:
            splits[pair.group].add(pair.split)
    if shared := sorted(group for group, found in splits.items() if len(found) > 1):
        listing.notes.append(
            f"{listing.roots[0]}: {len(shared)} of {len(splits)} groups have images in several splits "
            f"({first_names(shared)})"
        )


def shuffled_groups(ids: Iterable[str], groups: Mapping[str, str], seed: int = 0) -> list[list[str]]:
    """Put groups of images into a random order.

    A hash of seed and group decides, so neither the order of files nor the version of Python matters.

    Args:
        ids: of the images; one that occurs again counts once.
        groups: id -> group, such as a patient; an image without one is on its own.
        seed: another seed gives another order.

    Returns:
        the ids, a list a group.
    """
    members = defaultdict(list)
    for id in dict.fromkeys(ids):
        members[("group", groups[id]) if id in groups else ("image", id)].append(id)
    order = sorted(members, key=lambda group: hashlib.sha256(repr((seed, *group)).encode()).digest())
    return [members[group] for group in order]


def random_splits(
    pairs: Sequence[Pair], fractions: Mapping[str, Fraction], seed: int = 0, option: str = "--split"
) -> list[Pair]:
    """Assign pairs to splits at random, whole groups at a time.

    Each group, in the order of `shuffled_groups`, goes to the split that lacks most images.

    Args:
        pairs: all images; their own splits do not matter.
        fractions: split -> its share of the images; they sum to 1.
        seed: another seed gives another split.
        option: where the fractions come from, for the message.

    Returns:
        The pairs with their new splits, in the order of split and id.

    Raises:
        DataError: a split would be empty.
    """
    # An image may have a mask for each of several findings.
    members = defaultdict(list)
    for pair in pairs:
        members[pair.id].append(pair)
    images, groups = len(members), {pair.id: pair.group for pair in pairs if pair.group}
    order = shuffled_groups(members, groups, seed)
    splits: dict[str, list[Pair]] = {split: [] for split in fractions}
    counts = dict.fromkeys(fractions, 0)
    for ids in order:
        # At a tie the smaller split comes first, so that two images at 3:1 do not both go to training.
        lack = {split: (share * images - counts[split], -counts[split]) for split, share in fractions.items()}
        split = max(lack, key=lack.__getitem__)
        splits[split] += [replace(pair, split=split) for id in ids for pair in members[id]]
        counts[split] += len(ids)
    empty = [split for split, assigned in splits.items() if not assigned]
    if empty:
        step = "Choose other fractions." if len(order) >= len(splits) else "Add images of other groups."
        raise DataError(
            f"{option}: {images} images in {len(order)} groups leave {' and '.join(empty)} empty, "
            f"expected images in every split. {step}"
        )
    return [pair for assigned in splits.values() for pair in sorted(assigned, key=lambda pair: pair.id)]


def with_validation(pairs: Sequence[Pair], share: Fraction, seed: int = 0) -> list[Pair]:
    """Move a random share of the training images into the validation, whole groups at a time.

    Args:
        pairs: all images.
        share: of the training images, between 0 and 1.
        seed: another seed moves others.

    Returns:
        The pairs in the order of split and id.

    Raises:
        DataError: there are validation images already, or one of both splits would be empty.
    """
    training, validation, _ = SPLITS
    if own := {pair.id for pair in pairs if pair.split == validation}:
        raise DataError(
            f"--validation: there are {len(own)} validation images already ({first_names(sorted(own))}), expected "
            "none. Leave it out, or let --splits name the splits that shall stay."
        )
    of_training = [pair for pair in pairs if pair.split == training]
    made = random_splits(of_training, {training: 1 - share, validation: share}, seed, "--validation")
    return made + [pair for pair in pairs if pair.split != training]


def read_groups(
    path: Path, ids: Sequence[str], column: str | None = None, files: Mapping[Path, str] | None = None
) -> dict[str, str]:
    """Read which images show one lesion or come from one patient.

    Args:
        path: a table with a header and a row for each image, such as HAM10000_metadata.csv; see
            `lesionseg.data.lists.read_table`. Images are named by their id, with or without its sub-folders, or
            others, and the extension of the file; or by their path in a column `path`, or what ends it.
        ids: the images that need a group.
        column: the header of the groups; by default patient_id or lesion_id, whichever is there, or else group.
        files: of images -> their ids; a row whose column `path` leads to one is of that image, whatever its id.

    Returns:
        id -> group; an image whose cell is empty is left out.

    Raises:
        DataError: no such columns, or images that are missing or have two groups.
        OSError: the file cannot be read.
    """
    wanted = [column] if column else GROUP_COLUMNS
    header, rows = read_table(path, [*_ID_COLUMNS, *wanted, _OTHER_GROUP_COLUMN])
    there = {name.lower(): name for name in reversed(header)}
    id_column = next((there[name] for name in _ID_COLUMNS if name in there), None)
    columns = [there[name.lower()] for name in wanted if name.lower() in there]
    if not column and not columns and _OTHER_GROUP_COLUMN in there:
        columns = [there[_OTHER_GROUP_COLUMN]]
    if id_column is None or len(columns) != 1:
        step = "Choose the column of the groups with --group-column."
        if id_column is None:
            step = f"Call the column of the images {_ID_COLUMNS[0]}."
        raise DataError(
            f"{path}: the columns are {', '.join(filter(None, header)) or 'none'}, expected one of "
            f"{', '.join(_ID_COLUMNS)} and {column or ' or '.join(GROUP_COLUMNS)}. {step}"
        )
    groups_of = defaultdict(set)
    for row in rows:
        groups_of[listed_id(row[id_column])].add(row[columns[0]])
    # An id with other folders than the table has would else be found by its bare name, which others may have, too.
    lacking = {id for id in ids if "/" in id} - groups_of.keys()
    own = {real_path(file): id for file, id in (files or {}).items()}
    by_file = defaultdict(set)
    for row in rows if _PATH_COLUMN in there else ():
        if id := own.get(real_path(row[there[_PATH_COLUMN]])):
            by_file[id].add(row[columns[0]])
        for end in lacking.intersection(_ends(listed_id(row[there[_PATH_COLUMN]]))):
            groups_of[end].add(row[columns[0]])
    found = {
        id: by_file.get(id) or {group for name in names for group in groups_of[name]}
        for id, names in find_listed(groups_of, ids).items()
    }
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


def _ends(path: str) -> list[str]:
    """What a path ends in: its name, that and the folder before it, and so on.

    Example:
        >>> _ends("a/b/c")
        ['a/b/c', 'b/c', 'c']
    """
    parts = PurePosixPath(path).parts
    return ["/".join(parts[start:]) for start in range(len(parts))]
