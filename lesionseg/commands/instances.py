"""Instances as instances: a row of each, a labelled mask of each image, and a COCO file of all that annotation tools
read."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np

from lesionseg import __version__
from lesionseg.commands.growing_table import DIGITS
from lesionseg.data.coco.lists import lists_text, to_line
from lesionseg.files import write_text
from lesionseg.inference.finder import Prediction
from lesionseg.inference.inputs import Input
from lesionseg.pixels.outlines import edge_polygons
from lesionseg.pixels.parts import Region, region_of, split_parts
from lesionseg.tables import csv_text

INSTANCE_TABLE, INSTANCE_COCO = "instances.csv", "instances.json"
# Beside them until all images are in: the rows with their annotations, as they come.
INSTANCES_UNFINISHED = "instances.unfinished.csv"


@dataclass(frozen=True)
class InstanceRow:
    """One instance, a row of `instances.csv`.

    Attributes:
        id: of its image, as in `predictions.csv`.
        image: path of the image's file.
        instance: from 1, the best-scored first; its pixels in `<id>_instances.png`.
        category: what the model calls it.
        score: 0..1.
        box_x, box_y, box_width, box_height: the smallest box around it, in pixels of the image.
        area: its pixels.
    """

    id: str
    image: str
    instance: int
    category: str
    score: float
    box_x: int
    box_y: int
    box_width: int
    box_height: int
    area: int


@dataclass(frozen=True)
class AnnotatedRow(InstanceRow):
    """A row with what the COCO file will say of the instance.

    Attributes:
        annotation: JSON with `segmentation`, `area`, `bbox` and `iscrowd`, as COCO has them.
    """

    annotation: str


class _Numbered(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def instance(self) -> int: ...


Numbered = TypeVar("Numbered", bound=_Numbered)


def find_regions(found: Prediction) -> list[tuple[Region, float]]:
    """The instances that make up the lesion with their scores, as far as they are in the mask; or else the components
    of the mask with their mean probability, the largest first."""
    if found.instances is None:
        return [(part, float(part.of(found.probability)[part.mask].mean())) for part in split_parts(found.mask)]
    drawn = ((region_of(found.instances.draw(int(number)) & found.mask), number) for number in found.instances.chosen)
    return [(region, float(found.instances.scores[number])) for region, number in drawn if region is not None]


def annotate(image: Input, regions: Iterable[tuple[Region, float]], category: str) -> list[AnnotatedRow]:
    """The rows of an image's instances, which are of one category."""
    return [
        AnnotatedRow(
            image.id,
            str(image.path),
            number,
            category,
            score,
            region.left,
            region.top,
            region.mask.shape[1],
            region.mask.shape[0],
            int(np.count_nonzero(region.mask)),
            json.dumps(_annotation(region), separators=(",", ":")),
        )
        for number, (region, score) in enumerate(regions, 1)
    ]


def label_instances(shape: tuple[int, ...], regions: Sequence[tuple[Region, float]]) -> np.ndarray:
    """Number the pixels of an image by its instances.

    Args:
        shape: (H, W).
        regions: the instances. Where some overlap, the pixels are the first's.

    Returns:
        (H, W) uint8, of more than 255 instances uint16; 0 = none, k = the k-th.
    """
    labels = np.zeros(shape, np.uint8 if len(regions) <= 255 else np.uint16)
    for number in range(len(regions), 0, -1):
        region, _ = regions[number - 1]
        region.of(labels)[region.mask] = number
    return labels


def _annotation(region: Region) -> dict[str, Any]:
    # As polygons, which Label Studio reads, too; it takes but the first of an instance in pieces.
    polygons = edge_polygons(region.mask.view(np.uint8))
    areas = [cv2.contourArea(corners.astype(np.int32)) for corners in polygons]
    segmentation = [
        (polygons[number] + (region.left, region.top)).ravel().tolist() for number in np.argsort(np.negative(areas))
    ]
    height, width = region.mask.shape
    # Their area, holes included.
    return dict(
        segmentation=segmentation, area=int(sum(areas)), bbox=[region.left, region.top, width, height], iscrowd=0
    )


def write_instances(
    folder: Path, images: Mapping[str, Mapping[str, Any]], rows: Mapping[str, Sequence[AnnotatedRow]], category: str
) -> None:
    """Write `instances.csv` and `instances.json` of the images that were predicted.

    Args:
        folder: where to.
        images: by id, `file_name`, `height` and `width` in pixels.
        rows: of their instances, by the images' ids.
        category: what the instances are.
    """
    header = [field.name for field in fields(InstanceRow)]
    found = [row for id in images for row in rows.get(id, ())]
    table = [{name: value for name, value in asdict(row).items() if name in header} for row in found]
    write_text(folder / INSTANCE_TABLE, csv_text(header, table, DIGITS))
    numbers = {id: number for number, id in enumerate(images, 1)}
    annotations = (
        # As in the table, so that a run that was taken up gives the same file as one that was not.
        dict(
            id=number,
            image_id=numbers[row.id],
            category_id=1,
            **json.loads(row.annotation),
            score=round(row.score, DIGITS),
        )
        for number, row in enumerate(found, 1)
    )
    lists = dict(
        categories=[to_line(dict(id=1, name=category))],
        images=[to_line(dict(id=numbers[id], **image)) for id, image in images.items()],
        # Far smaller as text.
        annotations=list(map(to_line, annotations)),
    )
    info = dict(description="Predicted instances", version=f"lesionseg {__version__}", segmentation="polygons")
    write_text(folder / INSTANCE_COCO, lists_text(info, lists))


def rows_by_id(rows: Iterable[Numbered]) -> dict[str, list[Numbered]]:
    """The rows of each image; of an instance that is told twice, as after a run that was killed, the last one."""
    found: dict[str, dict[int, Numbered]] = {}
    for row in rows:
        found.setdefault(row.id, {})[row.instance] = row
    return {id: list(of_image.values()) for id, of_image in found.items()}
