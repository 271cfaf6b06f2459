"""What is written for a predicted image, and where: settled before anything runs."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lesionseg.commands.crops import Crops
from lesionseg.commands.predictions import TABLE, is_unfinished
from lesionseg.data.names import OVERLAY, PROBABILITY
from lesionseg.errors import DataError, first_names
from lesionseg.inference.finder import Prediction
from lesionseg.inference.inputs import MASK, Input, Inputs
from lesionseg.pixels.masks import encode_mask, encode_probability
from lesionseg.pixels.outlines import outline_findings, outline_picture
from lesionseg.pixels.pictures import encode_jpeg


@dataclass(frozen=True)
class Outputs:
    """What is written for every image beside its mask.

    Attributes:
        folder: where to; `<id>_segmentation.png`.
        overlay: the image with the lesion's outline, `<id>_overlay.jpg`.
        probability: the soft mask, `<id>_probability.png`, see `lesionseg.pixels.masks.encode_probability`.
        findings: what the model tells apart; masks, soft masks and crops of each go into a folder of that name.
        crops: how each instance is cut out, and where to; None for no crops.
    """

    folder: Path
    overlay: bool = False
    probability: bool = False
    findings: tuple[str, ...] = ()
    crops: Crops | None = None

    def parts(self, image: Input) -> list[Input]:
        """What has a row in the table: the image, or each finding in it as `<finding>/<id>`."""
        return [replace(image, id=f"{finding}/{image.id}") for finding in self.findings] or [image]

    def paths(self, image: Input) -> list[Path]:
        """The files of an image, without crops: how many these are shows once it is predicted."""
        of_parts = [self.folder / f"{part.id}{ending}" for part in self.parts(image) for ending in self.endings]
        return of_parts + [self.folder / f"{image.id}{OVERLAY}"] * self.overlay

    @property
    def endings(self) -> list[str]:
        """What ends the names of the files of each part."""
        return [MASK, *[PROBABILITY] * self.probability]

    def encode(self, image: Input, pixels: np.ndarray, found: Prediction) -> list[tuple[Path, bytes]]:
        """Make the files of an image, without crops, from its (H, W, 3) uint8 BGR and its prediction."""
        data = []
        for part in found.parts:
            data.append(encode_mask(part.mask))
            if self.probability:
                data.append(encode_probability(part.probability))
        if self.overlay:
            data.append(encode_jpeg(_overlay(pixels, found)))
        return list(zip(self.paths(image), data, strict=True))

    def check(self, inputs: Inputs, overwrite: bool) -> None:
        """Find what is in the way before anything runs; nothing is written.

        Raises:
            DataError: the folder is no folder, lies in a folder of images, has a folder or one of the images where an
                output is to be, or holds earlier outputs and `overwrite` is not set, other than those of a run that was
                ended before its end.
        """
        if self.crops:
            ids = {part.id for image in inputs.images for part in self.parts(image)}
            self.crops.check(inputs, ids, replace=overwrite or is_unfinished(self.folder))
        inputs.check_apart(self.folder)
        wanted = [path for image in inputs.images for path in self.paths(image)] + [self.folder / TABLE]
        if folders := [str(path) for path in wanted if os.path.isdir(path)]:
            raise DataError(
                f"{first_names(folders)}: {len(folders)} folders where files are to be, expected nothing there. "
                "Move them away, or choose another --out."
            )
        if replaced := inputs.among(wanted):
            raise DataError(
                f"{first_names(replaced)}: {len(replaced)} images that their own outputs would replace, expected a "
                "folder without them. Choose another --out."
            )
        if overwrite or is_unfinished(self.folder):
            return
        if there := [path.relative_to(self.folder).as_posix() for path in wanted if os.path.lexists(path)]:
            raise DataError(
                f"{self.folder}: {len(there)} of {len(wanted)} outputs are there already ({first_names(there)}), "
                "expected none. Choose another --out, or replace them with --overwrite."
            )


def _overlay(image: np.ndarray, found: Prediction) -> np.ndarray:
    """Draw what was found, each finding in a colour of its own: (H, W, 3) uint8 BGR."""
    if not found.findings:
        return outline_picture(image, prediction=found.mask)
    return outline_findings(image, {name: part.mask for name, part in found.findings.items()})
