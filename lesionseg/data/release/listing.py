"""What an input holds, whatever its layout: pairs of images and masks, and what is wrong with them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lesionseg.data.names import left_out
from lesionseg.data.sources import Source
from lesionseg.errors import first_names

SPLITS = ("training", "validation", "test")


@dataclass(frozen=True)
class Pair:
    """An image and its mask.

    Attributes:
        id: the name of both without extension, `ISIC_0000000`, or with sub-folders `1/abc`.
        split: training, validation or test.
    """

    id: str
    split: str
    image: Source
    mask: Source


@dataclass
class Listing:
    """What an input holds, judged by names alone: no picture has been opened yet.

    Attributes:
        roots: the folders that were searched.
        pairs: images with their masks, in the order of split and id.
        faults: what keeps the input from being converted, a line each.
        notes: what the user should know, a line each.
    """

    roots: list[Path]
    pairs: list[Pair] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def match(self, split: str, images: "Named", masks: "Named", expected: tuple[str, str], advice: str) -> None:
        """Add the pairs of one split, and a fault for what occurs twice or has no partner.

        Args:
            split: the split of these pairs.
            images, masks: where they lie and what they are called.
            expected: the name that an image should have, and a mask.
            advice: the next step where something is missing.
        """
        image_of, mask_of = (self._one_a_name(named) for named in (images, masks))
        for found, others, place, kind, other_kind, name in (
            (image_of, mask_of, images.where, "image", "mask", expected[0]),
            (mask_of, image_of, masks.where, "mask", "image", expected[1]),
        ):
            missing = sorted(others.keys() - found.keys())
            if not found:
                self.faults.append(f"{place}: there is no {kind} in it, expected {name}. {advice}")
            elif missing:
                self.faults.append(
                    f"{place}: {len(missing)} of {len(others)} {other_kind}s have no {kind} ({first_names(missing)}), "
                    f"expected {name}. {advice}"
                )
        self.pairs += [Pair(id, split, image_of[id], mask_of[id]) for id in sorted(image_of.keys() & mask_of.keys())]

    def note_left_out(self, sources: Iterable[Source], what: str) -> None:
        """Tell which files are not used, part by part."""
        names = defaultdict(list)
        for source in sources:
            names[source.part].append(source.name)
        self.notes += [f"{part}: {note}" for part, others in names.items() for note in left_out(others, f"no {what}")]

    def _one_a_name(self, named: "Named") -> dict[str, Source]:
        found: dict[str, Source] = {}
        twice = []
        for id, source in named.sources:
            if id in found:
                twice.append(f"{id} as {found[id].name} and {source.name}")
            found.setdefault(id, source)
        if twice:
            self.faults.append(
                f"{named.where}: {len(twice)} of {len(found)} ids occur more than once ({first_names(twice)}), "
                "expected one file each. Remove the others."
            )
        return found


@dataclass(frozen=True)
class Named:
    """Images or masks with their ids.

    Attributes:
        where: what a message calls the place.
        sources: id and file.
    """

    where: str | Path
    sources: Sequence[tuple[str, Source]]
