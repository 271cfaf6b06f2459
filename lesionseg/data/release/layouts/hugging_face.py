"""Data sets in the form of Hugging Face's library `datasets`: rows of an image and its labels, in splits.

A label is a PNG file of class indices, whose names stand in `id2label.json` beside the rows: {"0": "background", ...}.
Where that cannot be said in one picture, because findings overlap or not all were looked for in every image, each
finding has a column of its own, `label_<finding>`, with its index, and nothing where it was not looked for.
"""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lesionseg.cli import progress
from lesionseg.data.names import is_inside, is_picture, plain, with_finding
from lesionseg.data.release.listing import Found, Listing, Named
from lesionseg.data.release.splits import GROUP_COLUMNS
from lesionseg.data.sources import Source
from lesionseg.environment import keep_hugging_face_offline
from lesionseg.errors import DataError, first_names
from lesionseg.files import read_file

if TYPE_CHECKING:
    from datasets import Dataset

ID2LABEL = "id2label.json"
ID, IMAGE, LABEL, GROUP = "id", "image", "label", "group"
BACKGROUND = "background"
# What a mask shows where findings are not told apart.
LESION = "lesion"
# Our name of a split -> that of the library.
SPLITS = {"training": "train", "validation": "validation", "test": "test"}
_MOST_CLASSES = 255


def import_datasets() -> ModuleType:
    """Import the library so that it opens no connection.

    Raises:
        DataError: it is not installed.
    """
    keep_hugging_face_offline()
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"datasets: {error}, expected this library for Hugging Face's data sets. Install the extra hf: "
            "`uv sync`, or `pip install .[hf]`."
        ) from error
    # What fails is told in our own words.
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    return datasets


def label_column(finding: str) -> str:
    """The column of a finding that has one of its own."""
    return f"{LABEL}_{finding}"


