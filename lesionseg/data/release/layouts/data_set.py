"""A data set folder, as the converter writes it and people go on with it."""

from collections.abc import Callable
from pathlib import Path

from lesionseg.data.names import MASK_SUFFIXES, image_id, is_picture, mask_id
from lesionseg.data.release.listing import SPLITS, Found, Listing, Named
from lesionseg.data.sources import Source, list_files


def find_data_set(folder: Path) -> Listing:
    """List the pairs of a data set folder.

    A mask is `annotations/<split>/<id>.png`, or `annotations/<split>/<finding>/<id>.png` where each finding has a mask
    of its own.

    Raises:
        OSError: a folder cannot be read.
    """
    listing = Listing([folder])
    for split in SPLITS:
        images, masks = folder / "images" / split, folder / "annotations" / split
        image_files = _named(images, _picture_id, "picture", listing)
        mask_files = _named(masks, mask_id, "mask", listing)
        ids = {file.id for file in image_files}
        mask_files = [file if file.id in ids else _of_finding(file, ids) for file in mask_files]
        if image_files or mask_files:
            listing.match(
                split,
                Named(images, image_files),
                Named(masks, mask_files),
                expected=("<id>.jpg or another picture", f"<id>{' or <id>'.join(MASK_SUFFIXES)}"),
                advice="Put them there, or take their partners away.",
            )
    if not listing.pairs and not listing.faults:
        listing.faults.append(
            f"{folder}: no pictures in images/{{{','.join(SPLITS)}}}, expected a data set folder. "
            "Make one with tools/convert_isic.py."
        )
    return listing


def _named(part: Path, to_id: Callable[[str], str | None], what: str, listing: Listing) -> list[Found]:
    ids: list[tuple[str | None, Source]] = (
        [(to_id(source.name), source) for source in list_files(part)] if part.is_dir() else []
    )
    listing.note_left_out((source for id, source in ids if id is None), what)
    return [Found(id, source) for id, source in ids if id is not None]


def _picture_id(name: str) -> str | None:
    return image_id(name) if is_picture(name) else None


def _of_finding(file: Found, ids: set[str]) -> Found:
    finding, _, id = file.id.partition("/")
    return Found(id, file.source, finding) if id in ids else file
