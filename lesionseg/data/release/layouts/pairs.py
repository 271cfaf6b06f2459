"""Images and their masks: which belongs to which, in any two folders."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lesionseg.data.names import image_id, is_mask_folder, is_picture, plain, without_ending
from lesionseg.data.release.listing import SPLITS, Found, Listing, Named
from lesionseg.data.release.told_splits import split_of, told_split
from lesionseg.data.sources import Source, list_files
from lesionseg.errors import DataError, first_names

_IMAGE_WORDS = ("image", "img", "input", "photo")
_TRAINING = SPLITS[0]

# Stands, in a pattern, for the folders of one finding each.
FINDING = "{finding}"


class Files(NamedTuple):
    """The images and masks of any two folder trees.

    Attributes:
        listing: without pairs yet, with notes.
        images, masks: where they lie, and what they are.
    """

    listing: Listing
    images: Named
    masks: Named

    def match(
        self,
        expected: tuple[str, str],
        kinds: tuple[str, str] = ("image", "mask"),
        allow_unlabelled: bool = False,
        advice: str = "Check --images, --masks and --mask-suffix, or complete the folders.",
    ) -> Listing:
        """Pair them; where not one id agrees, because sub-folders differ, by their file names alone.

        Where the names of their folders tell several splits, images are in these, and ids do without those folders,
        unless two splits share one: then an id begins with its split.

        Args:
            expected, kinds, allow_unlabelled, advice: see `Listing.match`.
        """
        raw = self.listing.roots[0]
        images, masks = self.images, self.masks
        several = len({_told_split(raw, file.source) or _TRAINING for file in images.sources}) > 1
        in_splits = several and any(_told_split(raw, file.source) for file in masks.sources)
        if in_splits:
            images, masks = (
                Named(named.where, [_below_its_split(raw, file) for file in named.sources]) for named in (images, masks)
            )
        ids = [{file.id for file in named.sources} for named in (images, masks)]
        if all(ids) and not ids[0] & ids[1]:
            self.listing.notes.append(
                f"{raw}: sub-folders of images and masks differ, so they are paired by file name alone"
            )
            images, masks = (
                Named(named.where, [file._replace(id=PurePosixPath(file.id).name) for file in named.sources])
                for named in (images, masks)
            )
        if kinds[1] == "mask" and not allow_unlabelled:
            advice = f"{advice} Images may be without masks with --allow-unlabelled."
        self.listing.match(_TRAINING, images, masks, expected, advice, kinds, allow_unlabelled)
        if several:
            _set_splits(self.listing, in_splits)
        return self.listing


def find_pairs(
    raw: Path,
    images: str | None = None,
    masks: str | None = None,
    mask_suffix: str = "",
    allow_unlabelled: bool = False,
) -> Listing:
    """List the pairs of two folder trees, or of one tree that holds both; see `find_files`.

    Where not one path agrees, because images and masks are sorted into different sub-folders, both go by their file
    names alone.

    Raises:
        DataError: there are no such folders.
        OSError: a folder cannot be read.

    Example:
        >>> listing = find_pairs(Path("data/raw/mine"), "photos", "outlines", mask_suffix="_lesion")
        >>> [pair.id for pair in listing.pairs]
        ['a', 'b']
    """
    files = find_files(raw, images, masks, mask_suffix)
    expected = ("<id>.jpg or another picture", f"<id>{mask_suffix}.png or another picture")
    return files.match(expected, allow_unlabelled=allow_unlabelled)


def find_files(raw: Path, images: str | None = None, masks: str | None = None, mask_suffix: str = "") -> Files:
    """Find images and masks, and what they are called.

    The id of an image is its path below the image folder without extension, and that of a mask its path
    below the mask folder without extension and `mask_suffix`.

    Args:
        raw: the folder that relative names start from.
        images, masks: a folder, or a pattern such as `*/image` that stands for several; the ids then begin
            with the folders that the pattern's wildcards stand for, the last folder apart. `{finding}` in it stands
            for what the masks of a folder show, and is no part of the ids. The folder of the one may lie in that of
            the other, or be the same. Without a name, `raw` has to hold exactly one folder that is called like
            images, or masks, or one for each split, such as `train_images`, or `images` in a folder `train`.
        mask_suffix: what ends the file names of masks, `_lesion`; a mask without it is taken as it is.

    Raises:
        DataError: there are no such folders.
        OSError: a folder cannot be read.
    """
    if not raw.is_dir():
        raise DataError(f"{raw}: no such folder, expected one with images and masks. Check the path.")
    if any(Path(name).is_absolute() for name in (images, masks) if name):
        raw = raw.absolute()
    image_roots = _named_folders(raw, images) if images else _folder_called_like(raw, "images", _is_image_folder)
    mask_roots = _named_folders(raw, masks) if masks else _folder_called_like(raw, "masks", is_mask_folder)
    listing = Listing([raw, *image_roots, *mask_roots])
    image_files, mask_files, others = _sort_out(image_roots, mask_roots, mask_suffix)
    listing.note_left_out(others, "picture")
    return Files(
        listing,
        Named(", ".join(map(str, image_roots)), image_files),
        Named(", ".join(map(str, mask_roots)), mask_files),
    )


def _told_split(raw: Path, source: Source) -> str:
    path = source.part / source.name
    below = path.relative_to(raw) if path.is_relative_to(raw) else Path(source.part.name, source.name)
    return split_of(below.as_posix())[0]


def _below_its_split(raw: Path, file: Found) -> Found:
    """The file with an id that begins with its split, in place of the folder that tells it."""
    split, (_, id) = _told_split(raw, file.source), split_of(file.id)
    return file._replace(id=f"{split}/{id}" if split else id)


def _set_splits(listing: Listing, in_ids: bool) -> None:
    """Put pairs into the splits that the folders of their images tell, those without one into training.

    Args:
        listing: of pairs that are all in training.
        in_ids: whether ids begin with their split; that goes, unless two splits have an id in common.
    """
    raw = listing.roots[0]
    splits = {pair.id: _told_split(raw, pair.image) for pair in listing.pairs}
    splits |= {file.id: _told_split(raw, file.source) for file in listing.unlabelled}
    short = {id: id.removeprefix(f"{split}/") if in_ids else id for id, split in splits.items()}
    if len({*short.values()}) < len(short):
        short = {id: id for id in short}
    untold = list(dict.fromkeys(short[pair.id] for pair in listing.pairs if not splits[pair.id]))
    listing.notes.append(f"{raw}: images are in the splits that the names of their folders tell")
    if untold:
        listing.notes.append(
            f"{raw}: {len(untold)} images are in training, as no folder around them is called train, val, test or the "
            f"like ({first_names(untold)})"
        )
    pairs = [replace(pair, id=short[pair.id], split=splits[pair.id] or pair.split) for pair in listing.pairs]
    listing.pairs = sorted(pairs, key=lambda pair: (SPLITS.index(pair.split), pair.id))
    listing.unlabelled = [file._replace(id=short[file.id]) for file in listing.unlabelled]


class _Root(NamedTuple):
    """What the ids of a folder's files begin with, and which finding its masks show."""

    prefix: str = ""
    finding: str = ""


