"""True masks and the masks to be scored against them, matched by their names alone: no picture is opened."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lesionseg.data.lists import read_table
from lesionseg.data.names import all_masks, plain
from lesionseg.errors import DataError, first_names


@dataclass(frozen=True)
class Truth:
    """True masks.

    Attributes:
        place: the folder or the table that they come from.
        masks: id -> file.
        images: id -> image, where a table names them.
        image_folder: where the images are by the layout of a data set folder.
        notes: what else lies in the folder, a line each.
    """

    place: Path
    masks: Mapping[str, Path]
    images: Mapping[str, Path] = field(default_factory=dict)
    image_folder: Path | None = None
    notes: Sequence[str] = ()


def open_truth(path: Path, suffixes: Sequence[str] = (), split: str | None = None) -> Truth:
    """List the true masks of a folder of masks, of an index.csv, or of a data set folder.

    Args:
        path: a CSV file is taken for a table like index.csv, with the columns id and mask, perhaps image and split,
            and paths from its own folder.
        suffixes: of a folder's masks, see `lesionseg.data.names.all_masks`.
        split: of a table or a data set folder; None for all of a table, and for the only one of a data set folder.

    Raises:
        DataError: there are none, or not of that split.
        OSError: the folder or the table cannot be read.
    """
    if path.suffix.lower() == ".csv" and path.is_file():
        return _open_table(path, split)
    annotations = path / "annotations"
    if not annotations.is_dir():
        if split is not None and path.is_dir():
            raise DataError(
                f"{path}: no folder annotations in it, expected a data set folder or its index.csv with --split. Leave "
                "--split out for a folder of masks."
            )
        masks, notes = all_masks(path, suffixes)
        return Truth(path, masks, notes=notes)
    splits = sorted(folder.name for folder in annotations.iterdir() if folder.is_dir())
    split = _choose_split(path, splits, split)
    images = path / "images" / split
    masks, notes = all_masks(annotations / split, suffixes)
    return Truth(annotations / split, masks, image_folder=images if images.is_dir() else None, notes=notes)


def open_systems(
    folders: Sequence[Path], suffixes: Sequence[str] = ()
) -> tuple[dict[Path, dict[str, Path]], list[str]]:
    """List the masks of several folders by id, and what else lies there; see `lesionseg.data.names.all_masks`.

    Raises:
        DataError: all folders that cannot be used.
        OSError: one cannot be read.
    """
    found: dict[Path, dict[str, Path]] = {}
    notes: list[str] = []
    faults: list[str] = []
    for folder in folders:
        try:
            found[folder], others = all_masks(folder, suffixes)
            notes += others
        except DataError as error:
            faults += error.args
    if faults:
        raise DataError(*faults)
    return found, notes


def match_ids(
    truth: Truth, systems: Mapping[Path, Collection[str]], common: bool = False
) -> tuple[list[str], list[str]]:
    """Find the images that are to be scored: each has a true mask and one of every system.

    Args:
        truth: the true masks.
        systems: folder -> ids of its masks.
        common: whether images that not all have are left out.

    Returns:
        Their ids, sorted, and which were left out, a line a folder.

    Raises:
        DataError: a system has not the very ids of the truth; with `common`, no id is everywhere.
    """
    left_out: list[str] = []
    faults: list[str] = []
    for folder, ids in systems.items():
        true, own = set(truth.masks), set(ids)
        facts = [
            f"{len(only)} {what} ({first_names(only)})"
            for only, what in (
                (sorted(true - own), f"of {len(true)} images have no mask"),
                (sorted(own - true), f"of {len(own)} masks are of no image in {truth.place}"),
            )
            if only
        ]
        if facts:
            step = "Complete them, correct the names, or score those that all have with --common."
            if not true & own:
                step = "Say what follows the ids in the names of masks with --suffix, such as --suffix _mask."
            fact = f"{folder}: {' and '.join(facts)}"
            left_out.append(f"{fact}; left out")
            faults.append(f"{fact}, expected one mask for each of the same images. {step}")
    shared = sorted(set(truth.masks).intersection(*systems.values()))
    if faults and not (common and shared):
        raise DataError(*faults)
    return shared, left_out


def _open_table(path: Path, split: str | None) -> Truth:
    table = read_table(path, ("id", "split", "image", "mask"))
    if missing := [name for name in ("id", "mask") if name not in table.header]:
        raise DataError(
            f"{path}: no column {' and '.join(missing)}, expected a table like the index.csv of a data set folder. "
            "Give that, or a folder of masks."
        )
    rows = table.rows
    if split is not None:
        _choose_split(path, sorted({row.get("split", "") for row in rows}), split)
        rows = [row for row in rows if row["split"] == split]
    if not rows:
        raise DataError(f"{path}: an empty table, expected a line a mask. Give that of a data set folder.")
    ids = [plain(row["id"]) for row in rows]
    if twice := [id for id, times in Counter(ids).items() if times > 1]:
        raise DataError(
            f"{path}: {len(twice)} ids occur twice ({first_names(twice)}), expected one line each. Keep one."
        )
    masks, images = (
        {id: path.parent / row[name] for id, row in zip(ids, rows, strict=True) if row.get(name)}
        for name in ("mask", "image")
    )
    for files, what in ((masks, "mask"), (images, "image")):
        absent = [id for id in ids if id not in files or not files[id].is_file()]
        if absent and files:
            raise DataError(
                f"{path}: the {what} of {len(absent)} of {len(ids)} ids is not there ({first_names(absent)}), expected "
                "the files that the table names. Complete the folder, or give one of masks alone."
            )
    return Truth(path, masks, images)


def _choose_split(path: Path, splits: Sequence[str], split: str | None) -> str:
    if split is None and len(splits) == 1:
        return splits[0]
    if split is not None and split in splits:
        return split
    fact = f"{len(splits)} splits" if split is None else f"no split {split}"
    raise DataError(f"{path}: {fact}, expected one of {first_names(splits) or 'some'}. Choose it with --split.")
