"""A gallery of images, which sorts and filters in the browser."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from lesionseg.documents.page import paragraph, term, text
from lesionseg.documents.thumbnails import Thumbnail
from lesionseg.pixels.pictures import quiet_opencv
from lesionseg.workers import map_files

# More would make a page that no browser opens with ease.
MOST_CARDS = 5_000
# Images that are drawn within a second or two.
_SHORT = 100

Item = TypeVar("Item")


class Measure(NamedTuple):
    """A number that every image has.

    Attributes:
        name: such as `Jaccard`.
        meaning: in a sentence.
        form: how it is written, as `format` takes it.
        falling: whether the largest are the first to look at.
    """

    name: str
    meaning: str = ""
    form: str = ".3f"
    falling: bool = False

    @property
    def unit(self) -> str:
        """`%` where it is written so."""
        return "%" * self.form.endswith("%")


# Of pages about images and about their masks.
PARTS = Measure("parts", "Pieces of the mask that do not touch each other.", ".0f", falling=True)
MEGAPIXELS = Measure("megapixels", "Width times height of the image.", ".2f")


class Card(NamedTuple):
    """An image in a gallery.

    Attributes:
        id: of the image.
        values: a number for each measure; None where there is none.
        thumbnail: the image itself, if it is shown.
        tags: words to filter by, such as the split.
    """

    id: str
    values: Sequence[float | None]
    thumbnail: Thumbnail | None = None
    tags: Sequence[str] = ()


def spread(items: Sequence[Item], most: int = MOST_CARDS) -> Sequence[Item]:
    """So many of the items at most, evenly spread over all.

    Example:
        >>> spread("abcdef", 3)
        ['a', 'c', 'e']
    """
    return [items[len(items) * number // most] for number in range(most)] if len(items) > most else items


def draw(card: Callable[[Item], Card], items: Sequence[Item]) -> list[Card]:
    """Make the cards of a gallery on all cores, with a progress bar where that takes a while."""
    with quiet_opencv(threads=1):
        return list(map_files(card, items, "drawing" if len(items) > _SHORT else None))


def gallery(cards: Sequence[Card], measures: Sequence[Measure], images: int | None = None) -> str:
    """Show images with all their numbers.

    Args:
        cards: the images, at least one. What is shown first are those with the least, or of a falling measure the most,
            of the first measure.
        measures: what their numbers are.
        images: how many there are in all, where not all are shown.
    """
    drawn = [card.thumbnail for card in cards if card.thumbnail]
    outlines = [name for name in ("truth", "prediction") if any(getattr(each, name) for each in drawn)]
    switches = "".join(
        f'<label class="key {name}"><input type="checkbox" data-outline="{name}" checked>{name}</label>'
        for name in outlines
    )
    options = "".join(
        f'<option value="{number}" data-falling="{int(measure.falling)}" data-unit="{measure.unit}">'
        f"{text(measure.name)}</option>"
        for number, measure in enumerate(measures)
    )
    size = (
        '<label class="size">Size <input type="range" data-do="size" min="110" max="420" value="190"></label>'
        if drawn
        else ""
    )
    legend = "".join(f'<span class="key {name}">{name}</span>' for name in outlines)
    chosen = ""
    if images is not None and images > len(cards):
        chosen = paragraph(f"Of {images:,} images, {len(cards):,} are shown here, evenly spread over all.")
    names = ", ".join(term(measure.name, measure.meaning) for measure in measures)
    return (
        f'{chosen}<div class="gallery">'
        '<form class="controls" role="search" hidden>'
        f'<label>Sort by <select data-do="sort"><option value="id">id</option>{options}</select></label>'
        '<button type="button" data-do="turn" aria-label="turn the order around">↑</button>'
        '<label>Find <input type="search" data-do="find" placeholder="part of an id" autocomplete="off"></label>'
        '<span class="range"><label><span data-sorted>value</span> from <input type="number" step="any" '
        'data-do="least"></label> <label>to <input type="number" step="any" data-do="most"></label></span>'
        f'{size}<span class="keys">{switches}</span><output aria-live="polite"></output></form>'
        f'<p class="keys">{legend}</p><p class="names">What the numbers say: {names}</p>'
        f'<ul class="cards">{"".join(_card(card, measures) for card in cards)}</ul></div>'
    )


def _card(card: Card, measures: Sequence[Measure]) -> str:
    numbers = [None if value is None or math.isnan(value) else value for value in card.values]
    rows = "".join(
        f"<div><dt>{text(measure.name)}</dt><dd>{'-' if value is None else format(value, measure.form)}</dd></div>"
        for measure, value in zip(measures, numbers, strict=True)
    )
    # In the unit that is read, and typed as a bound.
    values = " ".join(
        "-" if value is None else f"{value * (100 if measure.unit else 1):.6g}"
        for measure, value in zip(measures, numbers, strict=True)
    )
    tags = "".join(f'<span class="tag">{text(tag)}</span>' for tag in card.tags if tag)
    shown = card.thumbnail.html(card.id) if card.thumbnail else ""
    found = text(" ".join([card.id, *card.tags]).lower())
    return f'<li data-find="{found}" data-values="{values}">{shown}<h3>{text(card.id)}{tags}</h3><dl>{rows}</dl></li>'
