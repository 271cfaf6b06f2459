"""What images and their masks are called: the only place with these rules.

The id of an image is its path below the folder of its split, with forward slashes and without extension; every table,
list and mask goes by it. A mask is called like its image, or like its image with `_segmentation` behind it.

Ids are text that every table and every disk takes, whatever the disk holds: in Unicode's composed form (NFC), as macOS
writes the same names decomposed, and with bytes that are no UTF-8, as in names from old archives of Windows, written
as `%E9`, and without line breaks. Files keep their names; only what is made of them is called by the id.
"""

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path, PurePath, PurePosixPath

from lesionseg.data.sources import list_files
from lesionseg.errors import DataError, first_names

# What every build of OpenCV reads; .jfif and .jpe are JPEG, .dib is BMP. All tools take these and no others.
PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".jp2"}
    | {".pbm", ".pgm", ".pnm", ".ppm"}
)
# Pictures that people have and OpenCV does not read, or not everywhere.
FOREIGN_SUFFIXES = frozenset(
    {".heic", ".heif", ".hif", ".avif", ".gif", ".jxl", ".psd", ".svg", ".pdf", ".dcm", ".dicom", ".nii"}
    | {".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".npy", ".npz"}
)
# What others call the usual suffixes.
_USUAL = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".dib": ".bmp"}
LONGEST_NAME = 255  # bytes, of every usual file system
MASK_ENDING = "_segmentation"
# As the converter names masks, and as the 2018 and the 2016 and 2017 releases do.
MASK_SUFFIXES = (".png", f"{MASK_ENDING}.png", "_Segmentation.png")
# What prediction writes beside masks, and the releases of 2017 beside images.
OVERLAY, HEATMAP = "_overlay.jpg", "_heatmap.jpg"
PROBABILITY, INSTANCES, SUPERPIXELS = _NO_MASKS = ("_probability.png", "_instances.png", "_superpixels.png")
_NO_PHOTOGRAPHS = tuple({end.lower() for end in (*MASK_SUFFIXES, OVERLAY, HEATMAP, *_NO_MASKS)} - {".png"})
# What folders of masks are called, `labelsTr` and `ISIC2018_Task1_Training_GroundTruth` too, once `unlabelled`,
# `no_masks` and the like are taken out of the name; `labelled`, `masked` and `label_1`, a class, are photographs.
_MASK_FOLDER = re.compile(
    r"mask(?!ed)|label(?!l?ed|s?[ _-]?[0-9])|segment(?!ed)|ground[ _-]?truth|annotation|(?<![a-z])gt$|^gt[ _-]?mask"
)
_WITHOUT = re.compile(r"(?:un|non?|without)[ _-]?(?:mask|label|segment|annotat)[a-z]*")
CONVERT_HINT = "Run tools/convert_isic.py, or set data_root (--cfg-options data_root=DIR)."


def is_picture(name: str | PurePath) -> bool:
    """Whether a file of that name may lie in a data set folder as an image or a mask."""
    return PurePath(name).suffix.lower() in PICTURE_SUFFIXES


def is_photograph(name: str | PurePath) -> bool:
    """Whether a file is called like an image, and not like a mask or what prediction writes.

    Args:
        name: its path below the folder that is searched; a part that begins with a dot hides it, and what lies in
            folders of masks is none, see `is_mask_folder`.
    """
    path = PurePath(name)
    elsewhere = any(part.startswith(".") for part in path.parts) or any(map(is_mask_folder, path.parts[:-1]))
    return is_picture(path) and not elsewhere and not path.name.lower().endswith(_NO_PHOTOGRAPHS)


# Thousands of files lie in a few folders.
@cache
def is_mask_folder(name: str) -> bool:
    """Whether a folder is called as those that masks lie in.

    Example:
        >>> is_mask_folder("ISIC2018_Task1_Training_GroundTruth"), is_mask_folder("unlabelled")
        (True, False)
    """
    return _MASK_FOLDER.search(_WITHOUT.sub("", name.lower())) is not None


def is_foreign(name: str | PurePath) -> bool:
    """Whether a file of that name is a picture of a format that has to be converted by other programs first."""
    return PurePath(name).suffix.lower() in FOREIGN_SUFFIXES


def usual_suffix(name: str | PurePath) -> str:
    """The suffix that a copy of a picture gets.

    Example:
        >>> usual_suffix("a.JPEG")
        '.jpg'
    """
    suffix = PurePath(name).suffix.lower()
    return _USUAL.get(suffix, suffix)


def plain(name: str) -> str:
    """A name as text that every table and disk takes: in NFC; bytes that are no UTF-8 as `%E9`, line breaks as `%0A`.

    Example:
        >>> plain("lésion"), plain("l\\udce9sion")
        ('lésion', 'l%E9sion')
    """
    if name.isascii() and name.isprintable():
        return name
    # Whatever may end a line of a list.
    name = re.sub("[\x01-\x1f\x7f-\x9f\u2028\u2029]", lambda sign: f"%{ord(sign[0]):02X}", name)
    # Python stands a lone surrogate in for each such byte.
    text = re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", name)
    return unicodedata.normalize("NFC", re.sub("[\ud800-\udfff]", "\ufffd", text))


