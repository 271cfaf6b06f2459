"""How many made copies of images `tools/audit.py` finds, and how many of its pairs are none."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from lesionseg.data.twins.leaks import find_leaks
from lesionseg.data.twins.listing import Photograph, find_photographs
from lesionseg.errors import DataError, first_names
from lesionseg.pixels.pictures import encode_jpeg, encode_png, read_image
from lesionseg.tables import Grid, terminal_table

_TURN, _CUT, _QUALITY = 10, 0.9, 30


@dataclass(frozen=True)
class Outcome:
    """What was found.

    Attributes:
        images: that were audited, copies included.
        made: kind of copy -> how many were made.
        found: kind of copy -> how many are twins of their original, or of another copy of it.
        pairs: of twins, among copies and originals.
        wrong: of them, those of two originals, by their ids.
        seconds: that it took.
        cpu_seconds: that all threads worked.
    """

    images: int
    made: Counter
    found: Counter
    pairs: int
    wrong: list[str]
    seconds: float
    cpu_seconds: float

    @property
    def recall(self) -> float:
        return self.found.total() / self.made.total()

    @property
    def precision(self) -> float:
        return 1 - len(self.wrong) / max(1, self.pairs)


def find_copies(folder: Path, images: int = 60, others: int = 400, seed: int = 0, embeddings: bool = True) -> Outcome:
    """Copy some images of a folder in several ways, and look for the copies among them and others.

    Args:
        folder: of images that are not twins of each other; where some are, their pairs count as wrong.
        images: how many to copy.
        others: how many more to look among.
        seed: another one draws others.
        embeddings: as for `tools/audit.py`.

    Raises:
        DataError: there are too few images, or as from `lesionseg.data.twins.leaks.find_leaks`.
    """
    embed = None
    if embeddings:
        import lesionseg.openmmlab  # noqa: F401
        from lesionseg.models.embedding import Embedder

        embed = Embedder().embed
    rng = np.random.default_rng(seed)
    photographs = find_photographs(folder)
    if len(photographs) < images:
        raise DataError(f"{folder}: {len(photographs)} images, expected {images} and more. Ask for fewer: --images.")
    chosen = [photographs[number] for number in rng.permutation(len(photographs))[: images + others]]
    # Of one number each: in folders of splits, ids may occur again.
    sources = [replace(photograph, id=f"{number}") for number, photograph in enumerate(chosen)]
    with tempfile.TemporaryDirectory() as made:
        copies = list(_write_copies(sources[:images], Path(made), rng))
        start, cpu = time.perf_counter(), time.process_time()
        audit = find_leaks([*sources, *copies], embed)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    ids = [photograph.id for photograph in audit.photographs]
    origins = [id.partition(" ")[0] for id in ids]
    wrong, found = [], set()
    for pair in audit.twins:
        if origins[pair.one] == origins[pair.other]:
            found |= {ids[pair.one], ids[pair.other]}
        else:
            wrong.append(" and ".join(chosen[int(origins[number])].id for number in (pair.one, pair.other)))
    kinds = [photograph.split for photograph in copies]
    right = [photograph.split for photograph in copies if photograph.id in found]
    return Outcome(len(ids), Counter(kinds), Counter(right), len(audit.twins), wrong, seconds, cpu_seconds)


def copies_table(outcome: Outcome) -> str:
    """Set it in a table, with a line on what was wrong."""
    cells = [[kind, str(made), str(outcome.found[kind])] for kind, made in outcome.made.items()]
    lines = [
        terminal_table(Grid(["copy", "made", "found"], cells)),
        f"recall {outcome.recall:.3f}, precision {outcome.precision:.3f} of {outcome.pairs} pairs; {outcome.images} "
        f"images in {outcome.seconds:.0f} s ({outcome.cpu_seconds:.0f} s of CPU)",
    ]
    if outcome.wrong:
        lines.append(f"no copies, or twins in the data: {first_names(sorted(set(outcome.wrong)), 20)}")
    return "\n".join(lines)


def make_copies(image: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Copy (H, W, 3) uint8 BGR in the ways that data sets have: by kind, images."""
    height, width = image.shape[:2]
    cut = [round(edge * _CUT) for edge in (height, width)]
    top, left = (int(rng.integers(edge - kept + 1)) for edge, kept in zip((height, width), cut, strict=True))
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), _TURN, 1)
    gains = rng.uniform(0.85, 1.15, 3)
    return {
        f"JPEG of quality {_QUALITY}": image,
        f"cut to {_CUT:.0%} of both edges": image[top : top + cut[0], left : left + cut[1]],
        "flipped left to right": image[:, ::-1],
        "flipped top to bottom": image[::-1],
        f"turned by {_TURN} degrees": cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT),
        "other colours": np.clip(image * gains + rng.uniform(-12, 12), 0, 255).astype(np.uint8),
    }


def _write_copies(sources: Sequence[Photograph], folder: Path, rng: np.random.Generator) -> Iterator[Photograph]:
    for source in sources:
        for kind, copy in make_copies(read_image(source.path), rng).items():
            id, path = f"{source.id} {kind}", folder / f"{source.id} {kind}"
            path.write_bytes(encode_jpeg(copy, _QUALITY) if kind.startswith("JPEG") else encode_png(copy))
            yield Photograph(id, kind, folder, path, folder)
