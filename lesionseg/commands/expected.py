"""What a test expects of every image by the numbers of the model, and how that is learned from one."""

from collections.abc import Sequence
from os import PathLike

import numpy as np
from torch import nn

from lesionseg.errors import DataError
from lesionseg.evaluation.failures import numbers_of_all, with_expected
from lesionseg.evaluation.results import ImageResult
from lesionseg.files import file_sha256
from lesionseg.inference.finder_model import FinderModel
from lesionseg.inference.quality import (
    QualityMap,
    expected_of_others,
    fingerprint,
    open_map,
    quality_file,
    read_quality,
)


def quality_of(module: nn.Module, model: str | PathLike, tta: bool) -> QualityMap | None:
    """The map of what is tested, in a card or beside a checkpoint; None where nothing was fitted."""
    if isinstance(module, FinderModel):
        return module.quality
    # The hash of hundreds of megabytes is not for nothing.
    return open_map(read_quality(model, file_sha256(model)), tta) if quality_file(model).is_file() else None


def expect(table: Sequence[ImageResult], fitted: QualityMap | None) -> tuple[list[ImageResult], str]:
    """Add to every image what is expected of it.

    Returns:
        the rows, and what a reader has to know: whether the map was fitted on some of these very images.
    """
    if fitted is None:
        return list(table), ""
    known = set(fitted.fitted_on)
    seen = sum(row.image is not None and fingerprint(row.image) in known for row in table)
    note = f"Expected Jaccards are by {len(known)} other images."
    if seen:
        note = f"Expected Jaccards were fitted on {seen} of these {len(table)} images: on them they are optimistic."
    return with_expected(table, [fitted.expected(row.numbers) for row in table]), note


def fit(table: Sequence[ImageResult]) -> tuple[list[ImageResult], QualityMap]:
    """Fit a map on measured images, and add to each what is expected of it by the others.

    Raises:
        DataError: the method is sure everywhere.
    """
    names = numbers_of_all(table)
    if not names:
        raise DataError(
            f"{table[0].image}: the model says nothing of how sure it is, expected a network. Test it without "
            "--fit-quality."
        )
    numbers = {name: np.array([row.numbers[name] for row in table]) for name in names}
    jaccard = np.array([row.scores["jaccard"] for row in table])
    fitted = QualityMap.fit(numbers, jaccard, [row.image for row in table if row.image is not None])
    return with_expected(table, expected_of_others(numbers, jaccard).tolist()), fitted
