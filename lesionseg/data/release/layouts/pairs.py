"""Images and their masks: which belongs to which, in any two folders."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lesionseg.data.names import image_id, is_picture, plain, without_ending
from lesionseg.data.release.listing import Listing, Named
from lesionseg.data.sources import Source, list_files
from lesionseg.errors import DataError, first_names

_IMAGE_WORDS = ("image", "img", "input", "photo")
_MASK_WORDS = ("mask", "label", "segment", "groundtruth", "ground_truth", "annotation")


def find_pairs(raw: Path, images: str | None = None, masks: str | None = None, mask_suffix: str = "") -> Listing:
    """List the pairs of two folder trees, or of one tree that holds both.

    The id of an image is its path below the image folder without extension, and that of a mask its path
    below the mask folder without extension and `mask_suffix`. Where not one path agrees, because images
    and masks are sorted into different sub-folders, both go by their file names alone.

    Args:
        raw: the folder that relative names start from.
        images, masks: a folder, or a pattern such as `*/image` that stands for several; the ids then begin
            with the folders that the pattern's wildcards stand for, the last folder apart. The folder of
            the one may lie in that of the other, or be the same. Without a name, `raw` has to hold exactly
            one folder that is called like images, or masks.
        mask_suffix: what ends the file names of masks, `_lesion`; a mask without it is taken as it is.

    Raises:
        DataError: there are no such folders.
        OSError: a folder cannot be read.

    Example:
        >>> listing = find_pairs(Path("data/raw/mine"), "photos", "outlines", mask_suffix="_lesion")
        >>> [pair.id for pair in listing.pairs]
        ['a', 'b']
    """
    if not raw.is_dir():
        raise DataError(f"{raw}: no such folder, expected one with images and masks. Check the path.")
    if any(Path(name).is_absolute() for name in (images, masks) if name):
        raw = raw.absolute()
    image_roots = _named_folders(raw, images) if images else _folder_called_like(raw, _IMAGE_WORDS, _MASK_WORDS)
    mask_roots = _named_folders(raw, masks) if masks else _folder_called_like(raw, _MASK_WORDS)
    listing = Listing([raw, *image_roots, *mask_roots])
    image_files, mask_files, others = _sort_out(image_roots, mask_roots, mask_suffix)
    listing.note_left_out(others, "picture")
    if image_files and mask_files and not {id for id, _ in image_files} & {id for id, _ in mask_files}:
        listing.notes.append(f"{raw}: sub-folders of images and masks differ, so they are paired by file name alone")
        image_files, mask_files = (
            [(PurePosixPath(id).name, source) for id, source in files] for files in (image_files, mask_files)
        )
    listing.match(
        "training",
        Named(", ".join(map(str, image_roots)), image_files),
        Named(", ".join(map(str, mask_roots)), mask_files),
        expected=("<id>.jpg or another picture", f"<id>{mask_suffix}.png or another picture"),
        advice="Check --images, --masks and --mask-suffix, or complete the folders.",
    )
    return listing


def _named_folders(raw: Path, pattern: str) -> dict[Path, str]:
    """The folders that a name or pattern stands for, each with what its ids begin with."""
    if (raw / pattern).is_dir():
        return {raw / pattern: ""}
    parts = Path(pattern).parts
    fixed = next((index for index, part in enumerate(parts) if "*" in part or "?" in part), len(parts))
    base = raw.joinpath(*parts[:fixed])
    rest = "/".join(parts[fixed:])
    folders = sorted(folder for folder in _glob(base, rest) if folder.is_dir())
    if not folders:
        raise DataError(f"{raw / pattern}: no such folder, expected one that holds pictures. Check the path.")
    return {folder: "".join(f"{part}/" for part in folder.relative_to(base).parts[:-1]) for folder in folders}


def _glob(base: Path, pattern: str) -> list[Path]:
    """What a pattern stands for; where brackets in it stand for nothing, they belong to names."""
    if not pattern:
        return []
    try:
        return list(base.glob(pattern)) or list(base.glob(pattern.replace("[", "[[]")))
    except ValueError as error:
        raise DataError(
            f"{base / pattern}: not a pattern ({error}), expected one such as '*/image'. Correct it."
        ) from error


def _folder_called_like(raw: Path, words: Sequence[str], unlike: Sequence[str] = ()) -> dict[Path, str]:
    """The one folder in `raw` whose name holds one of the words."""
    flag = "--images" if unlike else "--masks"
    folders = [
        folder
        for folder in sorted(raw.iterdir())
        if folder.is_dir()
        and any(word in folder.name.lower() for word in words)
        and not any(word in folder.name.lower() for word in unlike)
    ]
    if len(folders) != 1:
        found = first_names([folder.name for folder in folders]) or "none"
        raise DataError(
            f"{raw}: the folders called like {flag[2:]} are {found}, expected one. "
            f"Name it with {flag}, or several with a pattern such as {flag} '*/{words[0]}'."
        )
    return {folders[0]: ""}


def _sort_out(
    image_roots: dict[Path, str], mask_roots: dict[Path, str], suffix: str
) -> tuple[list[tuple[str, Source]], list[tuple[str, Source]], list[Source]]:
    """Images and masks with their ids, and the files that are neither."""
    images, masks, others = [], [], []
    roots = image_roots | mask_roots
    for root, prefix in roots.items():
        for source in list_files(root):
            # In nested trees a file belongs to the innermost folder that was named.
            if next(folder for folder in (root / source.name).parents if folder in roots) != root:
                continue
            if not is_picture(source.name):
                others.append(source)
                continue
            id = image_id(prefix + source.name)
            bare = without_ending(id, plain(suffix))
            if root in mask_roots and (bare or root not in image_roots):
                masks.append((bare or id, source))
            else:
                images.append((id, source))
    return images, masks, others
