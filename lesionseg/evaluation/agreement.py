"""How far people agree who have drawn the same lesions, and a model with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from lesionseg.data.lists import read_table
from lesionseg.errors import DataError
from lesionseg.evaluation.compare import Estimate
from lesionseg.evaluation.consensus import CONSENSUS
from lesionseg.evaluation.resampling import CONFIDENCE, FEWEST, interval, interval_text, resampled_means
from lesionseg.evaluation.scores import Confusion, dice, jaccard
from lesionseg.pixels.masks import lesion_pixels, read_mask
from lesionseg.pixels.pictures import quiet_opencv
from lesionseg.tables import Grid
from lesionseg.workers import map_files

PEOPLE, PERSON_OTHERS, MODEL_PERSON, MODEL_OTHERS, MODEL_ALL = (
    "two people",
    "person and the others",
    "model and person",
    "model and the others",
    "model and all people",
)
_SCORES = {"jaccard": jaccard, "dice": dice}
_PUBLISHED = Path(__file__).with_name("annotators.csv")


@dataclass(frozen=True)
class Comparison:
    """Two that were compared on every image.

    Attributes:
        kind: what the two are, such as `two people`; a mean over all of a kind has `mean` in the place of names.
        one, other: who; of several people together, how they were joined and who was left out.
        scores: (images,) float64 by `jaccard` and `dice`.
    """

    kind: str
    one: str
    other: str
    scores: Mapping[str, np.ndarray]

    def estimate(self, score: str) -> Estimate:
        """The mean over images, and the bounds of its bootstrap interval, if they are enough for one."""
        values = self.scores[score]
        return Estimate(float(values.mean()), *interval(resampled_means(values), len(values)))


def compare_people(
    people: Mapping[str, Sequence[Path]], model: Sequence[Path] | None, joined_by: Sequence[str]
) -> list[Comparison]:
    """Compare all people with each other, and a model with each and with all.

    Where one person is left out, he or she and the model are both compared with what the others agree on: so the model
    has the same judges as a person has.

    Args:
        people: name -> mask files, of the same images in the same order; two people or more.
        model: its mask files, if there is one.
        joined_by: the names in `CONSENSUS` of how several people are made one.

    Returns:
        of each kind every comparison, then the mean of all.

    Raises:
        DataError: files that cannot be read, are no masks, or differ in size; the first five.
    """
    columns = [*people.values(), *([model] if model else [])]
    with quiet_opencv(threads=1):
        found = list(
            map_files(
                lambda paths: _compare(paths, list(people), joined_by), list(zip(*columns, strict=True)), "comparing"
            )
        )
    if faults := [fault for _, fault in found if fault]:
        raise DataError(*faults[:5])
    comparisons = [
        Comparison(*key, {name: np.array([image[key][name] for image, _ in found]) for name in _SCORES})
        for key in found[0][0]
    ]
    return [each for kind in dict.fromkeys(one.kind for one in comparisons) for each in _with_mean(kind, comparisons)]


def _with_mean(kind: str, comparisons: Sequence[Comparison]) -> list[Comparison]:
    own = [each for each in comparisons if each.kind == kind]
    if len(own) == 1:
        return own
    means = {name: np.mean([each.scores[name] for each in own], axis=0) for name in _SCORES}
    return [*own, Comparison(kind, "mean", "", means)]


_Found = dict[tuple[str, str, str], dict[str, float]]


def _compare(paths: Sequence[Path], names: Sequence[str], joined_by: Sequence[str]) -> tuple[_Found, str]:
    """Compare the masks of an image, those of the people first, or say what is wrong with a file."""
    try:
        masks = [lesion_pixels(read_mask(path)) for path in paths]
    except DataError as error:
        return {}, str(error)
    for path, mask in zip(paths, masks, strict=True):
        if mask.shape != masks[0].shape:
            height, width = masks[0].shape
            return {}, (
                f"{path}: {mask.shape[1]}x{mask.shape[0]} pixels, expected the {width}x{height} of {paths[0]}. Put the "
                "matching file there."
            )
    drawn, model = masks[: len(names)], masks[len(names) :]
    pairs = [
        (PEOPLE, names[one], names[other], drawn[one], drawn[other])
        for one, other in combinations(range(len(names)), 2)
    ]
    pairs += [
        (MODEL_PERSON, "model", name, mask, own) for mask in model for name, own in zip(names, drawn, strict=True)
    ]
    # Of two people, the other one alone is all that is left.
    for way in joined_by if len(names) > 2 else ():
        for number, name in enumerate(names):
            others = CONSENSUS[way]([mask for place, mask in enumerate(drawn) if place != number])
            told = f"{way} without {name}"
            pairs.append((f"{PERSON_OTHERS}, {way}", name, told, drawn[number], others))
            pairs += [(f"{MODEL_OTHERS}, {way}", "model", told, mask, others) for mask in model]
    for way in joined_by if model else ():
        pairs.append((f"{MODEL_ALL}, {way}", "model", way, model[0], CONSENSUS[way](drawn)))
    return {
        (kind, one, other): {name: score(Confusion.from_masks(mine, theirs)) for name, score in _SCORES.items()}
        for kind, one, other, mine, theirs in pairs
    }, ""


def agreement_grid(comparisons: Sequence[Comparison]) -> Grid:
    """Set all comparisons below each other."""
    cells = []
    for each in comparisons:
        line = [each.kind, each.one, each.other]
        for score in _SCORES:
            own = each.estimate(score)
            line += [f"{own.mean:.3f}", interval_text(own.low, own.high, ".3f")]
        cells.append(line)
    shown = f"{CONFIDENCE:.0%} interval"
    images = len(comparisons[0].scores["jaccard"])
    header = ["compared", "one", "other", "Jaccard", shown, "Dice", shown]
    return Grid(header, cells, f"Means over {images} images", ("compared", "one", "other", shown))


def published_grid() -> Grid:
    """What is published of two annotators of dermoscopic images, with its source."""
    rows = read_table(_PUBLISHED).rows
    header = ["data", "jaccard", "dice", "pairs", "images", "source", "remark"]
    return Grid(
        [name.replace("jaccard", "Jaccard").replace("dice", "Dice") for name in header],
        [[row[name] or "-" for name in header] for row in rows],
        "Published of two annotators",
        ("data", "source", "remark"),
    )


def verdict(comparisons: Sequence[Comparison]) -> str:
    """Where the model stands against two people, in words; of people alone, or on few images, how far they agree."""
    means = {each.kind: each.scores["jaccard"] for each in comparisons}
    people, images = means[PEOPLE].mean(), len(means[PEOPLE])
    too_few = f" Fewer than {FEWEST} images say nothing of others: no interval is given, and no verdict."
    if MODEL_PERSON not in means:
        return f"Two people agree by a mean Jaccard of {people:.3f}.{too_few * (images < FEWEST)}"
    model, apart = means[MODEL_PERSON].mean(), means[MODEL_PERSON] - means[PEOPLE]
    low, high = interval(resampled_means(apart), images)
    if low is None or high is None:
        return (
            f"The model agrees on these {images} images with a person by a mean Jaccard of {model:.3f}, two people "
            f"with each other by {people:.3f}, {apart.mean():+.3f} apart.{too_few}"
        )
    stands = "about as well as" if low <= 0 <= high else "better than" if low > 0 else "worse than"
    return (
        f"The model agrees with a person {stands} two people with each other: mean Jaccard {model:.3f} and "
        f"{people:.3f}, {apart.mean():+.3f} apart ({low:+.3f} to {high:+.3f})."
    )
