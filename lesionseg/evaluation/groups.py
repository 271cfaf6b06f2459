"""Is a method as good for everybody: scores by groups of images, and how far each is from the rest."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from os import PathLike

import numpy as np

from lesionseg.data.lists import read_table
from lesionseg.data.names import find_listed, listed_id
from lesionseg.errors import DataError, first_names
from lesionseg.evaluation.compare import COMPARED, Estimate
from lesionseg.evaluation.meanings import words
from lesionseg.evaluation.resampling import CONFIDENCE, FEWEST, interval, interval_text, resampled_means
from lesionseg.evaluation.results import ImageResult
from lesionseg.pixels.pictures import quiet_opencv, read_image
from lesionseg.pixels.skin_tone import TONES, tone_of, typology_angle
from lesionseg.tables import Grid
from lesionseg.workers import map_files

UNKNOWN = "unknown"
SKIN_TONE, SHARE, BORDER, SIZE = "skin tone (ITA)", "lesion share", "border", "image size"
# What a column of ids is called: in index.csv, by the ISIC archive, and elsewhere.
_IDS = ("id", "isic_id", "image_id", "image", "image_name", "name")
# A column of numbers is cut into as many groups of one size; one of more words than this is of names.
_PARTS, _MOST_WORDS = 4, 20
_SHARES = {"below 5 %": 0.05, "5 to 20 %": 0.2, "20 to 50 %": 0.5, "50 % or more": np.inf}
_MEGAPIXELS = {"below 0.5 MP": 0.5, "0.5 to 2 MP": 2.0, "2 to 8 MP": 8.0, "8 MP or more": np.inf}


@dataclass(frozen=True)
class Group:
    """The images of a group.

    Attributes:
        images: how many they are.
        means: by the names in `COMPARED`, with their intervals; none where the images are too few.
        difference: of the mean Jaccard from that of all other images that are in a group; None where too few are in
            either.
    """

    images: int
    means: Mapping[str, Estimate]
    difference: Estimate | None


# By what images are grouped -> by the name of the group.
Groups = Mapping[str, Mapping[str, Group]]


@dataclass(frozen=True)
class Metadata:
    """What a table says of images.

    Attributes:
        path: of the table.
        rows: id -> column -> text.
        columns: those that group.
        notes: which do not, and why.
    """

    path: str
    rows: Mapping[str, Mapping[str, str]]
    columns: Sequence[str]
    notes: Sequence[str]


def read_metadata(path: str | PathLike) -> Metadata:
    """Read a CSV file with a row an image; or several, such as `index.csv` has of several findings.

    Columns that differ between the rows of an image are left out.

    Raises:
        DataError: it has no column of ids, or no other that says one thing of an image.
        OSError: it cannot be read.
    """
    table = read_table(path, _IDS)
    known = {name.lower(): name for name in table.header}
    own = next((known[name] for name in _IDS if name in known), None)
    if own is None:
        raise DataError(f"{path}: no column of ids, expected one called {' or '.join(_IDS)}. Rename it.")
    named = [(listed_id(row[own]), row) for row in table.rows if row[own]]
    rows = dict(reversed(named))
    others = [name for name in table.header if name and name != own]
    if not rows or not others:
        raise DataError(f"{path}: nothing but ids, expected columns such as sex or age, and a row an image. Add them.")
    several = {name: list(dict.fromkeys(id for id, row in named if row[name] != rows[id][name])) for name in others}
    if all(several.values()):
        (twice, *_) = several.values()
        raise DataError(
            f"{path}: {len(twice)} ids have several rows ({first_names(twice)}) that agree in no column, expected one "
            "each. Keep one."
        )
    return Metadata(str(path), rows, *_usable(several, rows, path))


def _usable(
    several: Mapping[str, Sequence[str]], rows: Mapping[str, Mapping[str, str]], path: str | PathLike
) -> tuple[list, list]:
    """The columns that group, and what to say of those that do not.

    Args:
        several: column -> ids whose rows differ in it.
        rows: id -> its first row.
        path: of the table.
    """
    columns, notes = [], []
    for name, differ in several.items():
        values = {row[name] for row in rows.values() if row[name]}
        if differ:
            notes.append(f"{path}: left out {name}, which {len(differ)} ids have several of ({first_names(differ)})")
        elif len(values) > _MOST_WORDS and not _numbers(values):
            notes.append(f"{path}: left out {name}, whose {len(values)} values group nothing")
        else:
            columns.append(name)
    return columns, notes


def match_rows(metadata: Metadata, ids: Collection[str]) -> dict[str, Mapping[str, str]]:
    """Find the row of each image: that of its id, or else of its name without folders; see `find_listed`.

    Args:
        metadata: what a table says.
        ids: of the images.

    Returns:
        id -> column -> text; an image without a row is left out.

    Raises:
        DataError: no image has a row, or several have one, or one has several.
    """
    known = {*ids}
    # What is the very id of one image is of no other that is only called alike.
    named = {
        id: [name for name in names if name == id or name not in known]
        for id, names in find_listed(metadata.rows, known).items()
    }
    images = Counter(name for names in named.values() for name in names)
    if unclear := sorted(
        id for id, names in named.items() if len(names) > 1 or any(images[name] > 1 for name in names)
    ):
        raise DataError(
            f"{metadata.path}: {len(unclear)} images go by a name that is not theirs alone ({first_names(unclear)}), "
            "expected a row for each that calls it so, with all folders. Write the ids as they stand in index.csv."
        )
    if not images:
        raise DataError(
            f"{metadata.path}: none of its {len(metadata.rows)} ids is one of the {len(known)} images "
            f"({first_names(sorted(known), 2)}), expected ids of images. Give the table of this data set."
        )
    return {id: metadata.rows[name] for id, names in named.items() for name in names}


def labels_of(table: Sequence[ImageResult], metadata: Metadata | None = None) -> dict[str, list[str]]:
    """Sort images into groups: by what is seen in them, and by what a table says of them.

    Args:
        table: measured images; images and true masks are read once more.
        metadata: what a table says.

    Returns:
        by what they are grouped -> the group of each image, `unknown` where that is not known.

    Raises:
        DataError: the table does not fit, see `match_rows`; or a file cannot be read again.
    """
    rows = match_rows(metadata, [row.image_id for row in table]) if metadata else {}
    with quiet_opencv(threads=1):
        seen = list(map_files(_see, table, "looking at skin"))
    labels = {name: [each[name] for each in seen] for name in (SKIN_TONE, SHARE, BORDER, SIZE)}
    for name in metadata.columns if metadata else ():
        labels[name] = _cut([rows[row.image_id][name] if row.image_id in rows else "" for row in table])
    return labels


def _see(row: ImageResult) -> dict[str, str]:
    truth = row.true_mask()
    angle = typology_angle(read_image(row.image), truth) if row.image else None
    edges = truth[0].any() or truth[-1].any() or truth[:, 0].any() or truth[:, -1].any()
    share = float(truth.mean())
    return {
        SKIN_TONE: UNKNOWN if angle is None else tone_of(angle),
        SHARE: "no lesion" if share == 0 else _below(_SHARES, share),
        BORDER: "no lesion" if share == 0 else "touches it" if edges else "apart from it",
        SIZE: _below(_MEGAPIXELS, truth.size / 1e6),
    }


def _below(bounds: Mapping[str, float], value: float) -> str:
    return next(name for name, bound in bounds.items() if value < bound)


def _cut(values: Sequence[str]) -> list[str]:
    """Name the groups of a column: its words, or of many numbers four parts of one size."""
    there = {value for value in values if value}
    if len(there) <= _PARTS or not _numbers(there):
        return [value or UNKNOWN for value in values]
    numbers = np.array([float(value) if value else np.nan for value in values])
    bounds = np.unique(np.nanquantile(numbers, np.linspace(0, 1, _PARTS + 1)))
    which = np.clip(np.searchsorted(bounds, numbers, "right") - 1, 0, max(0, len(bounds) - 2))
    shown = _told_apart(bounds)
    names = [f"{low} to below {high}" for low, high in pairwise(shown[:-1])] + [f"{shown[-2]} to {shown[-1]}"]
    return [UNKNOWN if np.isnan(number) else names[part] for number, part in zip(numbers, which, strict=True)]


def _told_apart(numbers: np.ndarray) -> list[str]:
    """Write numbers, (N,) float64 and all different, with as many digits as tell them apart."""
    written = ([f"{number:.{digits}g}" for number in numbers] for digits in range(6, 18))
    return next(texts for texts in written if len({*texts}) == len(texts))


def _numbers(values: set[str]) -> bool:
    try:
        return bool(np.isfinite([float(value) for value in values]).all())
    except ValueError:
        return False


def score_groups(table: Sequence[ImageResult], labels: Mapping[str, Sequence[str]]) -> Groups:
    """Score every group, and compare it with the rest.

    Args:
        table: measured images.
        labels: see `labels_of`.
    """
    scores = {name: np.array([row.scores[name] for row in table]) for name in COMPARED}
    groups = {}
    for kind, names in labels.items():
        own = np.array(names)
        groups[kind] = {name: _group(scores, own == name, own != UNKNOWN) for name in _ordered(kind, set(names))}
    return groups


def _group(scores: Mapping[str, np.ndarray], own: np.ndarray, known: np.ndarray) -> Group:
    images = int(np.count_nonzero(own))
    if images < FEWEST:
        return Group(images, {}, None)
    resampled = {name: resampled_means(values[own]) for name, values in scores.items()}
    means = {name: Estimate(float(scores[name][own].mean()), *interval(resampled[name], images)) for name in scores}
    rest = scores["jaccard"][known & ~own]
    if len(rest) < FEWEST:
        return Group(images, means, None)
    # Others than those of the group, so of another seed.
    apart = resampled["jaccard"] - resampled_means(rest, seed=1)
    return Group(images, means, Estimate(means["jaccard"].mean - float(rest.mean()), *interval(apart, images)))


def _ordered(kind: str, names: set[str]) -> list[str]:
    """Groups in the order of what they are, the unknown ones last."""
    known = [*TONES, *_SHARES, *_MEGAPIXELS]

    def place(name: str) -> tuple:
        start = name.partition(" ")[0]
        number = float(start) if kind not in (SKIN_TONE, SHARE, SIZE) and _numbers({start}) else 0.0
        return name == UNKNOWN, known.index(name) if name in known else len(known), number, name

    return sorted(names, key=place)


def as_json(groups: Groups) -> dict:
    """As it stands in `report.json`."""
    return {kind: {name: asdict(group) for name, group in of_kind.items()} for kind, of_kind in groups.items()}


def group_grids(groups: Groups) -> list[Grid]:
    """A table for all that images are grouped by, for a terminal or a page."""
    grids = []
    shown = f"{CONFIDENCE:.0%} interval"
    for kind, of_kind in groups.items():
        cells = []
        for name, group in of_kind.items():
            line = [name, str(group.images)]
            line += [f"{group.means[score].mean:.3f}" for score in COMPARED] if group.means else ["too small", "-", "-"]
            if change := group.difference:
                line += [f"{change.mean:+.3f}", interval_text(change.low, change.high, "+.3f")]
            cells.append(line + ["-"] * (7 - len(line)))
        header = [kind, "images", *map(words, COMPARED), "Jaccard against the rest", shown]
        grids.append(Grid(header, cells, f"By {kind}", (kind, shown)))
    return grids
