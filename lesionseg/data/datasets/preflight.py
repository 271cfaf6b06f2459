"""Looks at every file before a training starts, so that a bad one stops it now and not in an hour."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lesionseg.data.datasets.mask_cache import MaskCache, PackedMask, stamp
from lesionseg.errors import DataError, first_names
from lesionseg.pixels.findings import Label, read_finding
from lesionseg.pixels.masks import LESION_ABOVE
from lesionseg.pixels.pictures import picture_size
from lesionseg.workers import map_files


@dataclass(frozen=True)
class MaskSummary:
    """What the masks of one split hold.

    Attributes:
        images: how many there are.
        histogram: pixels of background and of lesion, over all masks.
        empty: paths of masks without a lesion pixel.
    """

    images: int
    histogram: tuple[int, int]
    empty: tuple[str, ...]

    def __str__(self) -> str:
        share = self.histogram[1] / sum(self.histogram)
        without = f", {len(self.empty)} without lesion ({first_names(self.empty)})" if self.empty else ""
        return f"{self.images} images, {share:.1%} of the pixels are lesion{without}"


def check_masks(pairs: Sequence[tuple[str, str]], name: str, label: Label | None = None) -> MaskSummary:
    """Read every mask, or what is known of it from an earlier run, and compare its size with its image's.

    What was read is kept in the user's cache folder, where `LoadLesionMask` finds it in the training that follows.

    Args:
        pairs: paths of image and mask.
        name: what the progress bar and an error call them, such as `training`.
        label: of the finding, where the masks are labelled files.

    Raises:
        DataError: with the count and the first five of the masks that cannot be used, or no mask has a lesion.
    """
    caches = {folder: MaskCache(folder) for folder in {os.path.dirname(mask) for _, mask in pairs}}
    results = list(
        map_files(lambda pair: _look(caches[os.path.dirname(pair[1])], *pair, label), pairs, f"checking {name}")
    )
    for cache in caches.values():
        cache.save()
    _raise_if_any([result for result in results if isinstance(result, str)], f"masks of {name}")
    counts = [result for result in results if not isinstance(result, str)]
    lesion = sum(count[0] for count in counts)
    total = sum(count[1] for count in counts)
    if lesion == 0:
        expected = f"gray above {LESION_ABOVE}" if label is None else f"the label {label.value}"
        raise DataError(
            f"{Path(pairs[0][1]).parent}: none of the {len(pairs)} masks has a lesion pixel, expected {expected} where "
            "the lesion is. Check that these are the masks."
        )
    empty = tuple(mask for (_, mask), count in zip(pairs, counts, strict=True) if count[0] == 0)
    return MaskSummary(len(pairs), (total - lesion, lesion), empty)


def check_images(paths: Sequence[str], name: str, min_edge: int) -> None:
    """Look at every image that has no mask.

    Args:
        paths: of the images.
        name: what the progress bar and an error call them, such as `training`.
        min_edge: what no edge may be shorter than, in pixels.

    Raises:
        DataError: with the count and the first five of the images that cannot be read, or are too small.
    """
    faults = map_files(lambda path: _describe_fault(path, min_edge), paths, f"checking {name}")
    _raise_if_any(list(filter(None, faults)), f"images of {name}")


def _raise_if_any(faults: Sequence[str], what: str) -> None:
    if faults:
        more = f" ({len(faults)} {what} cannot be used; the first: {first_names(faults)})" * (len(faults) > 1)
        raise DataError(faults[0] + more)


def _describe_fault(image: str, min_edge: int) -> str:
    """What is wrong with an image; nothing where it can be used."""
    try:
        height, width = picture_size(image)
    except DataError as error:
        return str(error)
    except OSError as error:
        return _unreadable(error, image)
    if min(height, width) < min_edge:
        return f"{image}: {width}x{height} pixels, expected {min_edge} or more along each edge. Take it away."
    return ""


def _unreadable(error: OSError, path: str) -> str:
    return f"{error.filename or path}: {error.strerror or error}, expected a readable file. Check it."


def _look(cache: MaskCache, image: str, mask: str, label: Label | None) -> tuple[int, int] | str:
    """Give (lesion pixels, all pixels) of a mask, or what is wrong with it."""
    try:
        known = cache.look_up(mask) if label is None else None
        if known is None:
            read_at = stamp(mask)
            packed = PackedMask.of(read_finding(mask, label))
            if label is None:
                cache.keep(mask, read_at, packed)
            known = packed.shape, packed.lesion_pixels
        (height, width), lesion = known
        image_height, image_width = picture_size(image)
    except DataError as error:
        return str(error)
    except OSError as error:
        return _unreadable(error, mask)
    if (height, width) != (image_height, image_width):
        return (
            f"{mask}: {width}x{height} pixels, expected the {image_width}x{image_height} of {image}. "
            "Put the matching mask there."
        )
    return lesion, height * width
