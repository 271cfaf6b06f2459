"""What an input holds, whatever its layout: pairs of images and masks, and what is wrong with them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from lesionseg.data.names import left_out, with_finding
from lesionseg.data.sources import Source
from lesionseg.errors import first_names

SPLITS = ("training", "validation", "test")
# The folder of images without masks, beside those of the splits.
UNLABELLED = "unlabelled"


@dataclass(frozen=True)
class Pair:
    """An image and its mask.

    Attributes:
        id: the name of both without extension, `ISIC_0000000`, or with sub-folders `1/abc`.
        split: training, validation or test.
        finding: what the mask shows, `acne`; "" where that is not told apart. An image has a pair for each finding that
            was looked for in it.
        group: what its images have in common, such as a patient; "" where that is not known.
    """

    id: str
    split: str
    image: Source
    mask: Source
    finding: str = ""
    group: str = ""


class Found(NamedTuple):
    """An image or a mask; the finding of an image is "" where it is that of all masks of its id."""

    id: str
    source: Source
    finding: str = ""


@dataclass
class Listing:
    """What an input holds, judged by names alone: no picture has been opened yet.

    Attributes:
        roots: the folders that were searched.
        pairs: images with their masks, in the order of split and id.
        faults: what keeps the input from being converted, a line each.
        notes: what the user should know, a line each.
        unlabelled: images without a mask, where that is no fault.
    """

    roots: list[Path]
    pairs: list[Pair] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unlabelled: list[Found] = field(default_factory=list)

    def match(
        self,
        split: str,
        images: "Named",
        masks: "Named",
        expected: tuple[str, str],
        advice: str,
        kinds: tuple[str, str] = ("image", "mask"),
        allow_unlabelled: bool = False,
    ) -> None:
        """Add the pairs of one split, and a fault for what occurs twice or has no partner.

        A finding that an image has no mask of is no fault, as long as it has one of another.

        Args:
            split: the split of these pairs.
            images, masks: where they lie and what they are called.
            expected: the name that an image should have, and a mask.
            advice: the next step where something is missing.
            kinds: what a message calls both.
            allow_unlabelled: whether images may be without a mask.
        """
        image_of, mask_of = (self._one_a_name(named) for named in (images, masks))
        image_name = {name: name if name in image_of else _Name(name.id) for name in mask_of}
        without_image = {name for name in mask_of if image_name[name] not in image_of}
        without_mask = image_of.keys() - image_name.values()
        if allow_unlabelled:
            self.unlabelled += [Found(name.id, image_of[name]) for name in sorted(without_mask)]
            without_mask = set()
        for which, place, found, others, missing in (
            (0, images, image_of, mask_of, without_image),
            (1, masks, mask_of, image_of, without_mask),
        ):
            kind, other_kind, name = kinds[which], kinds[1 - which], expected[which]
            if not found:
                self.faults.append(f"{place.where}: there is no {kind} in it, expected {name}. {advice}")
            elif missing:
                self.faults.append(
                    f"{place.where}: {len(missing)} of {len(others)} {other_kind}s have no {kind} "
                    f"({first_names(list(map(str, sorted(missing))))}), expected {name}. {advice}"
                )
        self.pairs += [
            Pair(name.id, split, image_of[image_name[name]], mask_of[name], name.finding)
            for name in sorted(mask_of)
            if image_name[name] in image_of
        ]

    def note_left_out(self, sources: Iterable[Source], what: str) -> None:
        """Tell which files are not used, part by part."""
        names = defaultdict(list)
        for source in sources:
            names[source.part].append(source.name)
        self.notes += [f"{part}: {note}" for part, others in names.items() for note in left_out(others, f"no {what}")]

    def set_groups(self, groups: Mapping[str, str]) -> None:
        """Give the pairs their groups: id -> group; an image that is not there has none."""
        self.pairs = [replace(pair, group=groups.get(pair.id, "")) for pair in self.pairs]

    def check_one_split_an_id(self, advice: str) -> None:
        """Add a fault for ids in two splits; `advice` is the next step."""
        splits: dict[str, dict[str, None]] = defaultdict(dict)
        for pair in self.pairs:
            splits[pair.id][pair.split] = None
        shared = [f"{id} in {' and '.join(found)}" for id, found in splits.items() if len(found) > 1]
        if shared:
            self.faults.append(
                f"{self.roots[0]}: {len(shared)} of {len(splits)} ids are in two splits ({first_names(shared)}), "
                f"expected each in one. {advice}"
            )

    def _one_a_name(self, named: "Named") -> dict["_Name", Source]:
        found: dict[_Name, Source] = {}
        twice = []
        for id, source, finding in named.sources:
            name = _Name(id, finding)
            if name in found:
                twice.append(f"{name} as {found[name].name} and {source.name}")
            found.setdefault(name, source)
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
        sources: the files.
    """

    where: str | Path
    sources: Sequence[Found]


class _Name(NamedTuple):
    id: str
    finding: str = ""

    def __str__(self) -> str:
        return with_finding(self.id, self.finding)
