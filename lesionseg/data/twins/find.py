"""Fingerprints of all images -> twins, and the groups that they make."""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lesionseg.data.twins.candidates import bits_apart, cosines, near_embeddings, near_looks
from lesionseg.data.twins.fingerprints import Fingerprint
from lesionseg.data.twins.geometry import Similarity, find_similarity
from lesionseg.workers import map_files

# By what two images are known to be twins, the most certain first. One id stands for one image.
BYTES, PIXELS, GEOMETRY, ID = EVIDENCE = ("bytes", "pixels", "geometry", "id")

_AT_ONCE = 200  # pairs, that a thread does not ask for each
_FEWEST_UNLIKE = 5


@dataclass(frozen=True)
class Twins:
    """Two images that show the same.

    Attributes:
        one, other: numbers of the images, the smaller first.
        evidence: one of `EVIDENCE`: the files are equal, or the pixels; one lies in the other; or they have one id, and
            none of these holds, see `find_twins`.
        similarity: how the first lies in the other, where geometry was asked.
        bits: by which their perceptual hashes differ, 0..64, in the orientation in which they are nearest.
        cosine: of their embeddings; None without.
    """

    one: int
    other: int
    evidence: str
    similarity: Similarity | None
    bits: int
    cosine: float | None


def find_twins(
    ids: Sequence[str],
    fingerprints: Sequence[Fingerprint],
    embeddings: np.ndarray | None = None,
    workers: int | None = None,
) -> list[Twins]:
    """Find the twins among images.

    Of images that are equal to the last pixel, each is the twin of the first, which alone is compared with others.
    Images of one id that look different are twins, too, unless such pairs are the most of five or more: then images are
    numbered anew in each folder.

    Args:
        ids: of the images; one may occur again, in another folder.
        fingerprints: of the images.
        embeddings: (N, D) float32 of length 1; None to do without, and find fewer.
        workers: how many threads work; None for one a core.

    Returns:
        twins, in the order of their images.
    """
    equal = {pair: BYTES for pair in _repeated(print_.file for print_ in fingerprints)}
    for pair in _repeated(print_.pixels for print_ in fingerprints):
        equal.setdefault(pair, PIXELS)
    copies = {other: first for first, other in equal}
    same_id = _repeated(ids)
    of_id = {(one, other) for one, other in same_id if copies.get(one, one) != copies.get(other, other)}
    looks = np.array([print_.looks for print_ in fingerprints])
    firsts = np.array([number for number in range(len(ids)) if number not in copies])
    near = [near_looks(looks[firsts]), *([] if embeddings is None else [near_embeddings(embeddings[firsts])])]
    candidates = sorted({(one, other) for one, other in firsts[np.concatenate(near)].tolist()} | of_id)
    similar = dict(_similar(candidates, fingerprints, workers))
    unlike = of_id - similar.keys()
    if len(unlike) >= _FEWEST_UNLIKE and 2 * len(unlike) > len(same_id):
        unlike = set()
    kinds = equal | dict.fromkeys(unlike, ID) | dict.fromkeys(similar, GEOMETRY)
    pairs = np.array(sorted(kinds), np.int64).reshape(-1, 2)
    likeness: list[float | None] = [None] * len(pairs)
    if embeddings is not None:
        likeness = cosines(embeddings, pairs).tolist()
    return [
        Twins(one, other, kinds[one, other], similar.get((one, other)), bits, cosine)
        for (one, other), bits, cosine in zip(pairs.tolist(), bits_apart(looks, pairs).tolist(), likeness, strict=True)
    ]


def not_ids(ids: Sequence[str], twins: Iterable[Twins]) -> list[str]:
    """Those ids of several images that do not make them twins, see `find_twins`."""
    chains = find_chains(len(ids), [(pair.one, pair.other) for pair in twins])
    return list(dict.fromkeys(ids[one] for one, other in _repeated(ids) if chains[one] != chains[other]))


def find_chains(images: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The chain of each of so many images, as a number: one for all that pairs lead to, directly or over others."""
    ends = np.array([*pairs], np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(images, images))
    return connected_components(graph, directed=False)[1].tolist()


def find_groups(
    ids: Sequence[str], known: Sequence[str], datasets: Sequence[Hashable], twins: Iterable[Twins]
) -> list[str]:
    """Join twins, and what was known to belong together, into groups.

    Args:
        ids: of the images.
        known: their groups so far, such as a patient; "" where that is not known.
        datasets: their data sets; what two of them call the same is not the same.
        twins: among them.

    Returns:
        the group of each image; "" for one that is alone. A group keeps the name it had, the first of several, or is
        called by the first of its ids; where another has that name, `(2)` and so on follows.
    """
    same = _repeated((dataset, group) if group else "" for dataset, group in zip(datasets, known, strict=True))
    chains = find_chains(len(ids), [*((pair.one, pair.other) for pair in twins), *same])
    names, taken = dict[Hashable, str](), set[str]()
    # Those that were known first: they are to stay.
    in_order = sorted(_members(chains).items(), key=lambda each: not any(known[number] for number in each[1]))
    for chain, members in in_order:
        name = min(filter(None, (known[number] for number in members)), default="") or (
            min(ids[number] for number in members) if len(members) > 1 else ""
        )
        names[chain] = name and _free(name, taken)
        taken.add(names[chain])
    return [names[chain] for chain in chains]


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or where that is taken, the first of `name (2)`, `name (3)`, ... that is not."""
    numbered = (f"{name} ({number})" for number in count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _similar(
    candidates: Sequence[tuple[int, int]], fingerprints: Sequence[Fingerprint], workers: int | None
) -> Iterator[tuple[tuple[int, int], Similarity]]:
    def compare(pairs: Sequence[tuple[int, int]]) -> list[tuple[tuple[int, int], Similarity]]:
        found = []
        for one, other in pairs:
            similarity = find_similarity(fingerprints[one].features, fingerprints[other].features)
            if similarity:
                found.append(((one, other), similarity))
        return found

    # Not at the top: only an audit needs it.
    from threadpoolctl import threadpool_limits

    chunks = [candidates[start : start + _AT_ONCE] for start in range(0, len(candidates), _AT_ONCE)]
    # Their matrices are small: several threads of BLAS for each, besides ours, take four times as long.
    with threadpool_limits(1, "blas"):
        for found in map_files(compare, chunks, f"comparing {len(candidates):,} pairs, by {_AT_ONCE}:", workers):
            yield from found


def _repeated(keys: Iterable[Hashable]) -> list[tuple[int, int]]:
    """Pairs of the first number with a key, and each further one."""
    return [(members[0], other) for members in _members(keys).values() for other in members[1:]]


def _members(keys: Iterable[Hashable]) -> dict[Hashable, list[int]]:
    """The numbers of each key, but for empty ones."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for number, key in enumerate(keys):
        if key != "":
            members[key].append(number)
    return members
