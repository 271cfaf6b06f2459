"""Masks from elsewhere as a method: whoever drew or predicted them, they are scored like everyone's."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from lesionseg.data.names import find_masks
from lesionseg.engine.families import SEMANTIC
from lesionseg.errors import DataError
from lesionseg.inference.finder import Image, Prediction
from lesionseg.pixels.masks import lesion_pixels, read_mask


class MaskFolder:
    """Finds the mask of an image by its id; see `lesionseg.inference.finder.Finder`.

    Args:
        folder: with `<id>.png` or `<id>_segmentation.png`, such as a submission to a challenge.
    """

    task = SEMANTIC

    def __init__(self, folder: str | PathLike) -> None:
        self.folder = Path(folder)

    def find(self, images: Sequence[Image], keep_scores: bool = False) -> list[Prediction]:
        """Read the masks of images.

        Raises:
            DataError: an image has no mask there, or two, or the mask cannot be used or is of another size.
        """
        masks = find_masks(self.folder, [image.id for image in images])
        found = []
        for image in images:
            path = masks[image.id]
            lesion = lesion_pixels(read_mask(path))
            (height, width), size = lesion.shape, image.pixels.shape[:2]
            if (height, width) != size:
                raise DataError(
                    f"{path}: {width}x{height} pixels, expected the {size[1]}x{size[0]} of the image {image.id}. Put "
                    "the matching mask there."
                )
            scores = np.stack([~lesion, lesion]).astype(np.float32) if keep_scores else None
            found.append(Prediction(lesion, lesion.astype(np.float32), class_scores=scores))
        return found
