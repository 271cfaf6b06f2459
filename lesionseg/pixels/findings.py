"""Several findings in one map: a pixel may be acne and red at once, so that each finding has a bit of its own.

Such a map of codes is flipped, cut and resized to the nearest pixel as class indices are. That of a single finding is
one of class indices, 0 = skin and 1 = lesion.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from lesionseg.files import read_file
from lesionseg.pixels.labels import decode_labels
from lesionseg.pixels.masks import lesion_pixels, read_mask

# Bits of a byte. The eighth would make a code of 255, which is that of pixels beyond the picture.
MOST_FINDINGS = 7
IGNORED = 255


class Label(NamedTuple):
    """What a finding is in a labelled file, a gray or palette PNG with a number for each finding.

    Attributes:
        value: its number; of palette files, the index.
        most: the highest number of any finding. 0 is none of them.
    """

    value: int
    most: int


def join_findings(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Make one map of the masks of all findings.

    Args:
        masks: (H, W) bool or {0, 1} each, in the order of the findings.

    Returns:
        (H, W) uint8, the bit `1 << n` set where the n-th finding is.

    Example:
        >>> join_findings([np.array([[True, True, False]]), np.array([[True, False, False]])])
        array([[3, 1, 0]], dtype=uint8)
    """
    codes = np.zeros(masks[0].shape, np.uint8)
    for number, mask in enumerate(masks):
        codes |= mask.astype(np.uint8) << np.uint8(number)
    return codes


def has_finding(codes: Any, number: int) -> Any:
    """Where the n-th finding is: integers, an array or a tensor of any shape -> bool of that shape.

    Codes of `IGNORED` have all findings.
    """
    return (codes >> number) & 1 != 0


def read_codes(path: str | PathLike, findings: int) -> np.ndarray:
    """Read a labelled file of so many findings as codes: (H, W) uint8, see `join_findings`.

    Raises:
        DataError: see `lesionseg.pixels.labels.decode_labels`.
    """
    codes = np.array([0, *(1 << number for number in range(findings))], np.uint8)
    return codes[decode_labels(read_file(path), path, range(1, findings + 1))]


def read_finding(path: str | PathLike, label: Label | None = None) -> np.ndarray:
    """Read the mask of one finding.

    Args:
        path: a mask file; or, where there is a `label`, a labelled one.
        label: of the finding.

    Returns:
        (H, W) bool, True = lesion.

    Raises:
        DataError: see `lesionseg.pixels.masks.read_mask`, or `lesionseg.pixels.labels.decode_labels`.
    """
    if label is None:
        return lesion_pixels(read_mask(path))
    return decode_labels(read_file(path), path, range(1, label.most + 1)) == label.value
