"""A data set folder on disk: its layout, its lists, and how it comes to be all at once.

images/{training,validation,test}/<id>.jpg         annotations/{training,validation,test}/<id>.png
                                                   or .../<finding>/<id>.png, where findings are told apart
splits/{training,validation,test}.txt              index.csv
"""

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path, PurePosixPath

from lesionseg.data.lists import read_table
from lesionseg.data.names import CONVERT_HINT, image_id, is_picture
from lesionseg.data.release.listing import SPLITS
from lesionseg.data.sources import list_files
from lesionseg.errors import DataError
from lesionseg.files import exchange, lock, real_path
from lesionseg.tables import csv_text

INDEX = "index.csv"
# Where `tools/audit.py` may put its table of groups, which then counts in the place of those of the index.
AUDIT, GROUPS = "audit", "groups.csv"


def no_split(root: str | PathLike) -> DataError:
    """What to say where a split has no folder of images.

    Args:
        root: that folder, `<data set>/images/<split>`.
    """
    root = Path(root)
    there = [split for split in SPLITS if (root.parent / split).is_dir()]
    if not there:
        return DataError(f"{root}: no such folder, expected the images. {CONVERT_HINT}")
    step = "Choose another split (tools/test.py --split), or convert data that has it (tools/convert_isic.py)."
    if root.name == SPLITS[1]:
        step = "Convert again with tools/convert_isic.py --validation 0.2, which takes them from training."
    return DataError(f"{root}: no such folder beside {' and '.join(there)}, expected images of this split. {step}")


@dataclass(frozen=True)
class Record:
    """A row of index.csv.

    Attributes:
        id: the name of image and mask without extension.
        split: training, validation or test.
        image, mask: paths from the data set folder.
        width, height: pixels of the released image, upright, also where the copy is smaller.
        lesion_share: lesion pixels / all pixels of the released mask, in [0, 1].
        components: 8-connected components of the released mask.
        finding: what the mask shows; "" where that is not told apart.
        group: what images have in common, such as a patient; "" where that is not known. Like `finding`, it has no
            column where it is empty in all rows.
    """

    id: str
    split: str
    image: str
    mask: str
    width: int
    height: int
    lesion_share: float
    components: int
    finding: str = ""
    group: str = ""


_HEADER = [field.name for field in fields(Record)]
_ALWAYS = _HEADER[: _HEADER.index("finding")]
_BEGINS = ",".join(_ALWAYS)


def mask_path(split: str, finding: str, id: str) -> str:
    """Where a mask lies in a data set folder."""
    return str(PurePosixPath("annotations", split, finding, f"{id}.png"))


