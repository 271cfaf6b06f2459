"""What follows from the rest of a COCO file, whatever its maker wrote there: numbers, names, boxes, areas."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote, urlsplit

from lesionseg.data.coco.lists import Entry
from lesionseg.data.coco.segmentation import box_and_area, read_segmentation
from lesionseg.data.names import plain
from lesionseg.errors import DataError, first_names

# Tools differ in whether a box reaches to the middle of a pixel, to its edge, or to the next pixel.
_BOX_TOLERANCE = 2
# Areas of polygons and of the pixels in them differ; a factor is another unit, or another shape.
_AREA_FACTOR = 2


def make_plain(coco: Mapping[str, list[Entry]]) -> None:
    """Change what means the same in other words; what means nothing is left to `check_lists`.

    Ids and sizes such as 72.0, as pandas writes them, become whole numbers, and references the kind of what they
    refer to. File names of Windows get forward slashes; of web addresses and of paths from a drive only the last part
    is the name of a file here.
    """
    for image in coco["images"]:
        _make_whole(image, "id", "height", "width")
        if isinstance(image.get("file_name"), str):
            image["file_name"] = plain_name(image["file_name"])
    for category in coco["categories"]:
        _make_whole(category, "id")
    for annotation in coco["annotations"]:
        _make_whole(annotation, "id", "image_id", "category_id")
    for key, entries in (("image_id", coco["images"]), ("category_id", coco["categories"])):
        kinds = {type(entry.get("id")) for entry in entries}
        for annotation in coco["annotations"]:
            number = annotation.get(key)
            if kinds == {int} and isinstance(number, str) and re.fullmatch("[0-9]{1,18}", number):
                annotation[key] = int(number)
            elif kinds == {str} and type(number) is int:
                annotation[key] = str(number)


def plain_name(name: str) -> str:
    """The name of a file as it is here.

    Example:
        >>> plain_name("images\\\\a.jpg"), plain_name("https://example.org/upload/a%20b.jpg?token=1")
        ('images/a.jpg', 'a b.jpg')
    """
    if re.match("[A-Za-z][A-Za-z0-9+.-]+://", name):
        try:
            return PurePosixPath(unquote(urlsplit(name).path)).name or name
        except ValueError:
            return name
    path = PureWindowsPath(name)
    if path.drive:
        return path.name or name
    return name.replace("\\", "/")


def find_names(coco: Mapping[str, list[Entry]], there: Iterable[str]) -> None:
    """Change names of checked lists to those of files: a file of another folder's name, where only one is called so.

    Args:
        coco: the lists.
        there: the files below the folder of the images.
    """
    known = {plain(file): file for file in there}
    by_name: dict[str, list[str]] = {}
    for name, file in known.items():
        by_name.setdefault(PurePosixPath(name).name, []).append(file)
    for image in coco["images"]:
        name = str(PurePosixPath(image["file_name"]))
        same = by_name.get(PurePosixPath(plain(name)).name, [])
        image["file_name"] = known.get(plain(name)) or (same[0] if len(same) == 1 else name)


def derive(path: Path, coco: Mapping[str, list[Entry]]) -> list[str]:
    """Set boxes, areas and numbers of checked lists anew, as pycocotools and MMDetection need them.

    pycocotools takes annotation 0 for none at all, and MMDetection trains on boxes without looking at masks.

    Returns:
        What was other than it had to be, in a few words each.

    Raises:
        DataError: a segmentation cannot be drawn, or has no pixel.
    """
    sizes = {image["id"]: (image["height"], image["width"], image["file_name"]) for image in coco["images"]}
    boxes, areas, empty = [], [], []
    for annotation in coco["annotations"]:
        height, width, file_name = sizes[annotation["image_id"]]
        name = f"{path}: annotation {annotation.get('id')} of {file_name}"
        parts = read_segmentation(annotation.get("segmentation"), height, width, name)
        box, area = box_and_area(parts, height, width)
        if not area:
            empty.append(str(annotation.get("id")))
        if not _is_box(annotation.get("bbox"), box):
            boxes.append(str(annotation.get("id")))
        if not _is_area(annotation.get("area"), area):
            areas.append(str(annotation.get("id")))
        annotation.update(bbox=box, area=area)
        # Numbers written as text, or with a point, are read here and nowhere else.
        if isinstance(parts, list):
            annotation["segmentation"] = [corners.ravel().tolist() for corners in parts]
        else:
            annotation["segmentation"]["size"] = [height, width]
            if isinstance(annotation["segmentation"]["counts"], list):
                annotation["segmentation"]["counts"] = parts.tolist()
    if empty:
        raise DataError(
            f"{path}: {len(empty)} of {len(coco['annotations'])} annotations have no pixel in their segmentation "
            f"({first_names(empty)}), expected one or more. Draw them again, or remove them."
        )
    found = [
        f"{len(ids)} annotations had another {what} than their segmentations ({first_names(ids)}), computed anew"
        for what, ids in (("bbox", boxes), ("area", areas))
        if ids
    ]
    return [*found, *_number(coco)]


def _number(coco: Mapping[str, list[Entry]]) -> list[str]:
    """Number what has no numbers that pycocotools can count by."""
    notes = []
    for key, name in (("image_id", "images"), ("category_id", "categories")):
        if not all(_is_number(entry["id"]) for entry in coco[name]):
            numbers = {entry["id"]: number for number, entry in enumerate(coco[name], 1)}
            for entry in coco[name]:
                entry["id"] = numbers[entry["id"]]
            for annotation in coco["annotations"]:
                annotation[key] = numbers[annotation[key]]
            notes.append(f"{name} were numbered anew, as their ids are no numbers")
    ids = [annotation.get("id") for annotation in coco["annotations"]]
    if not all(_is_number(id, least=1) for id in ids) or len(set(ids)) < len(ids):
        for number, annotation in enumerate(coco["annotations"], 1):
            annotation["id"] = number
        notes.append("annotations were numbered anew from 1, as their ids are not all numbers from 1, each once")
    return notes


def _make_whole(entry: Entry, *keys: str) -> None:
    for key in keys:
        if isinstance(entry.get(key), float) and entry[key].is_integer():
            entry[key] = int(entry[key])


def _is_number(id: Any, least: int = 0) -> bool:
    # pycocotools counts in float64.
    return type(id) is int and least <= id < 2**53


def _is_box(given: Any, box: Sequence[float]) -> bool:
    if not isinstance(given, list) or len(given) != 4 or not all(type(edge) in (int, float) for edge in given):
        return False
    (left, top, width, height), (x, y, w, h) = given, box
    edges = (left - x, top - y, left + width - x - w, top + height - y - h)
    # Written so that NaN is no box.
    return all(abs(distance) <= _BOX_TOLERANCE for distance in edges)


def _is_area(given: Any, area: int) -> bool:
    return type(given) in (int, float) and area / _AREA_FACTOR <= given <= area * _AREA_FACTOR
