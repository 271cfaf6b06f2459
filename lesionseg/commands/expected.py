"""What a test expects of every image by the numbers of the model, and how that is learned from one."""

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from mmengine.config import Config
from torch import nn

from lesionseg.data.lists import read_lines
from lesionseg.engine.families import family_of
from lesionseg.engine.resuming import TRAIN_IDS
from lesionseg.errors import DataError, first_names
from lesionseg.evaluation.failures import numbers_of_all, with_expected
from lesionseg.evaluation.results import ImageResult
from lesionseg.files import file_sha256, real_path
from lesionseg.inference.ensemble_card import EnsembleCard, is_ensemble
from lesionseg.inference.finder_model import FinderModel
from lesionseg.inference.quality import (
    FEWEST,
    QualityMap,
    expected_of_others,
    fingerprint,
    open_map,
    quality_file,
    read_quality,
)
from lesionseg.pixels.instances import BEST, TOP1, UNION


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


def is_training_split(cfg: Config) -> bool:
    """Whether a config tests on the folder of images that it trains on."""
    prefix, folders = family_of(cfg).image_prefix, []
    for loader in ("train_dataloader", "test_dataloader"):
        dataset = (cfg.get(loader) or {}).get("dataset", {})
        images = (dataset.get("data_prefix") or {}).get(prefix)
        folders.append(images and real_path(os.path.join(dataset.get("data_root") or "", images)))
    return bool(folders[0]) and folders[0] == folders[1]


def check_fit(config: str, model: str | PathLike, ids: Sequence[str], of_training: bool, rule: str) -> None:
    """Look, before a test, whether a map can be fitted on it.

    Args:
        config: what messages call the settings by.
        model: a checkpoint or an ensemble.
        ids: of the images.
        of_training: see `is_training_split`.
        rule: how instances make up a mask, see `lesionseg.pixels.instances`.

    Raises:
        DataError: the images are too few, the model has learned some of them, or the truth chooses its masks.
    """
    if len(ids) < FEWEST:
        raise DataError(f"{config}: {len(ids)} images, expected at least {FEWEST} to fit on. Choose another --split.")
    if rule == BEST:
        raise DataError(
            f"{config}: its LesionMetric has instances={BEST}, which chooses by the truth, so that the model says "
            f"nothing of how sure it is, expected a choice by scores. Set instances={UNION} or {TOP1} there."
        )
    if learned := sorted(_learned(model, ids, of_training)):
        step = "Choose --split validation."
        if not of_training:
            step = (
                "Choose another --split, or images that it has not learned; where only the ids are the same, move the "
                f"{TRAIN_IDS} beside its weights away."
            )
        raise DataError(
            f"{model}: {len(learned)} of {len(ids)} images are among those that it was trained on "
            f"({first_names(learned)}), expected others, as its masks of these are better than of any new one. {step}"
        )


def _learned(model: str | PathLike, ids: Sequence[str], of_training: bool) -> set[str]:
    """Which images a model has learned, or any member of an ensemble: each of all folds but its own.

    They stand in the list beside the weights; without one, all of the training split may be among them.
    """
    weights = [Path(model)]
    if is_ensemble(model):
        weights = [Path(model, member.file) for member in EnsembleCard.read(model).members]
    learned: set[str] = set()
    for listed in {path.with_name(TRAIN_IDS) for path in weights}:
        if listed.is_file():
            learned.update(read_lines(listed))
        elif of_training:
            learned.update(ids)
    return learned.intersection(ids)


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
