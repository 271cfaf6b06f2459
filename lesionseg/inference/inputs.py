"""What a user asks to predict -> image files with ids, settled before anything runs."""

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lesionseg.data.names import (
    PICTURE_SUFFIXES,
    image_id,
    is_foreign,
    is_photograph,
    is_picture,
    left_out,
    mask_file,
    plain,
)
from lesionseg.data.sources import list_files
from lesionseg.errors import DataError, first_names
from lesionseg.files import folder_around, real_path

MASK = mask_file("")


@dataclass(frozen=True)
class Input:
    """An image to predict.

    Attributes:
        id: what its outputs begin with: its path below the folder that the user gave, without suffix; a single
            file's name.
        path: where it lies.
    """

    id: str
    path: Path


@dataclass(frozen=True)
class Inputs:
    """What was asked for.

    Attributes:
        images: each file once, in the order asked for; those of a folder by name.
        folders: that were searched.
        notes: what was left out, a line each.
    """

    images: list[Input]
    folders: list[Path]
    notes: list[str]

    def check_apart(self, out: Path, flag: str = "--out") -> None:
        """Find out whether pictures may be written into the folder that a flag names.

        Raises:
            DataError: it is a file, or the next run would take what is in it for images.
        """
        if out.exists() and not out.is_dir():
            raise DataError(f"{out}: a file, expected a folder to write to. Choose another {flag}.")
        if around := folder_around(out, self.folders):
            raise DataError(
                f"{out}: lies in {around}, which is searched for images, expected a folder apart. Choose "
                f"another {flag}."
            )

    def among(self, paths: Iterable[Path]) -> list[str]:
        """Those of some paths that are the images themselves, so that writing there would replace them."""
        images = {real_path(image.path.parent) / image.path.name for image in self.images}
        return [str(path) for path in paths if real_path(path.parent) / path.name in images]


def find_inputs(names: Sequence[str]) -> Inputs:
    """Find the images that files, folders and patterns mean.

    A folder is searched with all below it for files that are called like images; masks, superpixels and outputs of
    this tool are left out by their names, or those of their folders. A pattern, such as `photos/*/*.jpg`,
    `photos/**/*.png` or `photos/*/left`, stands for files and folders alike; ids are then paths below its last folder
    without a wildcard. A file that is named is taken, whatever it is called.

    Raises:
        DataError: all that do not exist or have no images, or two images with one id.
        OSError: a folder cannot be read.
    """
    found: dict[Path, Input] = {}
    twice: dict[Path, str] = {}
    folders, notes, faults = [], [], []
    for name in names:
        path = Path(name)
        if path.exists():
            matches, base = [path], path
        elif glob.has_magic(name):
            base = _fixed_part(path)
            # What is there by that name is meant, also where it looks like a pattern.
            pattern = os.path.join(glob.escape(str(base)), *path.relative_to(base).parts)
            matches = sorted(map(Path, glob.iglob(pattern, recursive=True)))
        else:
            faults.append(f"{name}: no such file or folder, expected images. Check the path.")
            continue
        if path.exists() and not path.is_dir() and not path.is_file():
            advice = "Copy what comes out of it into a file, and name that."
            faults.append(f"{name}: no regular file, expected an image. {advice}")
            continue
        if path.exists() and not path.is_dir():
            images, others = [Input(image_id(path.name), path)], list[str]()
        else:
            images, others = _search(matches, base)
        folders += [match for match in matches if match.is_dir()]
        if images and others:
            notes += [f"{name}: {note}" for note in left_out(others, "masks or no images")]
        if not images:
            foreign = [other for other in others if is_foreign(other)]
            there = f"only {len(others)} masks or other files ({first_names(others)})" if others else "no images in it"
            kinds = ", ".join(sorted(suffix[1:] for suffix in PICTURE_SUFFIXES))
            step = "Check the path."
            if foreign:
                step = f"Convert {first_names(foreign)} to JPEG or PNG."
            elif any(map(is_picture, others)):
                step = "Name the files themselves, or the folder that they lie in, where they are photographs."
            faults.append(f"{name}: {there}, expected files such as <id>.jpg ({kinds}). {step}")
        for image in images:
            first = found.setdefault(real_path(image.path), image)
            if first.id != image.id:
                twice[image.path] = f"{image.path} is {first.path}"
    faults += _clashes(list(found.values()))
    if faults:
        raise DataError(*faults)
    if twice:
        notes.append(f"left out {len(twice)} other names of the same files ({first_names(list(twice.values()))})")
    return Inputs(list(found.values()), folders, notes)


def _search(matches: Sequence[Path], base: Path) -> tuple[list[Input], list[str]]:
    """Take the images among files and in folders, with ids below `base`, and the names of the other files."""
    images: list[Input] = []
    others: dict[Path, str] = {}
    for match in matches:
        files = [match / source.name for source in list_files(match)] if match.is_dir() else [match]
        for path in files:
            name = path.relative_to(base)
            if any(part.startswith(".") for part in name.parts):
                continue
            # A link that leads nowhere, a pipe or a device is told when it is read.
            if is_photograph(name):
                images.append(Input(image_id(name), path))
            else:
                others[path] = plain(name.as_posix())
    return images, list(others.values())


def _fixed_part(pattern: Path) -> Path:
    """The last folder of a pattern before its first wildcard."""
    return next(
        parent
        for parent in pattern.parents
        if not glob.has_magic(str(parent)) or (parent.is_dir() and parent.name != "**")
    )


def _clashes(images: Sequence[Input]) -> list[str]:
    first: dict[str, Path] = {}
    # On file systems that do not tell capitals from small letters, their outputs would be one file.
    twice = [
        (first[image.id.lower()], image.path)
        for image in images
        if first.setdefault(image.id.lower(), image.path) != image.path
    ]
    if not twice:
        return []
    side_by_side = all(one.parent == other.parent for one, other in twice)
    step = (
        "Rename one of each, or name the files that are meant."
        if side_by_side
        else "Give the folder that holds all, whose sub-folders become part of the ids, or run twice."
    )
    names = first_names([f"{one} and {other}" for one, other in twice], 2)
    return [f"{names}: {len(twice)} images would have the same outputs as another, expected one image an id. {step}"]
