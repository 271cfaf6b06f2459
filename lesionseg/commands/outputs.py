"""What is written for a predicted image, and where: settled before anything runs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lesionseg.commands.crops import Crops
from lesionseg.commands.instances import INSTANCE_COCO, INSTANCE_TABLE, label_instances
from lesionseg.commands.predictions import TABLE, is_unfinished
from lesionseg.data.names import HEATMAP, INSTANCES, OVERLAY, PROBABILITY
from lesionseg.errors import DataError, first_names
from lesionseg.evaluation.report_file import check_no_test
from lesionseg.inference.finder import Prediction
from lesionseg.inference.inputs import MASK, Input, Inputs
from lesionseg.pixels.labels import encode_labels
from lesionseg.pixels.legends import heat_picture
from lesionseg.pixels.masks import encode_mask, encode_probability
from lesionseg.pixels.outlines import outline_findings, outline_instances, outline_picture
from lesionseg.pixels.parts import Region
from lesionseg.pixels.pictures import encode_jpeg


@dataclass(frozen=True)
class Outputs:
    """What is written for every image beside its mask.

    Attributes:
        folder: where to; `<id>_segmentation.png`.
        overlay: the image with the lesion's outline, or those of all instances and their scores, `<id>_overlay.jpg`.
        probability: the soft mask, `<id>_probability.png`, see `lesionseg.pixels.masks.encode_probability`.
        heatmap: the same as colours on the image, `<id>_heatmap.jpg`.
        findings: what the model tells apart; masks, soft masks and crops of each go into a folder of that name.
        category: what the instances are that the model finds; each has a number in `<id>_instances.png`, a row in
            `instances.csv` and an annotation in `instances.json`. Empty where it finds no instances.
        crops: how each instance is cut out, and where to; None for no crops.
    """

    folder: Path
    overlay: bool = False
    probability: bool = False
    heatmap: bool = False
    findings: tuple[str, ...] = ()
    category: str = ""
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
        return [MASK, *[INSTANCES] * bool(self.category), *[PROBABILITY] * self.probability, *[HEATMAP] * self.heatmap]

    def encode(
        self, image: Input, pixels: np.ndarray, found: Prediction, regions: Sequence[tuple[Region, float]]
    ) -> list[tuple[Path, bytes]]:
        """Make the files of an image, without crops.

        Args:
            image: its id and path.
            pixels: (H, W, 3) uint8 BGR.
            found: its prediction.
            regions: the instances in it, see `lesionseg.commands.instances.find_regions`.
        """
        data = []
        for part in found.parts:
            data.append(encode_mask(part.mask))
            if self.category:
                data.append(encode_labels(label_instances(part.mask.shape, regions)))
            if self.probability:
                data.append(encode_probability(part.probability))
            if self.heatmap:
                data.append(encode_jpeg(heat_picture(pixels, part.probability)))
        if self.overlay:
            data.append(encode_jpeg(self._overlay(pixels, found, regions)))
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
        check_no_test(self.folder)
        tables = [TABLE, *[INSTANCE_TABLE, INSTANCE_COCO] * bool(self.category)]
        wanted = [path for image in inputs.images for path in self.paths(image)]
        wanted += [self.folder / name for name in tables]
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

    def _overlay(self, image: np.ndarray, found: Prediction, regions: Sequence[tuple[Region, float]]) -> np.ndarray:
        """Draw what was found, each finding or instance in a colour of its own: (H, W, 3) uint8 BGR."""
        if self.category:
            return outline_instances(image, regions, self.category)
        if not found.findings:
            return outline_picture(image, prediction=found.mask)
        return outline_findings(image, {name: part.mask for name, part in found.findings.items()})
