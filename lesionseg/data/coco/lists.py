"""The lists of a COCO file from anywhere: reading and checking them before a pixel is drawn."""

import json
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lesionseg.data.names import LONGEST_NAME, image_id, is_inside, is_too_long
from lesionseg.errors import DataError, first_names
from lesionseg.files import read_file

Entry = dict[str, Any]
# Of entries that a check has found at fault, what makes the fault, and what was expected with the next step.
Check = tuple[Sequence[Any], str, str]

# No picture is larger; a mask of this size takes 256 MiB.
_MOST_PIXELS = 2**28


def read_lists(path: Path) -> dict[str, list[Entry]]:
    """Read a COCO file; what stands in its entries is not looked at yet.

    Raises:
        DataError: not JSON, or without the lists images, annotations and categories.
        OSError: the file cannot be read.
    """
    data = read_file(path)
    if not data.strip():
        raise DataError(f"{path}: an empty file, expected COCO. Export it again.")
    try:
        coco = _read_json(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON file ({error}), expected COCO. Export it again.") from None
    missing = [
        name
        for name in ("images", "annotations", "categories")
        if not isinstance(coco, dict)
        or not isinstance(coco.get(name), list)
        or not all(isinstance(entry, dict) for entry in coco[name])
    ]
    if missing:
        raise DataError(f"{path}: no list of {' or '.join(missing)} in it, expected COCO. Export it as COCO instances.")
    return coco


def lists_text(info: Mapping[str, Any], lists: Mapping[str, Iterable[str]]) -> str:
    """Write a COCO file.

    Args:
        info: what is told of the file.
        lists: by name, such as `images`, their entries, each as `to_line` makes it.
    """
    body = "".join(f',\n"{name}":[\n' + ",\n".join(lines) + "\n]" for name, lines in lists.items())
    return f'{{"info":{to_line(info)}{body}}}\n'


def to_line(entry: Mapping[str, Any]) -> str:
    """An entry as JSON in one line."""
    return json.dumps(entry, separators=(",", ":"))


def check_lists(path: Path, coco: Mapping[str, list[Entry]]) -> None:
    """Raise DataError, with a line for each kind of fault in the lists; segmentations are not looked at."""
    images, annotations, categories = coco["images"], coco["annotations"], coco["categories"]
    if not images:
        raise DataError(f"{path}: its list of images is empty, expected one or more. Export it with its images.")
    ids_of_images = {image["id"] for image in images if _has_id(image)}
    ids_of_categories = {category["id"] for category in categories if _has_id(category)}
    checks: tuple[Check, ...] = (
        (
            [image.get("file_name", image.get("id")) for image in images if not _is_complete(image)],
            f"of {len(images)} images have no id, file_name, height or width",
            f"all four, sizes as whole numbers and at most {_MOST_PIXELS} pixels in all. Correct them.",
        ),
        (
            _repeated(image["id"] for image in images if _has_id(image)),
            "image ids occur more than once",
            "one image each. Renumber them.",
        ),
        *_name_checks([image for image in images if _has_name(image)]),
        (
            [entry.get("id") for entry in categories if not _has_id(entry) or not isinstance(entry.get("name"), str)],
            f"of {len(categories)} categories have no id or name",
            "both. Add them.",
        ),
        (
            _repeated(category["id"] for category in categories if _has_id(category)),
            "category ids occur more than once",
            "one category each. Renumber them.",
        ),
        (
            [entry.get("id") for entry in annotations if not _refers(entry, "image_id", ids_of_images)],
            f"of {len(annotations)} annotations have no image",
            "an image_id that is in the list of images. Complete the list, or remove them.",
        ),
        (
            [entry.get("id") for entry in annotations if not _refers(entry, "category_id", ids_of_categories)],
            f"of {len(annotations)} annotations have no category",
            "a category_id that is in the list of categories. Complete the list, or remove them.",
        ),
    )
    _raise_faults(path, checks)


def check_usable(path: Path, coco: Mapping[str, list[Entry]], names: Collection[str]) -> None:
    """Raise DataError where annotations in checked lists would be left out of a training, with a line for each reason.

    Args:
        path: what an error calls the file.
        coco: its lists.
        names: of the categories that are trained.
    """
    annotations = coco["annotations"]
    ids = {entry["id"] for entry in coco["categories"] if entry["name"] in names}
    checks = (
        (
            [entry.get("id") for entry in annotations if entry.get("iscrowd")],
            f"of {len(annotations)} annotations have iscrowd 1",
            "0, as crowds are left out of training and scores. CVAT writes 1 for brush masks: where each is a lesion, "
            'write "iscrowd": 0 in their entries, and nothing else has to change.',
        ),
        (
            [entry.get("id") for entry in annotations if entry.get("ignore")],
            f"of {len(annotations)} annotations have ignore set",
            'lesions to train on. Write "ignore": 0 in their entries, or remove them.',
        ),
        (
            [entry.get("id") for entry in annotations if entry["category_id"] not in ids],
            f"of {len(annotations)} annotations are of other categories",
            f"{', '.join(names)} alone. Remove them, or set metainfo in the config.",
        ),
    )
    _raise_faults(path, checks)


def category_ids(path: Path, coco: Mapping[str, list[Entry]], category: str | None) -> set[int | str]:
    """The ids that a category has in checked lists; without a name, all, where annotations are of one category only.

    Raises:
        DataError: there is no such category, or without a name there are several.
    """
    names = {entry["id"]: entry["name"] for entry in coco["categories"]}
    if category is None:
        # Annotation services add a category above all others, which no annotation is of.
        used = sorted({names[annotation["category_id"]] for annotation in coco["annotations"]})
        if len(used) > 1:
            raise DataError(
                f"{path}: its annotations are of the categories {first_names(used)}, expected one. "
                "Choose it with --category."
            )
        return set(names)
    if category not in names.values():
        there = first_names(sorted(names.values())) or "none"
        raise DataError(f"{path}: its categories are {there}, expected {category} among them. Check --category.")
    return {number for number, name in names.items() if name == category}


def mask_name(image: Entry) -> PurePosixPath:
    """The path of an image's mask below the folder of the masks."""
    return PurePosixPath(f"{image_id(image['file_name'])}.png")


def _read_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except UnicodeDecodeError:
        # Programs on Windows write the encoding of the country; in Europe and America that is this one.
        return json.loads(data.decode("cp1252"))


def _name_checks(images: Sequence[Entry]) -> Sequence[Check]:
    """What can be wrong with the names of images that have one."""
    masks = {mask_name(image) for image in images}
    return (
        (
            _repeated(str(mask_name(image)) for image in images),
            "masks would be written more than once",
            "images of different names. Rename them.",
        ),
        (
            [image["file_name"] for image in images if not is_inside(image["file_name"])],
            f"of {len(images)} file names lead out of the folder",
            "names below the folder of the images. Shorten them.",
        ),
        (
            [image["file_name"][:50] for image in images if not _can_be_written(image)],
            f"of {len(images)} file names are too long or hold characters that no file name can",
            f"at most {LONGEST_NAME} bytes a name. Rename them.",
        ),
        (
            [image["file_name"] for image in images if not masks.isdisjoint(mask_name(image).parents)],
            f"of {len(images)} masks lie in a folder that is called like another mask",
            "names that can stand side by side. Rename them.",
        ),
    )


def _raise_faults(path: Path, checks: Iterable[Check]) -> None:
    faults = [
        f"{path}: {len(wrong)} {fact} ({first_names(wrong)}), expected {expectation}"
        for wrong, fact, expectation in checks
        if wrong
    ]
    if faults:
        raise DataError(*faults)


def _has_id(entry: Entry) -> bool:
    return type(entry.get("id")) in (int, str)


def _has_name(image: Entry) -> bool:
    return isinstance(image.get("file_name"), str) and PurePosixPath(image["file_name"]).name != ""


def _is_complete(image: Entry) -> bool:
    sizes: tuple[Any, Any] = image.get("height"), image.get("width")
    whole = all(type(size) is int and size > 0 for size in sizes) and math.prod(sizes) <= _MOST_PIXELS
    return whole and _has_id(image) and _has_name(image)


def _can_be_written(image: Entry) -> bool:
    mask = mask_name(image)
    try:
        os.fsencode(image["file_name"])
        return "\0" not in str(mask) and not is_too_long(mask)
    except UnicodeEncodeError:
        return False


def _refers(annotation: Entry, key: str, ids: set[int | str]) -> bool:
    return type(annotation.get(key)) in (int, str) and annotation[key] in ids


def _repeated(values: Iterable[int | str]) -> list[int | str]:
    seen: set[int | str] = set()
    repeated = []
    for value in values:
        if value in seen:
            repeated.append(value)
        seen.add(value)
    return repeated
