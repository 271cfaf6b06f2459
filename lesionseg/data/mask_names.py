"""What masks in a data set folder are called; data sets and tools find them by this rule alone."""

from collections.abc import Collection, Sequence
from pathlib import Path

from lesionseg.data.sources import list_files
from lesionseg.errors import DataError, first_names

# As the converter names masks, and as the 2018 and the 2016 and 2017 releases do.
MASK_SUFFIXES = (".png", "_segmentation.png", "_Segmentation.png")
CONVERT_HINT = "Run tools/convert_isic.py, or set data_root (--cfg-options data_root=DIR)."


def mask_id(name: str) -> str | None:
    """The id of the image that a mask belongs to by its name; None where no mask is called so."""
    fitting = [suffix for suffix in MASK_SUFFIXES if name.endswith(suffix)]
    return name.removesuffix(max(fitting, key=len)) if fitting else None


def find_masks(root: Path, image_ids: Collection[str], suffixes: Sequence[str] = MASK_SUFFIXES) -> dict[str, Path]:
    """Find the one mask of every image.

    Args:
        root: the folder of the masks; sub-folders are part of an id.
        image_ids: paths of the images below theirs, without extension.
        suffixes: what may follow an id in the name of its mask.

    Returns:
        id -> mask, in the order of `image_ids`.

    Raises:
        DataError: there is no such folder, or an image has no mask or two.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected the masks. {CONVERT_HINT}")
    files = {source.name: source.path for source in list_files(root)}
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
