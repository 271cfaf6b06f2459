"""A data set folder becomes rows that Hugging Face's library `datasets` reads, as people exchange them: Parquet files.

data/<split>-00000-of-00001.parquet         columns id, image and label, or label_<finding>; and group
id2label.json                               class index -> name
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lesionseg.cli import progress
from lesionseg.data.release.convert import fault_lines
from lesionseg.data.release.convert_image import Job, Reading, Result, convert_image
from lesionseg.data.release.data_set_folder import check_apart, whole_folder
from lesionseg.data.release.layouts.hugging_face import (
    BACKGROUND,
    GROUP,
    ID,
    ID2LABEL,
    IMAGE,
    LABEL,
    LESION,
    SPLITS,
    import_datasets,
    label_column,
)
from lesionseg.data.release.listing import Listing
from lesionseg.data.sources import Source
from lesionseg.errors import DataError
from lesionseg.files import write_text, written_path
from lesionseg.pixels.labels import encode_labels
from lesionseg.pixels.masks import decode_mask, lesion_pixels
from lesionseg.pixels.pictures import MAX_PIXELS, quiet_opencv
from lesionseg.workers import map_files

# Bytes; as the library cuts files for the hub, and groups of rows that a reader holds in memory at once.
_FILE, _ROWS = 500_000_000, 32_000_000


@dataclass(frozen=True)
class _Row:
    """An image with its labels.

    Attributes:
        id, split: of the image.
        image: its file.
        labels: finding -> a PNG file of its class index, and 0 elsewhere.
        joined: all of them in one PNG file; None where they overlap.
        group: as in `lesionseg.data.release.listing.Pair`.
    """

    id: str
    split: str
    image: Source
    labels: Mapping[str, bytes]
    joined: bytes | None
    group: str


def write_hugging_face(
    listing: Listing, out: Path, workers: int | None = None, overwrite: bool = False, max_pixels: int = MAX_PIXELS
) -> dict[str, int]:
    """Write the pairs of a data set folder as a Hugging Face data set, whole or not at all.

    Args:
        listing: of a data set folder.
        out: the folder to make.
        workers: how many threads work; by default one a core.
        overwrite: whether an earlier result may be replaced.
        max_pixels: of a picture; a larger one is a fault.

    Returns:
        split -> how many images.

    Raises:
        DataError: all faults of the listing and of the pictures, `out` is in the way, or the library is not installed.
        OSError: `out` cannot be written.
    """
    out = written_path(out)
    check_apart(listing.roots, out)
    datasets = import_datasets()
    classes = {finding: index for index, finding in enumerate(sorted({pair.finding for pair in listing.pairs}), 1)}
    if len(classes) > 1 and "" in classes:
        listing.faults.append(
            f"{listing.roots[0]}: masks with and without a finding, expected a finding for all or none. Move those of "
            "annotations/<split>/<id>.png into a folder of their finding."
        )
    jobs = [
        Job(list(pairs), None, None, False, Reading(inverted=False, max_pixels=max_pixels))
        for _, pairs in groupby(listing.pairs, lambda pair: (pair.split, pair.id))
    ]
    begins = _classes_text({0: BACKGROUND}).removesuffix("\n}\n")
    with whole_folder(out, overwrite, ID2LABEL, begins) as folder, quiet_opencv(threads=1):
        checked = list(map_files(partial(_read, classes=classes), jobs, "reading", workers))
        faults = [*listing.faults, *fault_lines([result for result, _ in checked], listing)]
        if faults:
            raise DataError(*faults)
        rows = [row for _, row in checked if row]
        joins = all(row.joined and len(row.labels) == len(classes) for row in rows)
        columns = [LABEL] if joins else [label_column(finding) for finding in classes]
        features = datasets.Features(
            {ID: datasets.Value("string")}
            | {name: datasets.Image() for name in (IMAGE, *columns)}
            | ({GROUP: datasets.Value("string")} if any(row.group for row in rows) else {})
        )
        _write_files(folder / "data", rows, columns, features.arrow_schema)
        names = {0: BACKGROUND} | {index: finding or LESION for finding, index in classes.items()}
        write_text(folder / ID2LABEL, _classes_text(names))
    return dict(Counter(row.split for row in rows))


def _classes_text(names: Mapping[int, str]) -> str:
    return json.dumps(names, indent=2, ensure_ascii=False) + "\n"


def _read(job: Job, classes: Mapping[str, int]) -> tuple[Result, _Row | None]:
    result = convert_image(job)
    if result.faults:
        return result, None
    labels, joined, overlap = {}, None, False
    for pair in job.pairs:
        lesion = lesion_pixels(decode_mask(pair.mask.read(), pair.mask.name))
        label = lesion * np.uint8(classes[pair.finding])
        labels[pair.finding] = encode_labels(label)
        overlap |= joined is not None and bool((joined[lesion] > 0).any())
        joined = label if joined is None else np.maximum(joined, label)
    assert joined is not None
    pair = job.pairs[0]
    return result, _Row(pair.id, pair.split, pair.image, labels, None if overlap else encode_labels(joined), pair.group)


def _write_files(folder: Path, rows: Sequence[_Row], columns: Sequence[str], schema: Any) -> None:
    from pyarrow import Table
    from pyarrow.parquet import ParquetWriter

    folder.mkdir()
    files: dict[str, list[_Row]] = {}
    for split, name in SPLITS.items():
        parts = list(_cut([row for row in rows if row.split == split], _FILE))
        files |= {f"{name}-{number:05}-of-{len(parts):05}.parquet": part for number, part in enumerate(parts)}
    waiting = progress(chain.from_iterable(files.values()), len(rows), "writing")
    for file, part in files.items():
        with ParquetWriter(folder / file, schema) as writer:
            for group in _cut(part, _ROWS):
                cells = [_cells(row, columns) for row in islice(waiting, len(group))]
                writer.write_table(Table.from_pylist(cells, schema=schema))
    # The progress bar ends after its last item.
    assert next(waiting, None) is None


def _cells(row: _Row, columns: Sequence[str]) -> dict[str, Any]:
    name = PurePosixPath(row.id).name
    labels = {LABEL: row.joined} | {label_column(finding): label for finding, label in row.labels.items()}
    return {
        ID: row.id,
        IMAGE: {"bytes": row.image.read(), "path": f"{name}{row.image.suffix}"},
        **{column: labels.get(column) and {"bytes": labels[column], "path": f"{name}.png"} for column in columns},
        GROUP: row.group or None,
    }


def _cut(rows: Sequence[_Row], most: int) -> Iterator[list[_Row]]:
    """Cut rows into parts whose images have so many bytes at most, though of one row at least."""
    part: list[_Row] = []
    total = 0
    for row in rows:
        if part and total + row.image.size > most:
            yield part
            part, total = [], 0
        part.append(row)
        total += row.image.size
    if part:
        yield part