def write_lists(folder: Path, records: Sequence[Record]) -> None:
    """Write index.csv and splits/*.txt, an id a line, in the order of the records."""
    header = [name for name in _HEADER if name in _ALWAYS or any(getattr(record, name) for record in records)]
    rows = ({name: value for name, value in asdict(record).items() if name in header} for record in records)
    (folder / INDEX).write_text(csv_text(header, rows, digits=6), encoding="utf-8")
    # In order, and each once, however many masks it has.
    ids: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        ids[record.split][record.id] = None
    (folder / "splits").mkdir()
    for split, names in ids.items():
        (folder / "splits" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def read_groups_of(folder: str | PathLike) -> dict[str, str]:
    """Read which images of a data set folder belong together.

    Returns:
        id -> group; an image without one is left out. As `tools/audit.py --out FOLDER/audit` has found it, or where
        that was not run, as index.csv has it.

    Raises:
        DataError: the file is no table.
        OSError: it cannot be read.
    """
    return _groups(_grouped_rows(folder))


def read_index_groups(folder: str | PathLike) -> dict[str, str]:
    """Read the groups of index.csv alone; see `read_groups_of`."""
    return _groups(_read_rows(Path(folder) / INDEX))


def find_seen(folder: str | PathLike, trained: str | PathLike | None = None) -> set[str] | None:
    """Find the images of a data set folder that have another one of their group among those that were trained on.

    Args:
        folder: which has the groups, see `read_groups_of`. They may be of images of several data sets; only those that
            were trained on count.
        trained: the data set folder whose training images were trained on; by default the same.

    Returns:
        their ids; None where that is not known: there is no audit, and no group in index.csv, or it has none of the
        images that were trained on.

    Raises:
        DataError: the file is no table.
        OSError: it, or a folder, cannot be read.
    """
    training, *_ = SPLITS
    trained = folder if trained is None else trained
    rows, ids = _grouped_rows(folder), _image_ids(trained, training)
    groups = _groups(rows)
    if ids.isdisjoint(row["id"] for row in rows) or not (groups or audit_of(folder)):
        return None
    in_training = Counter(groups[id] for id in ids if id in groups)
    seen = set()
    for split in SPLITS:
        # An image of training is one of its group itself.
        own = split == training and real_path(folder) == real_path(trained)
        seen |= {id for id in _image_ids(folder, split) if id in groups and in_training[groups[id]] > own}
    return seen


def audit_of(folder: str | PathLike) -> Path | None:
    """The folder of the audit of a data set folder; None where it has none."""
    audit = Path(folder, AUDIT)
    return audit if (audit / GROUPS).is_file() else None


def _image_ids(folder: str | PathLike, split: str) -> set[str]:
    place = Path(folder, "images", split)
    return {image_id(file.name) for file in list_files(place) if is_picture(file.name)} if place.is_dir() else set()


def _grouped_rows(folder: str | PathLike) -> list[dict[str, str]]:
    """The rows of the audit of a data set folder, or of its index.csv; none where there is neither."""
    audit = audit_of(folder)
    return _read_rows(audit / GROUPS if audit else Path(folder, INDEX))


def _read_rows(path: Path) -> list[dict[str, str]]:
    return [row for row in read_table(path, ("id", "group")).rows if row.get("id")] if path.is_file() else []


def _groups(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    return {row["id"]: row["group"] for row in rows if row.get("group")}


def check_apart(roots: Sequence[Path], out: Path) -> None:
    """Raise DataError where the output lies in the input or around it."""
    for root in roots:
        inside, outside = real_path(out), real_path(root)
        if inside.is_relative_to(outside) or outside.is_relative_to(inside):
            raise DataError(f"{out}: lies in {root} or around it, expected a folder apart. Choose another output.")


@contextmanager
def whole_folder(out: Path, overwrite: bool = False, holds: str = INDEX, begins: str = _BEGINS) -> Iterator[Path]:
    """Give an empty folder beside `out` that takes its place when the block ends without an error.

    What is at `out` stays until then. The folder beside it has a fixed name, so that the next run clears
    away what a killed one has left; a lock, which the system drops with the process, tells that from a
    run that is still going.

    Args:
        out: where the folder goes.
        overwrite: whether an earlier result may be replaced.
        holds, begins: the file by which that is known, and its first characters: others have files of that name, too.

    Raises:
        DataError: `out` may not be replaced, or another run is writing it.
        OSError: the folder cannot be made.
    """
    scratch = out.with_name(f".{out.name}.converting")
    # Whoever may write beside `out` could have put a link there, and have deleted what it leads to.
    if scratch.is_symlink() or (scratch.exists() and not scratch.is_dir()):
        raise DataError(f"{scratch}: a link or a file, expected nothing there or a folder of this tool. Remove it.")
    if (scratch / "lock").is_symlink():
        (scratch / "lock").unlink()
    with lock(scratch / "lock", out):
        fresh, old = scratch / "new", scratch / "old"
        try:
            _restore(old, out)
            _check_replaceable(out, overwrite, holds, begins)
            for left_over in (fresh, old):
                _remove(left_over)
            fresh.mkdir()
            yield fresh
            if not out.exists():
                os.replace(fresh, out)
            elif not exchange(fresh, out):
                os.replace(out, old)
                os.replace(fresh, out)
        finally:
            _restore(old, out)
            shutil.rmtree(scratch, ignore_errors=True)


def is_made(path: Path, begins: str) -> bool:
    """Whether a file is there that begins as a tool has written it, and not one of a user's that is called so."""
    return path.is_file() and path.read_bytes().startswith(begins.encode())


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _check_replaceable(out: Path, overwrite: bool, holds: str, begins: str) -> None:
    """Raise DataError where there is something at `out` that must stay.

    An empty folder may be replaced; an earlier result with `overwrite`; anything else never.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not is_made(out / holds, begins):
        raise DataError(
            f"{out}: exists and holds no {holds} of this tool, expected nothing there or an earlier result. "
            "Choose another folder; this one is not replaced even with --overwrite."
        )
    if not overwrite:
        raise DataError(f"{out}: exists, expected nothing there. Choose another folder or pass --overwrite.")


def _restore(old: Path, out: Path) -> None:
    """Put the earlier result back where a run ended between moving it away and putting the new one there."""
    if old.is_dir() and not old.is_symlink() and not out.exists():
        os.replace(old, out)