def _named_folders(raw: Path, pattern: str) -> dict[Path, _Root]:
    """The folders that a name or pattern stands for."""
    if (raw / pattern).is_dir():
        return {raw / pattern: _Root()}
    parts = Path(pattern).parts
    fixed = next((index for index, part in enumerate(parts) if re.search(f"[*?]|{FINDING}", part)), len(parts))
    base = raw.joinpath(*parts[:fixed])
    rest = "/".join(parts[fixed:])
    folders = sorted(folder for folder in _glob(base, rest.replace(FINDING, "*")) if folder.is_dir())
    roots = {folder: root for folder in folders if (root := _root(folder.relative_to(base), rest))}
    if not roots:
        raise DataError(f"{raw / pattern}: no such folder, expected one that holds pictures. Check the path.")
    return roots


def _root(folder: Path, pattern: str) -> _Root | None:
    """What a pattern says of a folder that it stands for; None where nothing is left for the finding."""
    if FINDING not in pattern:
        return _Root("".join(f"{part}/" for part in folder.parts[:-1]))
    words = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]", FINDING: "(?P<finding>[^/]+)"}
    split = re.split(r"(\*\*/|\*|\?|\{finding\})", pattern)
    match = re.fullmatch("".join(words.get(part) or re.escape(part) for part in split), folder.as_posix())
    if match is None:
        return None
    at = folder.as_posix().count("/", 0, match.start("finding"))
    return _Root(
        "".join(f"{part}/" for index, part in enumerate(folder.parts[:-1]) if index != at), plain(match["finding"])
    )


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


def _is_image_folder(name: str) -> bool:
    return any(word in name.lower() for word in _IMAGE_WORDS) and not is_mask_folder(name)


def _folder_called_like(raw: Path, kind: str, is_called_so: Callable[[str], bool]) -> dict[Path, _Root]:
    """The one folder in `raw` that is called like images, or masks, or those of several splits."""
    inside = _folders(raw)
    in_splits = [folder for split in inside if told_split(split.name) for folder in _folders(split)]
    folders = [folder for folder in inside if is_called_so(folder.name)] or [
        folder for folder in in_splits if is_called_so(folder.name)
    ]
    told = [split_of((folder.relative_to(raw) / "any").as_posix())[0] for folder in folders]
    one_a_split = all(told) and len({*told}) == len(told)
    if len(folders) != 1 and not (folders and one_a_split):
        found = first_names([folder.name for folder in folders]) or "none"
        raise DataError(
            f"{raw}: the folders called like {kind} are {found}, expected one. "
            f"Name it with --{kind}, or several with a pattern such as --{kind} '*/{kind[:-1]}'."
        )
    return dict.fromkeys(folders, _Root())


def _folders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir()]


def _sort_out(
    image_roots: Mapping[Path, _Root], mask_roots: Mapping[Path, _Root], suffix: str
) -> tuple[list[Found], list[Found], list[Source]]:
    """Images and masks, and the files that are neither."""
    images: list[Found] = []
    masks: list[Found] = []
    others = []
    roots = {**image_roots, **mask_roots}
    for root in roots:
        for source in list_files(root):
            # In nested trees a file belongs to the innermost folder that was named.
            if next(folder for folder in (root / source.name).parents if folder in roots) != root:
                continue
            if not is_picture(source.name):
                others.append(source)
                continue
            bare = without_ending(image_id(source.name), plain(suffix))
            is_mask = root in mask_roots and (bare or root not in image_roots)
            prefix, finding = (mask_roots if is_mask else image_roots)[root]
            id = plain(prefix) + (bare if is_mask and bare else image_id(source.name))
            (masks if is_mask else images).append(Found(id, source, finding))
    return images, masks, others
