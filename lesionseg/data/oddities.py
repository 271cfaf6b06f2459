"""What is odd about a data set, in words, from a few numbers of every image and mask."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lesionseg.data.names import with_finding
from lesionseg.data.release.listing import SPLITS
from lesionseg.errors import first_names

_NEARLY_FULL, _TINY = 0.9, 0.001
_MANY_PARTS = 10
_LONG = 3  # times as long as wide
_SMALL_EDGE = 128  # pixels, the smallest input of any config
# Median absolute deviations from the median: of a normal distribution, 3 are 2 standard deviations.
_FAR = 8
# Below it a mean Jaccard moves by more than 0.05 with which images are drawn, at its usual deviation of 0.18.
_FEW_TO_SCORE, _FEW_TO_LEARN = 50, 100


@dataclass(frozen=True)
class Measured:
    """A mask with its image.

    Attributes:
        id, split, finding, group: as in `lesionseg.data.release.data_set_folder.Record`.
        width, height: pixels of the image.
        lesion_share: lesion pixels / all pixels of the mask, in [0, 1].
        components: 8-connected components of the mask.
        brightness: mean gray of the image, in [0, 1]; None where it was not looked at.
        border_share: share of the mask's outermost pixels that are lesion, in [0, 1]; None where it was not looked at.
    """

    id: str
    split: str
    finding: str
    group: str
    width: int
    height: int
    lesion_share: float
    components: int
    brightness: float | None = None
    border_share: float | None = None


def find_oddities(rows: Sequence[Measured]) -> list[str]:
    """Say what a person should look at before training, the gravest first; nothing where nothing is odd.

    Args:
        rows: a row for every mask.
    """
    return [*_overlaps(rows), *_odd_masks(rows), *_odd_images(rows), *_few(rows)]


def _overlaps(rows: Iterable[Measured]) -> list[str]:
    """What is in several splits: then a score is of what the model has seen."""
    told = []
    for what, key in (("ids", lambda row: row.id), ("groups", lambda row: row.group)):
        splits = defaultdict(set)
        for row in rows:
            splits[key(row)].add(row.split)
        if shared := sorted(name for name, where in splits.items() if name and len(where) > 1):
            told.append(
                f"{len(shared)} {what} are in several splits ({first_names(shared)}): scores would be of what the "
                "model has seen. Keep each in one split; tools/convert_isic.py --split with --group-csv does."
            )
    return told


def _odd_masks(rows: Sequence[Measured]) -> list[str]:
    kinds: list[tuple[str, Callable[[Measured], bool], str]] = [
        (
            "lesion along most of their border",
            lambda row: row.lesion_share < _NEARLY_FULL and (row.border_share or 0) > 0.5,
            "they may be inverted. If so, convert with --inverted.",
        ),
        ("empty", lambda row: row.lesion_share == 0, "right only where the image shows no lesion."),
        (
            f"lesion on more than {_NEARLY_FULL:.0%} of the image",
            lambda row: row.lesion_share > _NEARLY_FULL,
            "see whether the image is a close-up, or the mask wrong.",
        ),
        (
            f"lesion on less than {_TINY:.1%} of the image",
            lambda row: 0 < row.lesion_share < _TINY,
            "specks by mistake, or lesions of a few pixels for a network. Take a larger input, or crops.",
        ),
        (
            f"of more than {_MANY_PARTS} parts",
            lambda row: row.components > _MANY_PARTS,
            "specks, or really so many lesions.",
        ),
    ]
    told = []
    for what, is_odd, so in kinds:
        if odd := [with_finding(row.id, row.finding) for row in rows if is_odd(row)]:
            told.append(f"{_count(odd, rows, 'mask')} {what} ({first_names(odd)}): {so}")
    return told


def _odd_images(rows: Sequence[Measured]) -> list[str]:
    images = list({(row.split, row.id): row for row in rows}.values())
    seen = [row for row in images if row.brightness is not None]
    away = _deviations([row.brightness or 0 for row in seen])
    shape = "long and narrow"
    kinds = [
        ("much darker than the others", [row.id for row, far in zip(seen, away, strict=True) if far < -_FAR]),
        ("much brighter than the others", [row.id for row, far in zip(seen, away, strict=True) if far > _FAR]),
        (shape, [row.id for row in images if max(row.width, row.height) > _LONG * min(row.width, row.height)]),
        (
            f"smaller than {_SMALL_EDGE} pixels",
            [row.id for row in images if min(row.width, row.height) < _SMALL_EDGE],
        ),
    ]
    return [
        f"{_count(odd, images, 'image')} {what} ({first_names(odd)}): see whether they belong to the others."
        for what, odd in kinds
        if odd
    ]


def _few(rows: Iterable[Measured]) -> list[str]:
    """What is too few to learn from, or to tell two models apart."""
    ids = defaultdict(set)
    for row in rows:
        ids[row.split].add(row.id)
    told = []
    for split in SPLITS:
        count, least = len(ids[split]), _FEW_TO_LEARN if split == "training" else _FEW_TO_SCORE
        if split in ids and 0 < count < least:
            so = (
                "few to learn from. A config that begins with trained weights, and augmentation, make the most of them."
                if split == "training"
                else f"a mean score moves by about {2 * 0.18 / count**0.5:.2f} with which they are."
            )
            told.append(f"{count} {split} images: {so}")
    if ids["training"] and not ids["validation"]:
        told.append(
            "No validation images: no checkpoint can be chosen by them. Convert with --split, such as 0.8,0.1,0.1."
        )
    return told


def _count(odd: Sequence, rows: Sequence, kind: str) -> str:
    return f"{len(odd)} of {len(rows)} {kind}s {'is' if len(odd) == 1 else 'are'}"


def _deviations(values: Sequence[float]) -> np.ndarray:
    """By how many median absolute deviations each value is away from the median: (N,) float64."""
    numbers = np.asarray(values, np.float64)
    if not numbers.size:
        return numbers
    away = numbers - np.median(numbers)
    # Where most are the same, a hundredth is no deviation yet.
    return away / max(float(np.median(np.abs(away))), 0.01)
