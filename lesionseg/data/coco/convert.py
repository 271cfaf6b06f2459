"""The masks of a data set folder as COCO files, and any COCO file as masks."""

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lesionseg import __version__
from lesionseg.data.coco.derive import make_plain
from lesionseg.data.coco.lists import category_ids, check_lists, lists_text, mask_name, read_lists, to_line
from lesionseg.data.coco.segmentation import decode_segmentation, describe_instance, split_instances
from lesionseg.data.release.layouts.data_set import find_data_set
from lesionseg.data.release.listing import SPLITS, Listing, Pair
from lesionseg.data.sources import is_clutter, list_files
from lesionseg.errors import DataError, first_names
from lesionseg.files import lock, lock_folder, write_aside, written_path
from lesionseg.pixels.masks import encode_mask, lesion_pixels, read_mask
from lesionseg.pixels.pictures import picture_size
from lesionseg.workers import map_files

Item = TypeVar("Item")
Result = TypeVar("Result")

CATEGORY = "lesion"

_MOST_FAULTS = 5


@dataclass
class Made:
    """What a conversion has made.

    Attributes:
        counts: file or folder -> how many images and how many instances.
        notes: what the user should know, a line each.
    """

    counts: dict[Path, tuple[int, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Style:
    """How masks become annotations.

    Attributes:
        instances: "whole" for one instance a mask, "components" for one per 8-connected component.
        min_area: pixels; smaller instances are dropped.
        category: the name of the only category, whose id is 1.
        polygons: write polygons, which fill the holes, in place of exact RLE.
    """

    instances: str = "whole"
    min_area: int = 1
    category: str = CATEGORY
    polygons: bool = False


def masks_to_coco(folder: str | PathLike, style: Style = Style(), overwrite: bool = False) -> Made:
    """Write annotations/instances_<split>.json for every split of a data set folder.

    None is put in place before all are written, though they take their places one after the other.

    The same masks give the same bytes. `file_name` is the path below images/<split>, and an image
    without an instance is listed too.

    Args:
        folder: holds images/<split>/<id>.jpg and annotations/<split>/<id>.png, or <id>_segmentation.png.
        style: how masks become annotations.
        overwrite: whether earlier files may be replaced.

    Raises:
        DataError: not a folder, there is no split or an unpaired file, a mask cannot be used or has another size than
            its image, a split has no instance, a file is in the way, or the file of a split that is not here
            has other categories or is broken.
        OSError: the folder cannot be read or written.

    Example:
        >>> made = masks_to_coco("data/MINE", Style("components", min_area=20))
        >>> {path.name: images for path, (images, instances) in made.counts.items()}
        {'instances_training.json': 2}
    """
    folder = Path(folder)
    if folder.is_file():
        raise DataError(
            f"{folder}: a file, expected a data set folder. Name the folder, or add --to-masks OUT to draw a COCO file."
        )
    listing = find_data_set(folder)
    if findings := sorted({pair.finding for pair in listing.pairs} - {""}):
        raise DataError(
            f"{folder}: a mask for each finding ({first_names(findings)}), expected one mask an image. Make a data set "
            "folder of one finding, with its masks in annotations/<split>."
        )
    if not listing.pairs:
        raise DataError(*listing.faults)
    with lock_folder(folder / "annotations", "masks2coco"):
        return _write_files(folder, listing, style, overwrite)


def _write_files(folder: Path, listing: Listing, style: Style, overwrite: bool) -> Made:
    files = {split: _json_path(folder, split) for split in dict.fromkeys(pair.split for pair in listing.pairs)}
    earlier = [path for path in files.values() if path.is_file()]
    # Of a run that was killed while it put them in place; they have to be what this one makes.
    some = not overwrite and 0 < len(earlier) < len(files)
    faults = [*listing.faults, *_obstacles(folder, files.values(), style.category, overwrite or some)]
    if faults:
        raise DataError(*faults)
    entries = {split: _Entries() for split in files}
    results = _convert_all(partial(_annotate, style=style), listing.pairs, "masks to COCO", folder)
    for pair, result in zip(listing.pairs, results, strict=True):
        entries[pair.split].add(pair, result)
    faults = [
        f"{folder / 'annotations' / split}: none of its {len(found.images)} masks has an instance, expected one of "
        f"{style.min_area} pixels or more, gray above 128. Check the masks and --min-area."
        for split, found in entries.items()
        if not found.annotations
    ]
    if faults:
        raise DataError(*faults)
    texts = {split: found.to_json(style) for split, found in entries.items()}
    faults = [
        _in_the_way(path)
        for split, path in files.items()
        if some and path in earlier and path.read_bytes() != texts[split].encode()
    ]
    if faults:
        raise DataError(*faults)
    made = Made(notes=listing.notes)
    with ExitStack() as stack:
        for split, found in entries.items():
            stack.enter_context(write_aside(files[split])).write_text(texts[split], encoding="utf-8")
            made.counts[files[split]] = len(found.images), len(found.annotations)
            made.notes += [f"{files[split]}: {note}" for note in found.notes(style)]
    return made


def coco_to_masks(json_path: str | PathLike, out_dir: str | PathLike, category: str | None = None) -> Made:
    """Draw the instances of each image of a COCO file into one mask, <id>.png with 0 and 255.

    The id is `file_name` without its extension; its folders are kept. An image without annotations gets an empty mask.

    Args:
        json_path: a COCO file with images, annotations and categories; RLE, compressed or not, or polygons.
        out_dir: a new or empty folder, or one with these very masks; it is made whole or not at all.
        category: draw only instances of that name; may be left out where the annotations have but one.

    Raises:
        DataError: all faults of the file, in its lists or else in its segmentations, or the folder is in the way.
        OSError: the file cannot be read, or the folder not written.

    Example:
        >>> made = coco_to_masks("annotated.json", "masks", category="lesion")
        >>> made.counts[Path("masks")]  # images and instances
        (2, 2)
    """
    path, out = Path(json_path), written_path(out_dir)
    if path.is_dir():
        raise DataError(f"{path}: a folder, expected a COCO file (JSON). Name the file, or leave --to-masks out.")
    there = os.path.lexists(out) and (not out.is_dir() or any(out.iterdir()))
    coco = read_lists(path)
    make_plain(coco)
    check_lists(path, coco)
    wanted = category_ids(path, coco, category)
    if there and not _holds_only(out, {str(mask_name(image)) for image in coco["images"]}):
        raise _already_there(out)
    annotations = defaultdict(list)
    for annotation in coco["annotations"]:
        if annotation["category_id"] in wanted:
            annotations[annotation["image_id"]].append(annotation)
    jobs = [(image, annotations[image["id"]]) for image in coco["images"]]
    with lock(out.with_name(f".{out.name}.lock"), out), _same_folder(out) if there else write_aside(out) as aside:
        for image in coco["images"]:
            (aside / mask_name(image)).parent.mkdir(parents=True, exist_ok=True)
        for _ in _convert_all(partial(_draw, path=path, folder=aside), jobs, "COCO to masks", path):
            pass
    empty = [image["file_name"] for image, instances in jobs if not instances]
    notes = [f"{out}: {len(empty)} of {len(jobs)} masks are empty ({first_names(empty)})"] if empty else []
    return Made({out: (len(jobs), sum(len(instances) for _, instances in jobs))}, notes)


def _holds_only(folder: Path, names: Collection[str]) -> bool:
    # Of what else is there, which may be a whole disk, no more than the first level is looked at.
    first = {name.partition("/")[0] for name in names}
    alike = folder.is_dir() and all(path.name in first or is_clutter(path.name) for path in folder.iterdir())
    return alike and {source.name for source in list_files(folder)} == names


@contextmanager
def _same_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder whose files have to become those that are there: a run that was killed when all was done
    may be run again.
    """
    with tempfile.TemporaryDirectory() as aside:
        yield Path(aside)
        for source in list_files(Path(aside)):
            if (folder / source.name).read_bytes() != source.read():
                raise _already_there(folder)


def _already_there(out: Path) -> DataError:
    return DataError(f"{out}: already there, expected a new or empty folder. Remove it or choose another.")


def _json_path(folder: Path, split: str) -> Path:
    return folder / "annotations" / f"instances_{split}.json"


def _obstacles(folder: Path, files: Collection[Path], category: str, overwrite: bool) -> list[str]:
    """Faults where files are in the way, or where those that stay beside them speak of other categories."""
    faults = []
    for path in (_json_path(folder, split) for split in SPLITS):
        if not path.exists():
            continue
        if not path.is_file():
            faults.append(f"{path}: not a file, expected one or nothing there. Move it away.")
        elif path not in files:
            try:
                names = sorted({str(entry.get("name")) for entry in read_lists(path)["categories"]})
            except DataError:
                faults.append(f"{path}: not a COCO file, expected one of a split that is not here. Remove it.")
                continue
            if names != [category]:
                faults.append(
                    f"{path}: its categories are {first_names(names) or 'none'}, expected {category} in all splits. "
                    "Choose the same with --category, or remove the file."
                )
        elif not overwrite:
            faults.append(_in_the_way(path))
    return faults


def _in_the_way(path: Path) -> str:
    return f"{path}: exists, expected nothing there. Move it away or pass --overwrite."


def _convert_all(
    convert: Callable[[Item], Result], items: Sequence[Item], description: str, where: Path
) -> Iterator[Result]:
    """Convert items on all cores, in their order; their faults, where there are any, once all have been looked at."""

    def attempt(item: Item) -> Result | DataError:
        try:
            return convert(item)
        except DataError as error:
            return error

    faults: list[str] = []
    for result in map_files(attempt, items, description):
        if isinstance(result, DataError):
            faults += result.args
        elif not faults:
            yield result
    if len(faults) > _MOST_FAULTS:
        faults[_MOST_FAULTS:] = [f"{where}: {len(faults)} such faults in all, expected none. Mend the others too."]
    if faults:
        raise DataError(*faults)


@dataclass(frozen=True)
class _Annotated:
    """A mask in the words of COCO.

    Attributes:
        height, width: pixels.
        annotations: of its instances, without ids.
        dropped: how many instances were too small.
        pixels: lesion pixels of the instances that were not.
        changed: how many pixels polygons have changed.
    """

    height: int
    width: int
    annotations: list[dict[str, Any]]
    dropped: int
    pixels: int
    changed: int


def _annotate(pair: Pair, style: Style) -> _Annotated:
    # A data set folder, no archive.
    assert pair.image.path is not None
    assert pair.mask.path is not None
    lesion = lesion_pixels(read_mask(pair.mask.path))
    (height, width), size = lesion.shape, picture_size(pair.image.path)
    if size != (height, width):
        raise DataError(
            f"{pair.mask.path}: {width}x{height} pixels, expected the {size[1]}x{size[0]} of {pair.image.path}. "
            "Put the matching mask there."
        )
    annotations = []
    dropped = pixels = changed = 0
    for instance in split_instances(lesion, style.instances):
        area = int(np.count_nonzero(instance))
        if area < style.min_area:
            dropped += 1
            continue
        annotation = describe_instance(instance, style.polygons)
        annotations.append(annotation)
        pixels += area
        if style.polygons:
            drawn = decode_segmentation(annotation["segmentation"], height, width, str(pair.mask.path))
            changed += int(np.count_nonzero(drawn != instance))
    return _Annotated(height, width, annotations, dropped, pixels, changed)


class _Entries:
    """The entries of one COCO file, each as a line of JSON: full-size polygons take far less memory as text."""

    def __init__(self) -> None:
        self.images: list[str] = []
        self.annotations: list[str] = []
        self.empty: list[str] = []
        self.dropped = self.pixels = self.changed = 0

    def add(self, pair: Pair, mask: _Annotated) -> None:
        image_id = len(self.images) + 1
        self.images.append(to_line(dict(id=image_id, file_name=pair.image.name, height=mask.height, width=mask.width)))
        for annotation in mask.annotations:
            number = len(self.annotations) + 1
            self.annotations.append(to_line(dict(id=number, image_id=image_id, category_id=1, **annotation)))
        if not mask.annotations:
            self.empty.append(pair.id)
        self.dropped += mask.dropped
        self.pixels += mask.pixels
        self.changed += mask.changed

    def to_json(self, style: Style) -> str:
        info = dict(
            description="Lesion masks as instances",
            version=f"lesionseg {__version__}",
            instances=style.instances,
            min_area=style.min_area,
            segmentation="polygons" if style.polygons else "RLE",
        )
        categories = [to_line(dict(id=1, name=style.category))]
        return lists_text(info, dict(categories=categories, images=self.images, annotations=self.annotations))

    def notes(self, style: Style) -> Iterator[str]:
        if self.empty:
            yield f"{len(self.empty)} of {len(self.images)} images have no instance ({first_names(self.empty)})"
        if self.dropped:
            yield f"dropped {self.dropped} instances of fewer than {style.min_area} pixels"
        if style.polygons:
            share = f"{self.changed / self.pixels:.4%} of the {self.pixels} lesion pixels"
            yield f"polygons have no holes, which changed {self.changed} pixels ({share})"


def _draw(job: tuple[dict[str, Any], list[dict[str, Any]]], path: Path, folder: Path) -> None:
    image, annotations = job
    height, width = image["height"], image["width"]
    mask = np.zeros((height, width), np.uint8)
    for annotation in annotations:
        name = f"{path}: annotation {annotation.get('id')} of {image['file_name']}"
        instance = decode_segmentation(annotation.get("segmentation"), height, width, name)
        if not instance.any():
            raise DataError(f"{name}: its segmentation has no pixel, expected some. Draw it again, or remove it.")
        mask |= instance
    (folder / mask_name(image)).write_bytes(encode_mask(mask))
