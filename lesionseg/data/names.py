"""What images and their masks are called: the only place with these rules.

The id of an image is its path below the folder of its split, with forward slashes and without extension; every table,
list and mask goes by it. A mask is called like its image, or like its image with `_segmentation` behind it.
"""

from collections.abc import Collection, Sequence
from pathlib import Path, PurePath

from lesionseg.data.sources import list_files
from lesionseg.errors import DataError, first_names

# What releases hold, and what a data set folder may.
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
# Of images to predict: whatever every build of OpenCV reads.
READABLE_SUFFIXES = PICTURE_SUFFIXES | {".webp", ".jpe", ".dib", ".jp2", ".pbm", ".pgm", ".pnm", ".ppm"}
MASK_ENDING = "_segmentation"
# As the converter names masks, and as the 2018 and the 2016 and 2017 releases do.
MASK_SUFFIXES = (".png", f"{MASK_ENDING}.png", "_Segmentation.png")
CONVERT_HINT = "Run tools/convert_isic.py, or set data_root (--cfg-options data_root=DIR)."


def is_picture(name: str | PurePath) -> bool:
    """Whether a file of that name may lie in a data set folder as an image or a mask."""
    return PurePath(name).suffix.lower() in PICTURE_SUFFIXES


def image_id(name: str | PurePath) -> str:
    """The id of an image by its path below the folder of its split.

    Example:
        >>> image_id("clinic/ISIC_0000000.jpg")
        'clinic/ISIC_0000000'
    """
    return PurePath(name).with_suffix("").as_posix()


def listed_id(name: str) -> str:
    """The id that a list or table means, which may have the extension of the image's file."""
    return image_id(name) if is_picture(name) else name


def mask_file(id: str) -> str:
    """The name of a predicted mask, as a challenge wants it.

    Example:
        >>> mask_file("ISIC_0000000")
        'ISIC_0000000_segmentation.png'
    """
    return f"{id}{MASK_ENDING}.png"


def without_ending(id: str, ending: str = MASK_ENDING) -> str | None:
    """The id of the image that a mask of this id belongs to; None where it does not end so, in whatever capitals."""
    return id[: -len(ending)] if ending and id.lower().endswith(ending.lower()) else None


def mask_id(name: str) -> str | None:
    """The id of the image that a mask in a data set folder belongs to; None where no mask there is called so."""
    fitting = [suffix for suffix in MASK_SUFFIXES if name.endswith(suffix)]
    return name.removesuffix(max(fitting, key=len)) if fitting else None


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
    files = {source.name: root / source.name for source in list_files(root)}
    found = {id: [files[id + suffix] for suffix in suffixes if id + suffix in files] for id in image_ids}
    if missing := [id for id, masks in found.items() if not masks]:
        raise DataError(
            f"{root}: {len(missing)} of {len(found)} images have no mask ({first_names(missing)}), "
            f"expected <id>{' or <id>'.join(suffixes)}. Add the masks or take the images away."
        )
    if twice := [id for id, masks in found.items() if len(masks) > 1]:
        raise DataError(
            f"{root}: {len(twice)} images have two masks ({first_names(twice)}), expected one. Keep one of them."
        )
    return {id: masks[0] for id, masks in found.items()}
