"""Crops of what was found, such as the input of a classifier: a picture for each, and a table of all."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lesionseg.data.names import plain
from lesionseg.data.sources import list_files
from lesionseg.errors import DataError, first_names
from lesionseg.inference.inputs import Input, Inputs
from lesionseg.pixels.parts import Region
from lesionseg.pixels.pictures import encode_png

CROP_TABLE = "crops.csv"
MARGIN = 0.1


@dataclass(frozen=True)
class CropRow:
    """One crop, a row of `crops.csv`.

    Attributes:
        id: of its image, or of a finding in it, as in `predictions.csv`.
        image: path of the image's file.
        instance: from 1; of Mask R-CNN the best-scored first, else the largest component.
        file: of the crop, below the folder of the table.
        box_x, box_y, box_width, box_height: the smallest box around the instance, in pixels of the image.
        crop_x, crop_y, crop_width, crop_height: what the crop shows of the image, the box with its margin.
        area: pixels of the instance.
        score: of Mask R-CNN the instance's, else the mean probability in the component.
    """

    id: str
    image: str
    instance: int
    file: str
    box_x: int
    box_y: int
    box_width: int
    box_height: int
    crop_x: int
    crop_y: int
    crop_width: int
    crop_height: int
    area: int
    score: float


@dataclass(frozen=True)
class Crops:
    """How crops are cut, and where they go: `<id>_<instance>.png`, of several findings in a folder each.

    Attributes:
        folder: where to.
        margin: around the box, 1 and above in pixels, below 1 as a share of the box's longer edge; cut off at the
            image's border.
        masked: whether all that is not the instance is black.
    """

    folder: Path
    margin: float = MARGIN
    masked: bool = False

    def settings(self) -> dict[str, object]:
        """What decides what is written, as JSON can hold it."""
        return {**asdict(self), "folder": str(self.folder)}

    def name(self, id: str, instance: int) -> str:
        """The path of a crop below the folder.

        Example:
            >>> Crops(Path("crops")).name("clinic/ISIC_0000000", 1)
            'clinic/ISIC_0000000_1.png'
        """
        return f"{id}_{instance}.png"

    def existing(self, ids: Collection[str]) -> dict[str, list[Path]]:
        """The crops of these images that are there, by id."""
        found: dict[str, list[Path]] = {}
        wanted = set(ids)
        for source in list_files(self.folder) if self.folder.is_dir() else []:
            match = re.fullmatch(r"(.+)_[0-9]+\.png", plain(source.name))
            if match and match[1] in wanted:
                found.setdefault(match[1], []).append(self.folder / source.name)
        return found

    def check(self, inputs: Inputs, ids: Collection[str], replace: bool) -> None:
        """Find what is in the way before anything runs; nothing is written.

        Args:
            inputs: the images.
            ids: theirs, or those of the findings in them.
            replace: whether earlier crops may be there.

        Raises:
            DataError: the folder is no folder, lies in a folder of images, or has a folder where the table is to be,
                images that crops would replace, or earlier crops.
        """
        inputs.check_apart(self.folder, "--crops")
        table = self.folder / CROP_TABLE
        if table.is_dir():
            raise DataError(f"{table}: a folder, expected a place for a file. Move it away, or choose another --crops.")
        there = [path for paths in self.existing(ids).values() for path in paths]
        if replaced := inputs.among(there):
            raise DataError(
                f"{first_names(replaced)}: {len(replaced)} images that crops would replace, expected a folder without "
                "them. Choose another --crops."
            )
        names = [path.relative_to(self.folder).as_posix() for path in [*there, *[table] * table.exists()]]
        if names and not replace:
            raise DataError(
                f"{self.folder}: {len(names)} crops or tables of them are there already ({first_names(names)}), "
                "expected none. Choose another --crops, or replace them with --overwrite."
            )

    def cut(
        self, part: Input, image: np.ndarray, regions: Iterable[tuple[Region, float]]
    ) -> list[tuple[Path, CropRow, bytes]]:
        """Cut the crops of a prediction: of each the path, its row and the PNG file.

        Args:
            part: the image, or a finding in it, with its id.
            image: (H, W, 3) uint8 BGR.
            regions: what was found of it, see `lesionseg.commands.instances.find_regions`.
        """
        crops = []
        for number, (region, score) in enumerate(regions, 1):
            top, bottom, left, right = self._window(region, image.shape)
            crop = image[top:bottom, left:right]
            if self.masked:
                inside = np.zeros(crop.shape[:2], bool)
                height, width = region.mask.shape
                inside[region.top - top :, region.left - left :][:height, :width] = region.mask
                crop = np.where(inside[..., None], crop, np.uint8(0))
            row = CropRow(
                part.id,
                str(part.path),
                number,
                self.name(part.id, number),
                region.left,
                region.top,
                region.mask.shape[1],
                region.mask.shape[0],
                left,
                top,
                right - left,
                bottom - top,
                int(np.count_nonzero(region.mask)),
                score,
            )
            crops.append((self.folder / row.file, row, encode_png(crop)))
        return crops

    def _window(self, region: Region, shape: Sequence[int]) -> tuple[int, int, int, int]:
        """The top, bottom, left and right of the crop, within an image of this shape."""
        height, width = region.mask.shape
        margin = round(self.margin if self.margin >= 1 else self.margin * max(height, width))
        return (
            max(0, region.top - margin),
            min(shape[0], region.top + height + margin),
            max(0, region.left - margin),
            min(shape[1], region.left + width + margin),
        )