def is_folder_name(name: object) -> bool:
    """Whether something is a name that a single folder may have, such as that of a finding."""
    return isinstance(name, str) and name == plain(name).strip(" .") != "" and not re.search(r"[/\\\0-\x1f]", name)


def is_too_long(path: str | PurePath) -> bool:
    """Whether a part of a path is longer than a file's name may be."""
    return any(len(os.fsencode(part)) > LONGEST_NAME for part in PurePath(path).parts)


def is_inside(path: str | PurePath) -> bool:
    """Whether a path leads to something below the folder that it starts from.

    Example:
        >>> is_inside("clinic/a"), is_inside("../a"), is_inside("/a"), is_inside(".")
        (True, False, False, False)
    """
    path = PurePosixPath(path)
    return not path.is_absolute() and ".." not in path.parts and path.parts != ()


def left_out(names: Iterable[str], what: str) -> list[str]:
    """Say which files are not used, those apart that another program could make pictures of.

    Args:
        names: of the files.
        what: they are, `no picture`.

    Returns:
        A line each, without the folder.
    """
    names = [plain(name) for name in names]
    foreign, others = [name for name in names if is_foreign(name)], [name for name in names if not is_foreign(name)]
    notes = [f"left out {len(others)} files that are {what} ({first_names(others)})"] if others else []
    if foreign:
        notes.append(
            f"left out {len(foreign)} pictures of formats that are not read here ({first_names(foreign)}): "
            "convert them to JPEG or PNG to use them"
        )
    return notes


def image_id(name: str | PurePath) -> str:
    """The id of an image by its path below the folder of its split.

    Example:
        >>> image_id("clinic/ISIC_0000000.jpg")
        'clinic/ISIC_0000000'
    """
    return plain(PurePath(name).with_suffix("").as_posix())


def listed_id(name: str) -> str:
    """The id that a list or table means, which may have blanks around it and the extension of the image's file."""
    name = name.strip().replace("\\", "/")
    return image_id(name) if is_picture(name) else plain(name)


def known_id(name: str, ids: Collection[str]) -> str:
    """The one of the ids that a list or table means: as it is written there, or else as `listed_id` has it."""
    return name if name in ids else listed_id(name)


def find_listed(listed: Iterable[str], ids: Iterable[str]) -> dict[str, list[str]]:
    """Find what a table calls images: each by its id, or else by its name without folders, in the table or in the id.

    Args:
        listed: the names in the table, as from `listed_id`.
        ids: of the images.

    Returns:
        id -> its names in the table: none, one, or several where they have folders and the id has not.

    Example:
        >>> find_listed(["a/1", "2"], ["a/1", "b/1", "b/2"])
        {'a/1': ['a/1'], 'b/1': [], 'b/2': ['2']}
    """
    known = dict.fromkeys(listed)
    by_name: dict[str, list[str]] = {}
    for name in known:
        by_name.setdefault(PurePosixPath(name).name, []).append(name)

    def names(id: str) -> list[str]:
        own = next((name for name in (id, PurePosixPath(id).name) if name in known), None)
        return by_name.get(id, []) if own is None else [own]

    return {id: names(id) for id in ids}


def mask_file(id: str) -> str:
    """The name of a predicted mask, as a challenge wants it.

    Example:
        >>> mask_file("ISIC_0000000")
        'ISIC_0000000_segmentation.png'
    """
    return f"{id}{MASK_ENDING}.png"


def with_finding(id: str, finding: str) -> str:
    """What a message calls a mask.

    Example:
        >>> with_finding("0001", "acne"), with_finding("0001", "")
        ('0001 (acne)', '0001')
    """
    return f"{id} ({finding})" if finding else id


def without_ending(id: str, ending: str = MASK_ENDING) -> str | None:
    """The id of the image that a mask of this id belongs to; None where it does not end so, in whatever capitals."""
    return id[: -len(ending)] if ending and id.lower().endswith(ending.lower()) else None


def mask_id(name: str) -> str | None:
    """The id of the image that a mask in a data set folder belongs to; None where no mask there is called so."""
    fitting = [suffix for suffix in MASK_SUFFIXES if name.endswith(suffix)]
    return plain(name.removesuffix(max(fitting, key=len))) if fitting else None