def find_hugging_face(folder: Path, cache: Path, max_pixels: int | None = None) -> Listing:
    """List the pairs of a data set on disk, as `load_dataset` and `load_from_disk` read it: Parquet, Arrow or pictures.

    Rows without a column `id` go by the names of their images, and else by their numbers. Their groups are those of the
    column `group`, or else of the first of `GROUP_COLUMNS` that is there.

    Args:
        folder: where it lies.
        cache: an empty folder, which has to stay until the pairs were read.
        max_pixels: of a label; None for as many as OpenCV can.

    Raises:
        DataError: the library is not installed, or cannot read the folder; or columns, splits or names of classes are
            not as they should be.
        OSError: a file cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, expected a Hugging Face data set. Check the path.")
    findings = _read_classes(folder / ID2LABEL)
    splits = _load(folder, cache)
    listing = Listing([folder])
    rows = _Rows(folder, findings, max_pixels)
    for name, dataset in splits.items():
        split = next((ours for ours, theirs in SPLITS.items() if name in (ours, theirs)), None)
        if split is None:
            listing.faults.append(
                f"{folder}: a split {name}, expected {', '.join(SPLITS.values())}. Rename it, or take it away."
            )
            continue
        columns = _label_columns(folder, dataset, findings)
        images, masks = rows.add(split, dataset, columns)
        if rows.empty:
            listing.notes.append(f"{folder}: left out {rows.empty} rows of {name} without image and label")
        if wrong := [file.id for file in images if not (is_inside(file.id) and file.id.isprintable())]:
            listing.faults.append(
                f"{folder}: {len(wrong)} of {len(images)} ids of {name} are no names of files ({first_names(wrong)}), "
                "expected paths below a folder. Rename them."
            )
        listing.match(
            split,
            Named(f"{folder} ({name})", images),
            Named(f"{folder} ({name})", masks),
            expected=("one in its row", "one in its row"),
            advice="Complete the rows, or take them away.",
        )
    listing.set_groups(rows.groups)
    listing.check_one_split_an_id("Rename them.")
    return listing


def _read_classes(path: Path) -> dict[str, int]:
    """Read the index of every finding; that of a lesion alone has the name ""."""
    expected = f'expected {{"0": "{BACKGROUND}", "1": "acne"}} or the like'
    if not path.is_file():
        raise DataError(f"{path}: no such file, {expected}. Write it, with the names of the labels' values.")
    try:
        classes = {int(index): plain(str(name)) for index, name in json.loads(read_file(path)).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not a table of class names, {expected}. Correct it.") from error
    classes.pop(0, None)
    names = list(classes.values())
    if (
        not classes
        or not all(0 < index <= _MOST_CLASSES for index in classes)
        or len(set(names)) < len(names)
        or any("/" in name or not is_inside(name) for name in names)
    ):
        raise DataError(
            f"{path}: the classes {first_names(names) or 'none'}, expected different names of folders, at 1 to "
            f"{_MOST_CLASSES}. Correct them."
        )
    return {"": next(iter(classes))} if names == [LESION] else {name: index for index, name in classes.items()}


def _load(folder: Path, cache: Path) -> Mapping[str, "Dataset"]:
    datasets = import_datasets()
    on_disk = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        if on_disk:
            loaded = datasets.load_from_disk(str(folder))
        else:
            loaded = datasets.load_dataset(str(folder), cache_dir=str(cache))
    except Exception as error:
        # Of many kinds, its own and pyarrow's; the first is what happened.
        cause = error.__cause__ or error
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno):
            raise cause from None
        fact = " ".join(f"{type(cause).__name__}: {cause}".split())[:200]
        raise DataError(
            f"{folder}: not readable as a Hugging Face data set ({fact}), expected one that load_dataset or "
            "load_from_disk takes. Save it again."
        ) from error
    return loaded if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}


def _label_columns(folder: Path, dataset: "Dataset", findings: Mapping[str, int]) -> dict[str, list[str]]:
    """Column -> the findings in it."""
    own = {label_column(finding): [finding] for finding in findings if label_column(finding) in dataset.column_names}
    columns = own or ({LABEL: list(findings)} if LABEL in dataset.column_names else {})
    missing = [name for name in (IMAGE, *(columns or [LABEL])) if not _holds_pictures(dataset, name)]
    if missing:
        found = ", ".join(f"{name} ({_kind(feature)})" for name, feature in dataset.features.items())
        raise DataError(
            f"{folder}: the columns {found}, expected pictures in {IMAGE} and {LABEL}. Rename its columns, or cast "
            "them to Image."
        )
    return columns


def _holds_pictures(dataset: "Dataset", column: str) -> bool:
    return _kind(dataset.features.get(column)) == "Image"


def _kind(feature: object) -> str:
    return type(feature).__name__


class _Rows:
    """The files in the rows, as an archive holds them; read from several threads.

    Args:
        folder: of the data set.
        findings: finding -> its class index.
        max_pixels: of a label.
    """

    def __init__(self, folder: Path, findings: Mapping[str, int], max_pixels: int | None) -> None:
        self.folder = folder
        self.findings = findings
        self.max_pixels = max_pixels
        # By the name of a source: column, number of the row, and of a label the finding.
        self._places: dict[str, tuple[Dataset, int, str | None]] = {}
        self._lock = Lock()
        self.empty = 0
        self.groups: dict[str, str] = {}

    def add(self, split: str, dataset: "Dataset", columns: Mapping[str, list[str]]) -> tuple[list[Found], list[Found]]:
        """List the images and masks of a split; `empty` is how many of its rows have neither, `groups` by id grow."""
        from datasets import Image

        for name in (IMAGE, *columns):
            dataset = dataset.cast_column(name, Image(decode=False))
        apart = {name: dataset.select_columns([name]) for name in (IMAGE, *columns)}
        self.empty = 0
        group = next((name for name in (GROUP, *GROUP_COLUMNS) if name in dataset.column_names), None)
        images, masks = [], []
        for number, row in enumerate(progress(dataset, len(dataset), f"listing {split}")):
            self.empty += all(row[column] is None for column in apart)
            id = _row_id(row, split, number)
            # NaN stands for nothing, too, and is no patient that all these images would share.
            if group and row[group] is not None and row[group] == row[group]:
                self.groups[id] = plain(str(row[group]))
            if row[IMAGE] is not None:
                data = self._bytes_of(row[IMAGE], f"row {number} of {split}")
                name = f"{split}/{id}{_suffix(row[IMAGE], data)}"
                images.append(Found(id, self._source(name, len(data), apart[IMAGE], number)))
            for column, findings in columns.items():
                if row[column] is None:
                    continue
                size = len(row[column]["bytes"] or b"")
                for finding in findings:
                    name = with_finding(f"{split}/{id}", finding or LABEL)
                    masks.append(Found(id, self._source(name, size, apart[column], number, finding), finding))
        return images, masks

    def _source(self, name: str, size: int, column: "Dataset", number: int, finding: str | None = None) -> Source:
        self._places.setdefault(name, (column, number, finding))
        return Source(self.folder, name, size, self)

    def read(self, name: str) -> bytes:
        """Read an image as it is, or a label as the mask of its finding, a PNG of 0 and 255.

        Raises:
            DataError: a file is outside the data set, or a label holds other values than those of the classes.
        """
        # Not before it is called for: numpy and OpenCV are slow to load.
        from lesionseg.pixels.labels import decode_labels
        from lesionseg.pixels.masks import encode_mask

        column, number, finding = self._places[name]
        with self._lock:
            (cell,) = column[number].values()
        data = self._bytes_of(cell, name)
        if finding is None:
            return data
        labels = decode_labels(data, name, self.findings.values(), self.max_pixels)
        return encode_mask(labels == self.findings[finding])

    def _bytes_of(self, cell: Mapping[str, Any], name: str) -> bytes:
        if cell["bytes"] is not None:
            return bytes(cell["bytes"])
        path = Path(cell["path"] or "")
        # Rows that somebody else has made may name any file of this machine.
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise DataError(f"{name}: a picture outside the data set ({path}), expected it inside. Embed the pictures.")
        return read_file(path)


def _row_id(row: Mapping[str, Any], split: str, number: int) -> str:
    if row.get(ID) is not None:
        return plain(str(row[ID]))
    return plain(_path_of(row[IMAGE] or {}).stem) or f"{split}_{number:06}"


def _suffix(cell: Mapping[str, Any], data: bytes) -> str:
    from lesionseg.pixels.headers import suffix_of

    named = _path_of(cell)
    return suffix_of(data) or (named.suffix.lower() if is_picture(named) else ".png")


def _path_of(cell: Mapping[str, Any]) -> PurePosixPath:
    return PurePosixPath(str(cell.get("path") or "").replace("\\", "/"))
