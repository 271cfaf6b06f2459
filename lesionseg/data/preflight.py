"""Looks at every mask before a training starts, so that a bad file stops it now and not in an hour."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lesionseg.cli import progress
from lesionseg.data.images import picture_size
from lesionseg.data.masks import lesion_pixels, read_mask
from lesionseg.errors import DataError, first_names
from lesionseg.files import write_text


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


def check_masks(pairs: Sequence[tuple[str, str]], name: str) -> MaskSummary:
    """Read every mask, or what is known of it from an earlier run, and compare its size with its image's.

    What was read is kept by size and time of both files in the user's cache folder.

    Args:
        pairs: paths of image and mask.
        name: what the progress bar and an error call them, such as `training`.

    Raises:
        DataError: with the count and the first five of the masks that cannot be used, or no mask has a lesion.
    """
    cache = _Cache([mask for _, mask in pairs])
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        results = list(progress(threads.map(cache.look, *zip(*pairs, strict=True)), len(pairs), f"checking {name}"))
    cache.save()
    faults = [result for result in results if isinstance(result, str)]
    if faults:
        more = f" ({len(faults)} masks of {name} cannot be used; the first: {first_names(faults)})" * (len(faults) > 1)
        raise DataError(faults[0] + more)
    lesion = sum(result[0] for result in results)
    total = sum(result[1] for result in results)
    if lesion == 0:
        raise DataError(
            f"{Path(pairs[0][1]).parent}: none of the {len(pairs)} masks has a lesion pixel, expected gray above 128 "
            "where the lesion is. Check that these are the masks."
        )
    empty = tuple(mask for (_, mask), result in zip(pairs, results, strict=True) if result[0] == 0)
    return MaskSummary(len(pairs), (total - lesion, lesion), empty)


class _Cache:
    """Pixel counts by path, valid as long as size and time of image and mask stay the same."""

    def __init__(self, masks: Sequence[str]) -> None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lesionseg" / "masks"
        root = os.path.abspath(os.path.commonpath(masks))
        self.path = folder / f"{hashlib.sha256(root.encode()).hexdigest()[:16]}.json"
        try:
            self.entries = json.loads(self.path.read_text())
        except (OSError, ValueError):
            self.entries = {}

    def look(self, image: str, mask: str) -> tuple[int, int] | str:
        """Give (lesion pixels, all pixels) of a mask, or what is wrong with it."""
        try:
            stamp = [value for path in (image, mask) for value in (os.stat(path).st_size, os.stat(path).st_mtime_ns)]
            known = self.entries.get(os.path.abspath(mask))
            if known and known["stamp"] == stamp:
                return tuple(known["counts"])
            counts = _count(image, mask)
        except DataError as error:
            return str(error)
        except OSError as error:
            return f"{error.filename or mask}: {error.strerror or error}, expected a readable file. Check it."
        self.entries[os.path.abspath(mask)] = dict(stamp=stamp, counts=counts)
        return counts

    def save(self) -> None:
        try:
            write_text(self.path, json.dumps(self.entries))
        except OSError:
            # A home that cannot be written to costs time in the next run, nothing else.
            return


def _count(image: str, mask: str) -> tuple[int, int]:
    lesion = lesion_pixels(read_mask(mask))
    height, width = picture_size(image, image)
    if lesion.shape != (height, width):
        raise DataError(
            f"{mask}: {lesion.shape[1]}x{lesion.shape[0]} pixels, expected the {width}x{height} of {image}. "
            "Put the matching mask there."
        )
    return int(np.count_nonzero(lesion)), lesion.size