def find_masks(root: Path, image_ids: Collection[str], suffixes: Sequence[str] = MASK_SUFFIXES) -> dict[str, Path]:
    """Find the one mask of every image.

    Args:
        root: the folder of the masks; sub-folders are part of an id.
        image_ids: ids of the images.
        suffixes: what may follow an id in the name of its mask.

    Returns:
        id -> mask, in the order of `image_ids`.

    Raises:
        DataError: there is no such folder, or an image has no mask or two.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected the masks. {CONVERT_HINT}")
    found = existing_masks(root, image_ids, suffixes)
    if missing := [id for id in image_ids if id not in found]:
        raise DataError(
            f"{root}: {len(missing)} of {len(image_ids)} images have no mask ({first_names(missing)}), "
            f"expected <id>{' or <id>'.join(suffixes)}. Add the masks or take the images away."
        )
    return found


def find_finding_masks(
    root: Path, image_ids: Collection[str], findings: Sequence[str], suffixes: Sequence[str] = MASK_SUFFIXES
) -> dict[str, dict[str, Path]]:
    """Find the masks of every image where each finding has a folder of its own, `<finding>/<id>.png`.

    Args:
        root: the folder of those folders.
        image_ids: ids of the images.
        findings: names of the folders.
        suffixes: what may follow an id in the name of its mask.

    Returns:
        id -> finding -> mask, in the order of `image_ids` and of `findings`. A finding that an image has no file of
        was not looked for in it.

    Raises:
        DataError: there is no such folder, or an image has no mask at all or two of a finding.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected the masks. {CONVERT_HINT}")
    of_finding = {finding: existing_masks(root / finding, image_ids, suffixes) for finding in findings}
    found = {id: {finding: masks[id] for finding, masks in of_finding.items() if id in masks} for id in image_ids}
    if missing := [id for id, masks in found.items() if not masks]:
        raise DataError(
            f"{root}: {len(missing)} of {len(found)} images have no mask of any finding ({first_names(missing)}), "
            f"expected {findings[0]}/<id>.png or that of another. Add the masks, black where there is nothing, or take "
            "the images away."
        )
    return found


def existing_masks(root: Path, image_ids: Collection[str], suffixes: Sequence[str] = MASK_SUFFIXES) -> dict[str, Path]:
    """Find the masks of those images that have one; see `find_masks`.

    Returns:
        id -> mask, in the order of `image_ids`; empty where there is no such folder.

    Raises:
        DataError: an image has two masks.
    """
    found = list_masks(root, image_ids, suffixes)
    if twice := [id for id, masks in found.items() if len(masks) > 1]:
        raise DataError(
            f"{root}: {len(twice)} images have two masks ({first_names(twice)}), expected one. Keep one of them."
        )
    return {id: masks[0] for id, masks in found.items() if masks}


def list_masks(root: Path, image_ids: Collection[str], suffixes: Sequence[str]) -> dict[str, list[Path]]:
    """List for every image what is called like a mask of it."""
    files = {plain(source.name): root / source.name for source in list_files(root)} if root.is_dir() else {}
    return {id: [files[id + suffix] for suffix in suffixes if id + suffix in files] for id in image_ids}


def all_masks(root: Path, suffixes: Sequence[str] = ()) -> tuple[dict[str, Path], list[str]]:
    """Find whatever masks a folder holds.

    Args:
        root: the folder; sub-folders are part of an id.
        suffixes: what may follow an id in the names of its masks: `_mask`, with any picture's extension behind it, or
            with its own, as in `_mask.bmp`. Where files are called so, no others are masks; where none is, as
            without suffixes, they are called as in a data set folder.

    Returns:
        id -> mask, sorted by id; and what else lies there, see `left_out`.

    Raises:
        DataError: there is no such folder, it has no masks, or two with one id.
        OSError: a folder cannot be read.
    """
    if root.is_file():
        raise DataError(f"{root}: a file, expected a folder of masks. Extract it if it is an archive.")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected a folder of masks. Check the path.")
    names = [name for source in list_files(root) if not (name := source.name).startswith(".") and "/." not in name]
    named = [(id, name) for name in names if (id := _suffixed_id(name, suffixes))]
    if not named:
        masks = [name for name in names if not name.endswith(_NO_MASKS)]
        named = [(id, name) for name in masks if (id := mask_id(name))]
    if not named:
        ending = " or ".join(f"<id>{suffix}" for suffix in (*suffixes, *MASK_SUFFIXES[:2]))
        there = (
            f"{len(names)} files ({first_names(list(map(plain, names)))}), none of them a mask" if names else "empty"
        )
        raise DataError(
            f"{root}: {there}, expected {ending}. Say what follows the ids in their names, such as --suffix _mask or "
            "--suffix .bmp."
        )
    found: dict[str, list[str]] = {}
    for id, name in named:
        found.setdefault(id, []).append(name)
    if twice := [f"{id} as {' and '.join(map(plain, masks))}" for id, masks in found.items() if len(masks) > 1]:
        raise DataError(
            f"{root}: {len(twice)} of {len(found)} ids have two masks ({first_names(twice)}), expected one. Keep one "
            "of them, or choose by --suffix, such as --suffix _mask."
        )
    others = sorted({*names} - {name for _, name in named})
    notes = [f"{root}: {note}" for note in left_out(others, "no masks")]
    return {id: root / found[id][0] for id in sorted(found)}, notes


def _suffixed_id(name: str, suffixes: Sequence[str]) -> str | None:
    """The id in the name of a mask that ends in one of the suffixes, in whatever capitals."""
    for suffix in suffixes:
        whole = is_picture(f"id{suffix}")
        if (whole or is_picture(name)) and (
            id := without_ending(plain(name) if whole else image_id(name), plain(suffix))
        ):
            return id
    return None
