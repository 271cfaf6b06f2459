"""What somebody has drawn on a photograph: where the marked photograph differs from the one as taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import NamedTuple

import cv2
import numpy as np

from lesionseg.errors import DataError
from lesionseg.pixels.parts import drop_small, fill_holes

# Saving a photograph as JPEG once more changes grays by up to 10; Otsu's threshold of such noise lies below.
LEAST_AUTOMATIC = 10
# Parts below this share of a picture are specks: 15 pixels of 640 x 480.
SPECK = 1 / 20_000
# Of a picture. No mark is larger; what differs there are two photographs, or all of a changed one.
_MOST_MARKED = 0.95
# Findings whose marks are told by gray alone: another hue of the same gray is none.
_BY_GRAY = frozenset({"mela"})


class Mark(NamedTuple):
    """What was found.

    Attributes:
        lesion: (H, W) bool.
        threshold: 0..255, above which differences are marks.
    """

    lesion: np.ndarray
    threshold: int


@dataclass(frozen=True)
class Marking:
    """How marks are told from noise.

    Attributes:
        thresholds: 0..254, above which a difference is a mark, by finding in lower case, "" for those that are not
            named; None chooses one for each picture, by Otsu's method.
        fill_outlines: whether what a closed outline encloses is lesion too.
    """

    thresholds: Mapping[str, int | None]
    fill_outlines: bool = False

    def find(self, photograph: np.ndarray, marked: np.ndarray, finding: str, name: str | PathLike) -> Mark:
        """Find the marks of a photograph.

        Args:
            photograph, marked: (H, W, 3) uint8 BGR, as taken and with marks.
            finding: what the marks show, "" where that is not told apart.
            name: what an error calls the marked photograph.

        Raises:
            DataError: they do not differ, or almost everywhere.
        """
        differences = difference(photograph, marked, finding)
        threshold = self.thresholds.get(finding.lower(), self.thresholds[""])
        if threshold is None:
            threshold = max(LEAST_AUTOMATIC, int(cv2.threshold(differences, 0, 255, cv2.THRESH_OTSU)[0]))
        lesion = differences > threshold
        option = f"--threshold {finding}{'=' if finding else ''}"
        if lesion.mean() > _MOST_MARKED:
            raise DataError(
                f"{name}: almost all of it differs from the original photograph by more than {threshold} of 255, "
                f"expected marks on the same photograph. Check that they belong together, or raise {option}N."
            )
        if self.fill_outlines:
            lesion = fill_holes(lesion)
        lesion = drop_small(lesion, max(2, SPECK * lesion.size))
        if not lesion.any():
            raise DataError(
                f"{name}: it does not differ from the original photograph by more than {threshold} of 255, specks "
                f"apart, expected marks. Mark it, take the pair away, or lower {option}N."
            )
        return Mark(lesion, threshold)


def difference(photograph: np.ndarray, marked: np.ndarray, finding: str) -> np.ndarray:
    """How far two photographs differ.

    Args:
        photograph, marked: (H, W, 3) uint8 BGR.
        finding: what is marked: of `mela` the gray pictures are compared, of all others the channel that differs most.

    Returns:
        (H, W) uint8.

    Example:
        >>> skin, yellow = np.full((1, 2, 3), 100, np.uint8), np.full((1, 2, 3), (100, 130, 160), np.uint8)
        >>> difference(skin, yellow, "acne"), difference(skin, yellow, "mela")
        (array([[60, 60]], dtype=uint8), array([[36, 36]], dtype=uint8))
    """
    if finding.lower() in _BY_GRAY:
        photograph, marked = (cv2.cvtColor(each, cv2.COLOR_BGR2GRAY) for each in (photograph, marked))
        return cv2.absdiff(photograph, marked)
    return cv2.absdiff(photograph, marked).max(axis=2)
