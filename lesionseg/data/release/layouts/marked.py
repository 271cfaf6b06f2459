"""Photographs that somebody has marked: one as taken, one with what was found drawn on it."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lesionseg.data.names import image_id, is_picture
from lesionseg.data.release.layouts.pairs import FINDING, Files, find_files
from lesionseg.data.release.listing import Found, Listing, Named
from lesionseg.data.sources import Source, list_files
from lesionseg.errors import DataError

# Above which a difference of 0..255 is a mark; the last one is that of other findings.
THRESHOLDS: Mapping[str, int] = MappingProxyType({"acne": 20, "hemo": 10, "mela": 22, "": 20})

# <id>_org_<finding> is the photograph as taken, <id>_<digits>_<finding> the marked one.
_NAME = re.compile(r"(?P<id>.*[^/])_(?P<kind>org|[0-9]+)_(?P<finding>[^_/]+)", re.IGNORECASE | re.DOTALL)
_EXPECTED = ("<id>_org_<finding>.jpg", "<id>_<digits>_<finding>.jpg")
_KINDS = ("original photograph", "marked photograph")


def find_marked(raw: Path, images: str | None = None, masks: str | None = None, mask_suffix: str = "") -> Listing:
    """List the pairs of photographs as taken and as marked; the marked one stands for the mask.

    In one tree, `<id>_org_<finding>.jpg` belongs to `<id>_<digits>_<finding>.jpg`. In two, names may be such, or alike:
    then the finding is the folder that `{finding}` stands for, if any.

    Args:
        raw: the folder that holds them, or that relative names start from.
        images, masks: where the photographs as taken and as marked lie, as in `pairs.find_files`; both or none.
        mask_suffix: see `pairs.find_files`.

    Raises:
        DataError: there are no such folders.
        OSError: a folder cannot be read.

    Example:
        >>> listing = find_marked(Path("data/raw/marked"))
        >>> [(pair.id, pair.finding, pair.mask.name) for pair in listing.pairs]
        [('0001', 'acne', '0001_39_acne.jpg')]
    """
    if images is None and masks is None:
        return _find_in_one_tree(raw)
    files = find_files(raw, images, masks, mask_suffix)
    if FINDING in (masks or "") or not any(_kind(file.id) == "org" for file in files.images.sources):
        return files.match(("<id>.jpg", "<id>.jpg"), _KINDS)
    as_taken, marked = (Named(named.where, list(map(_renamed, named.sources))) for named in files[1:])
    return Files(files.listing, as_taken, marked).match(_EXPECTED, _KINDS)


def _find_in_one_tree(raw: Path) -> Listing:
    if not raw.is_dir():
        raise DataError(f"{raw}: no such folder, expected one with marked photographs. Check the path.")
    listing = Listing([raw])
    as_taken: list[Found] = []
    marked: list[Found] = []
    others: list[Source] = []
    for source in list_files(raw):
        kind = _kind(image_id(source.name)) if is_picture(source.name) else None
        if kind is None:
            others.append(source)
        else:
            (as_taken if kind == "org" else marked).append(_renamed(Found(image_id(source.name), source)))
    listing.note_left_out(others, "photograph as taken or as marked")
    files = Files(listing, Named(raw, as_taken), Named(raw, marked))
    advice = "Complete the pairs, or name two folders with --images and --masks."
    return files.match(_EXPECTED, _KINDS, advice=advice)


def _kind(id: str) -> str | None:
    match = _NAME.fullmatch(id)
    return match["kind"].lower() if match else None


def _renamed(file: Found) -> Found:
    """The id and the finding that a name gives; a file that is not called so keeps its name."""
    match = _NAME.fullmatch(file.id)
    return Found(match["id"], file.source, match["finding"].lower()) if match else file
