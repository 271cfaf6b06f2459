"""What leaks from one split into another: all images of some data sets, their twins, and their groups."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lesionseg.cli import progress
from lesionseg.data.release.listing import SPLITS
from lesionseg.data.twins.find import Twins, find_chains, find_groups, find_twins
from lesionseg.data.twins.fingerprints import Fingerprint, take_fingerprint
from lesionseg.data.twins.listing import Photograph
from lesionseg.errors import DataError
from lesionseg.pixels.pictures import quiet_opencv
from lesionseg.workers import map_files

# (160, 160, 3) uint8 BGR each -> (N, D) float32 of length 1.
Embed = Callable[[Sequence[np.ndarray]], np.ndarray]

_AT_ONCE = 256  # images, whose small copies are in memory
_MOST_FAULTS = 5


@dataclass(frozen=True)
class Leaks:
    """What was found.

    Attributes:
        photographs: all images.
        twins: of them, by their numbers.
        groups: the group of each image, twins and what was known to belong together; "" for one that is alone.
        crossing: of the twins, those that lead from one split to another, directly or over an image without a split.
    """

    photographs: Sequence[Photograph]
    twins: Sequence[Twins]
    groups: Sequence[str]
    crossing: Sequence[Twins]


def find_leaks(photographs: Sequence[Photograph], embed: Embed | None = None, workers: int | None = None) -> Leaks:
    """Look for twins among images.

    Args:
        photographs: the images.
        embed: what makes embeddings of small copies; None to do without, and find fewer twins.
        workers: how many threads work; None for one a core.

    Raises:
        DataError: images cannot be read.
    """
    ids = [photograph.id for photograph in photographs]
    fingerprints, embeddings = _read(photographs, embed, workers)
    twins = find_twins(ids, fingerprints, embeddings, workers)
    known, datasets = zip(*((photograph.group, photograph.dataset) for photograph in photographs), strict=True)
    groups = find_groups(ids, known, datasets, twins)
    chains = find_chains(len(ids), [(pair.one, pair.other) for pair in twins])
    splits = defaultdict(set)
    for photograph, chain in zip(photographs, chains, strict=True):
        if photograph.split in SPLITS:
            splits[chain].add(photograph.split)
    crossing = [
        pair
        for pair in twins
        if len(splits[chains[pair.one]]) > 1 and photographs[pair.one].split != photographs[pair.other].split
    ]
    return Leaks(photographs, twins, groups, crossing)


def _read(
    photographs: Sequence[Photograph], embed: Embed | None, workers: int | None
) -> tuple[list[Fingerprint], np.ndarray | None]:
    """Take the fingerprints of all images, and their embeddings."""
    faults: list[str] = []
    embeddings: list[np.ndarray] = []

    def take(photograph: Photograph) -> tuple[Fingerprint, np.ndarray] | None:
        try:
            return take_fingerprint(photograph.path)
        except (DataError, OSError) as error:
            faults.append(str(error))
            return None

    def take_all() -> Iterator[Fingerprint | None]:
        for start in range(0, len(photographs), _AT_ONCE):
            taken = []
            for each in map_files(take, photographs[start : start + _AT_ONCE], workers=workers):
                taken.append(each)
                yield each[0] if each else None
            if embed and not faults:
                embeddings.append(embed([each[1] for each in taken if each]))

    with quiet_opencv(threads=1):
        fingerprints = [each for each in progress(take_all(), len(photographs), "looking at images") if each]
    if faults:
        more = len(faults) - _MOST_FAULTS
        rest = [f"{more} more images cannot be read, expected whole pictures. Mend all, and run again."] * (more > 0)
        raise DataError(*sorted(faults)[:_MOST_FAULTS], *rest)
    return fingerprints, np.concatenate(embeddings) if embed else None
