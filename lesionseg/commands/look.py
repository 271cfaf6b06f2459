"""Looks at a data set before it is trained on: look.html."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import cv2
import numpy as np

from lesionseg.cli import check_exists
from lesionseg.data.lists import read_table
from lesionseg.data.names import with_finding
from lesionseg.data.oddities import Measured, find_oddities
from lesionseg.data.release.data_set_folder import INDEX, read_groups_of
from lesionseg.data.release.layouts.data_set import find_data_set
from lesionseg.data.release.listing import SPLITS, Pair
from lesionseg.documents.charts import histogram
from lesionseg.documents.gallery import MEGAPIXELS, PARTS, Card, Measure, gallery, spread
from lesionseg.documents.page import figures, page, paragraph, remarks, section, side_by_side, table
from lesionseg.documents.thumbnails import Thumbnail, read_small, thumbnail
from lesionseg.errors import DataError
from lesionseg.pixels.masks import border_share, count_components, lesion_pixels, read_mask
from lesionseg.pixels.pictures import picture_size, quiet_opencv
from lesionseg.tables import Grid
from lesionseg.workers import map_files

PAGE = "look.html"
# At the end of a conversion: more would make it notably longer.
SAMPLE = 60

_AREA = "Lesion pixels over all pixels of the mask."
_BRIGHTNESS = "Mean gray of the image, from 0, black, to 1, white."
_BORDER = "The share of the image's border that is lesion. Much of it: the lesion is cut off, or the mask inverted."
_OF_IMAGE = (
    Measure("lesion area", _AREA, ".1%"),
    PARTS,
    Measure("brightness", _BRIGHTNESS, ".2f"),
    Measure("on the border", _BORDER, ".1%", falling=True),
    MEGAPIXELS,
)


@dataclass(frozen=True)
class Look:
    """What was seen of a data set.

    Attributes:
        rows: a row for every mask that could be read.
        oddities: what a person should look at, a sentence each.
        cards: the images that are shown.
        looked_at: how many masks were opened; of the others, numbers are those of index.csv.
    """

    rows: Sequence[Measured]
    oddities: Sequence[str]
    cards: Sequence[Card]
    looked_at: int


def look_at(folder: Path, sample: int | None = None, workers: int | None = None) -> Look:
    """Look at a data set folder.

    Args:
        folder: as `tools/convert_isic.py` writes it.
        sample: how many masks are opened, evenly spread over all, where index.csv tells the rest; None for all.
        workers: how many threads work; None for one a core.

    Raises:
        DataError: there is no pair of an image and a mask in it that can be read.
        OSError: a folder cannot be read.
    """
    check_exists(folder, "a data set folder")
    listing = find_data_set(folder)
    if not listing.pairs:
        raise DataError(*listing.faults)
    listing.set_groups(read_groups_of(folder))
    pairs = listing.pairs
    opened = pairs if sample is None else spread(pairs, sample)
    shown = {_key(pair) for pair in spread(opened)}

    def see(pair: Pair) -> tuple[Measured, Card | None] | str:
        try:
            return _see(pair, len(shown), _key(pair) in shown)
        except (DataError, OSError) as error:
            return str(error)

    with quiet_opencv(threads=1):
        seen = list(map_files(see, opened, "looking" if sample is None else None, workers))
    faults = [*listing.faults, *(each for each in seen if isinstance(each, str))]
    found = [each for each in seen if not isinstance(each, str)]
    rows = [row for row, _ in found]
    if len(opened) < len(pairs):
        rows = _complete(folder, pairs, rows)
    if not rows:
        raise DataError(*faults)
    cards = [card for _, card in found if card]
    return Look(rows, [*faults, *find_oddities(rows)], cards, len(opened))


def look_page(folder: str | PathLike, look: Look) -> str:
    """Make the page of a data set."""
    rows = look.rows
    images = Counter(split for split, _ in {(row.split, row.id) for row in rows})
    name = os.path.basename(os.path.abspath(folder))
    about = ", ".join(f"{images[split]:,} {split}" for split in SPLITS if images[split]) + " images"
    good = remarks(["Nothing odd was found. See the images below all the same."], "good")
    sampled = ""
    if look.looked_at < len(rows):
        sampled = paragraph(
            f"Brightness and border were measured, and images are shown, of {look.looked_at} masks that are evenly "
            f"spread over all {len(rows):,}. tools/look.py {name} looks at all."
        )
    return page(
        f"Data set {name}",
        about,
        section("What to look at first", remarks(look.oddities) or good, sampled),
        section("Numbers", _headline(rows, sum(images.values())), table(_splits(rows))),
        section("How they spread", side_by_side(_histograms(rows))),
        section("Images with their masks", gallery(look.cards, _OF_IMAGE, len(rows)) if look.cards else ""),
    )


def _see(pair: Pair, images: int, shown: bool) -> tuple[Measured, Card | None]:
    """Measure a pair, and make its card where it is shown."""
    image_path, mask_path = pair.image.path, pair.mask.path
    assert image_path is not None
    assert mask_path is not None
    height, width = picture_size(image_path)
    lesion = lesion_pixels(read_mask(mask_path))
    if lesion.shape != (height, width):
        raise DataError(
            f"{mask_path}: {lesion.shape[1]}x{lesion.shape[0]} pixels, expected the {width}x{height} of its image. "
            "Put the matching file there."
        )
    image = read_small(image_path, (height, width), images)
    row = Measured(
        pair.id,
        pair.split,
        pair.finding,
        pair.group,
        width,
        height,
        cv2.countNonZero(lesion.view(np.uint8)) / lesion.size,
        count_components(lesion.view(np.uint8)),
        float(cv2.mean(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))[0]) / 255,
        border_share(lesion),
    )
    return row, _card(row, thumbnail(image, dict(truth=lesion), images)) if shown else None


def _card(row: Measured, picture: Thumbnail) -> Card:
    megapixels = row.width * row.height / 1e6
    values = [row.lesion_share, row.components, row.brightness, row.border_share, megapixels]
    return Card(row.id, values, picture, [row.split, row.finding])


def _complete(folder: Path, pairs: Sequence[Pair], seen: Iterable[Measured]) -> list[Measured]:
    """The rows of all pairs: those that were measured, and of the others what index.csv has."""
    measured = {(row.split, row.finding, row.id): row for row in seen}
    index = {(row["split"], row.get("finding", ""), row["id"]): row for row in read_table(folder / INDEX).rows}
    rows = []
    for pair in pairs:
        key = _key(pair)
        if key in measured:
            rows.append(measured[key])
        elif known := index.get(key):
            size, share = (int(known["width"]), int(known["height"])), float(known["lesion_share"])
            rows.append(Measured(pair.id, pair.split, pair.finding, pair.group, *size, share, int(known["components"])))
    return rows


def _key(pair: Pair) -> tuple[str, str, str]:
    return pair.split, pair.finding, pair.id


def _headline(rows: Sequence[Measured], images: int) -> str:
    shares = [row.lesion_share for row in rows]
    sizes = [f"{row.width}x{row.height}" for row in rows]
    several = sum(row.components > 1 for row in rows)
    empty = sum(share == 0 for share in shares)
    (size, count), *_ = Counter(sizes).most_common(1)
    return figures(
        [
            ("images", f"{images:,}", ""),
            ("masks", f"{len(rows):,}", "One of an image, or one for each finding that was looked for in it."),
            ("most frequent size", size, f"{count:,} of {len(rows):,}, of {len(set(sizes)):,} different sizes."),
            ("median lesion area", f"{np.median(shares):.1%}", _AREA),
            ("masks of several parts", f"{several:,}", PARTS.meaning),
            ("empty masks", f"{empty:,}", "Masks without a lesion."),
        ]
    )


def _splits(rows: Sequence[Measured]) -> Grid:
    """What splits should have in common, side by side."""
    cells = []
    for split, finding in sorted({(row.split, row.finding) for row in rows}, key=lambda each: SPLITS.index(each[0])):
        own = [row for row in rows if (row.split, row.finding) == (split, finding)]
        low, median, high = np.percentile([row.lesion_share for row in own], [5, 50, 95])
        bright = [row.brightness for row in own if row.brightness is not None]
        cells.append(
            [
                with_finding(split, finding),
                f"{len(own):,}",
                f"{median:.1%}",
                f"{low:.1%} to {high:.1%}",
                f"{np.mean([row.components for row in own]):.2f}",
                f"{np.median(bright):.2f}" if bright else "-",
            ]
        )
    header = ["split", "masks", "median lesion area", "90% of them", "mean parts", "median brightness"]
    return Grid(header, cells, "Splits should be alike", ("split",))


def _histograms(rows: Sequence[Measured]) -> list[str]:
    images = list({(row.split, row.id): row for row in rows}.values())
    return [
        histogram("Lesion area, share of the image", [row.lesion_share for row in rows], ".0%"),
        histogram("Parts of a mask", [row.components for row in rows], ".0f", whole=True),
        histogram("Longer edge, pixels", [max(row.width, row.height) for row in images], ".0f"),
        histogram(
            "Brightness", [row.brightness for row in images if row.brightness is not None], ".2f", note=_BRIGHTNESS
        ),
        histogram(
            "Border that is lesion",
            [row.border_share for row in rows if row.border_share is not None],
            ".0%",
            note=_BORDER,
        ),
    ]
