"""The images of a data set, of whatever form, and their splits: by names alone."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lesionseg.data.names import image_id, is_photograph
from lesionseg.data.release.data_set_folder import read_index_groups
from lesionseg.data.release.listing import SPLITS, UNLABELLED
from lesionseg.data.release.told_splits import IMAGES, split_of, told_split
from lesionseg.data.sources import list_files
from lesionseg.errors import DataError, first_names

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")


@dataclass(frozen=True)
class Photograph:
    """An image of a data set.

    Attributes:
        id: its path below the data set without suffix and without the folder of its split; with that where two folders
            of one split have images of the same id, which then are not the same image.
        split: training, validation, test or unlabelled; "" where no folder tells it.
        dataset: the folder that was given.
        path: where it lies.
        searched: the folder that it was found in.
        group: what it was known to have in common with others, such as a patient; "" where that is not known.
    """

    id: str
    split: str
    dataset: Path
    path: Path
    searched: Path
    group: str = ""


def find_photographs(dataset: Path) -> list[Photograph]:
    """List the images of a data set folder, or of any folder with all below it, in the order of their paths.

    Of any folder, those called `ISIC2018_Task1-2_Training_Input`, `train`, `TrainImages` and the like tell the split of
    the images in them, and where none does, its own name that of all; files that are called like masks or predictions,
    or lie in folders that are called so, are no images.

    Raises:
        DataError: it is no folder, or has no images.
        OSError: a folder cannot be read.
    """
    if not dataset.is_dir():
        what = "a file" if dataset.exists() else "no such folder"
        raise DataError(f"{dataset}: {what}, expected a folder of images. Check the path.")
    folders = {split: dataset / "images" / split for split in (*SPLITS, UNLABELLED)}
    found: list[Photograph] = []
    others: list[str] = []
    if is_data_set := any(folder.is_dir() for folder in folders.values()):
        groups = read_index_groups(dataset)
        for split, folder in folders.items():
            for name in _names(folder, others) if folder.is_dir() else []:
                id = image_id(name)
                found.append(Photograph(id, split, dataset, folder / name, folder, groups.get(id, "")))
    else:
        told = {name: split_of(name) for name in _names(dataset, others)}
        own = "" if any(split for split, _ in told.values()) else _own_split(dataset)
        whole = _share_ids(told)
        for name, (split, short) in told.items():
            id = image_id(name if whole else short)
            found.append(Photograph(id, split or own, dataset, dataset / name, dataset))
    if not found:
        there = f"only {len(others)} masks or other files ({first_names(others)})" if others else "empty"
        where = f"{dataset / 'images'}" if is_data_set else f"{dataset}"
        step = "Check the path."
        if archives := [name for name in others if name.lower().endswith(_ARCHIVES)]:
            step = (
                f"Extract {first_names(archives)} first, or audit the data set folder that tools/convert_isic.py makes "
                "of the zip archives of a release."
            )
        raise DataError(f"{where}: {there}, expected images such as <id>.jpg. {step}")
    return found


def _names(folder: Path, others: list[str]) -> list[str]:
    """The images in a folder; whatever else lies there joins the others."""
    names = sorted(source.name for source in list_files(folder))
    others += [name for name in names if not is_photograph(name)]
    return [name for name in names if is_photograph(name)]


def _share_ids(told: Mapping[str, tuple[str, str]]) -> bool:
    """Whether two folders of one split have images that would have the same id: name -> split and path without it."""
    folders = defaultdict(set)
    for name, (split, short) in told.items():
        folders[split, image_id(short)].add(PurePosixPath(name).parent)
    return any(len(each) > 1 for each in folders.values())


def _own_split(folder: Path) -> str:
    """The split that a folder's own name tells, or that of the folder that it is `images` of."""
    path = Path(os.path.abspath(folder))
    for place in (path, *path.parents):
        split = told_split(place.name)
        if split or not re.fullmatch(IMAGES, place.name.lower()):
            return split
    return ""
