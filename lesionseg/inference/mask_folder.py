"""Masks from elsewhere as a method: whoever drew or predicted them, they are scored like everyone's."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from lesionseg.data.names import find_finding_masks, find_masks
from lesionseg.engine.families import SEMANTIC
from lesionseg.errors import DataError
from lesionseg.inference.finder import Image, Prediction
from lesionseg.pixels.masks import lesion_pixels, read_mask


class MaskFolder:
    """Finds the mask of an image by its id; see `lesionseg.inference.finder.Finder`.

    Args:
        folder: with `<id>.png` or `<id>_segmentation.png`, such as a submission to a challenge.
        findings: where several are told apart, each has a folder of its own there; a prediction holds those that have
            a mask of the image.
    """

    task = SEMANTIC

    def __init__(self, folder: str | PathLike, findings: Sequence[str] = ()) -> None:
        self.folder = Path(folder)
        self.findings = tuple(findings)

    def find(self, images: Sequence[Image], keep_scores: bool = False) -> list[Prediction]:
        """Read the masks of images.

        Raises:
            DataError: an image has no mask there, or two, or the mask cannot be used or is of another size.
        """
        if self.findings:
            return [self._find_all(image) for image in images]
        masks = find_masks(self.folder, [image.id for image in images])
        return [_read(masks[image.id], image, keep_scores) for image in images]

    def _find_all(self, image: Image) -> Prediction:
        (paths,) = find_finding_masks(self.folder, [image.id], self.findings).values()
        found = {finding: _read(path, image) for finding, path in paths.items()}
        mask = np.any([each.mask for each in found.values()], axis=0)
        return Prediction.of_mask(mask, findings=found)


def _read(path: Path, image: Image, keep_scores: bool = False) -> Prediction:
    lesion = lesion_pixels(read_mask(path))
    (height, width), size = lesion.shape, image.pixels.shape[:2]
    if (height, width) != size:
        raise DataError(
            f"{path}: {width}x{height} pixels, expected the {size[1]}x{size[0]} of the image {image.id}. Put "
            "the matching mask there."
        )
    return Prediction.of_mask(lesion, keep_scores)
