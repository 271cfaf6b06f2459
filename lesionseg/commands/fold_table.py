"""The end of `tools/folds.py`: the networks become an ensemble, and one table says what each of them is worth."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lesionseg.commands.fold_plan import TTA, Plan, files_of
from lesionseg.engine.families import family_for
from lesionseg.evaluation.ensembling import Mix, MixSearch, shrink
from lesionseg.evaluation.report import fingerprints, provenance_of_masks, write_report
from lesionseg.evaluation.results import ImageResult
from lesionseg.evaluation.scores import Confusion, mean_scores, per_image_scores
from lesionseg.files import file_sha256, read_file, write_text
from lesionseg.inference.ensemble_card import CARD, EnsembleCard, Member
from lesionseg.pixels.masks import lesion_pixels, read_mask
from lesionseg.pixels.pictures import decode_picture, quiet_opencv
from lesionseg.pixels.rle import pack_mask
from lesionseg.tables import Grid, csv_text, terminal_table
from lesionseg.workers import map_files

ENSEMBLE = "ensemble"
SCORES = "scores.csv"
SHOWN = ("jaccard", "threshold_jaccard", "dice")


@dataclass(frozen=True)
class Row:
    """What a model or several joined ones are worth.

    Attributes:
        name: of the config, of the family, or of the ensemble.
        networks: how many look at an image of the test; 1 where the test is of each network alone.
        out_of_fold: mean scores of each fold's images, found by networks that have not seen them.
        test: mean scores over the test images: of each network, or of what joins them all.
    """

    name: str
    networks: int
    out_of_fold: Sequence[Mapping[str, float]]
    test: Sequence[Mapping[str, float]]

    def values(self) -> dict[str, str | int | float]:
        """Means, and the standard deviation over folds or networks, as a line of a table."""
        line: dict[str, str | int | float] = dict(model=self.name, networks=self.networks)
        for place, of_parts in (("out_of_fold", self.out_of_fold), ("test", self.test)):
            for score in SHOWN:
                parts = [scores[score] for scores in of_parts]
                line[f"{place}_{score}"] = float(np.mean(parts))
                line[f"{place}_{score}_spread"] = float(np.std(parts))
        return line


def make_table(plan: Plan) -> str:
    """Fit the ensemble, write `ensemble/` and `scores.csv`, and give the table for a terminal.

    Raises:
        DataError: a mask cannot be read.
        OSError: a file cannot be read or written.
    """
    with quiet_opencv(threads=1):
        groups = _groups(plan)
        searches = {name: _search(plan, models) for name, models in groups.items()}
        joined = dict.fromkeys((*groups, *[f"{ENSEMBLE} + TTA"] * plan.choice.tta))
        by_fold = _out_of_fold(plan, groups, searches)
        tests, ensemble = _on_test(plan, groups, searches)
    rows = [Row(name, 1, by_fold[name], tests[name]) for name in plan.names]
    rows += [
        Row(name, plan.choice.folds * len(groups.get(name, plan.names)), by_fold[name], tests[name]) for name in joined
    ]
    _write_ensemble(plan, searches[ENSEMBLE].best(), ensemble)
    lines = [row.values() for row in rows]
    write_text(plan.choice.work_dir / SCORES, csv_text(list(lines[0]), lines))
    return terminal_table(_grid(plan, rows))


def _groups(plan: Plan) -> dict[str, list[int]]:
    """What is joined: each family, where there are several, and all; name -> numbers of configs."""
    tasks = dict.fromkeys(plan.tasks)
    groups = {
        f"all of {family_for(task).toolbox}": [number for number, each in enumerate(plan.tasks) if each == task]
        for task in (tasks if len(tasks) > 1 else ())
    }
    return groups | {ENSEMBLE: list(range(len(plan.names)))}


def _search(plan: Plan, models: Sequence[int]) -> MixSearch:
    """Fit what joins models on images that their networks have not seen."""

    def small(image_id: str) -> list[np.ndarray]:
        files = [files_of(plan.out_of_fold(model), image_id)[0] for model in models]
        return [shrink(read_mask(plan.labelled.masks[image_id])), *(shrink(read_gray(file)) for file in files)]

    ids = [image.id for image in plan.labelled.images]
    copies = np.stack(list(map_files(small, ids, "fitting")), axis=1)
    return MixSearch(lesion_pixels(copies[0]), copies[1:])


def _out_of_fold(
    plan: Plan, groups: Mapping[str, Sequence[int]], searches: Mapping[str, MixSearch]
) -> dict[str, list[dict[str, float]]]:
    """The mean scores of each fold, by what found the masks.

    What joins models is fitted for each fold on the others, so that no image is scored by what was fitted on it.
    """
    folds = np.array([plan.folds[image.id] for image in plan.labelled.images])
    numbers = range(plan.choice.folds)
    mixes = {name: [search.best(folds != fold) for fold in numbers] for name, search in searches.items()}

    def score(image_id: str) -> dict[str, dict[str, float]]:
        files = {
            variant: [files_of(plan.out_of_fold(model, variant), image_id) for model in range(len(plan.names))]
            for variant in plan.variants
        }
        soft = {variant: [read_gray(file) for file, _ in pairs] for variant, pairs in files.items()}
        found = {name: lesion_pixels(read_mask(files[""][model][1])) for model, name in enumerate(plan.names)}
        fold = plan.folds[image_id]
        for name, models in groups.items():
            found[name] = mixes[name][fold].lesion([soft[""][model] for model in models])
        if plan.choice.tta:
            found[f"{ENSEMBLE} + TTA"] = mixes[ENSEMBLE][fold].lesion(soft[TTA])
        truth = lesion_pixels(read_mask(plan.labelled.masks[image_id]))
        return {name: _scores(truth, mask) for name, mask in found.items()}

    ids = [image.id for image in plan.labelled.images]
    scores = list(map_files(score, ids, "scoring out of fold"))
    return {
        name: [
            mean_scores([each[name] for each, of_fold in zip(scores, folds, strict=True) if of_fold == fold], SHOWN)
            for fold in numbers
        ]
        for name in scores[0]
    }


def _on_test(
    plan: Plan, groups: Mapping[str, Sequence[int]], searches: Mapping[str, MixSearch]
) -> tuple[dict[str, list[dict[str, float]]], list[ImageResult]]:
    """The mean scores on the test, by what found the masks, and what the ensemble found."""
    mixes = {name: search.best() for name, search in searches.items()}
    paths = {image.id: image.path for image in plan.tested.images}

    def score(image_id: str) -> tuple[dict[str, list[dict[str, float]]], ImageResult]:
        truth = lesion_pixels(read_mask(plan.tested.masks[image_id]))
        soft = {variant: _mean_of_folds(plan, image_id, variant) for variant in plan.variants}
        found: dict[str, list[np.ndarray]] = {name: [] for name in plan.names}
        for job in plan.jobs:
            mask = read_mask(files_of(plan.on_test(job), image_id)[1])
            found[plan.names[job.model]].append(lesion_pixels(mask))
        for name, models in groups.items():
            found[name] = [mixes[name].lesion([soft[""][model] for model in models])]
        if plan.choice.tta:
            found[f"{ENSEMBLE} + TTA"] = [mixes[ENSEMBLE].lesion(soft[TTA])]
        (mask,) = found[ENSEMBLE]
        counts, packed = Confusion.from_masks(truth, mask), pack_mask(mask)
        result = ImageResult(image_id, str(paths[image_id]), str(plan.tested.masks[image_id]), counts, packed)
        return {name: [_scores(truth, each) for each in masks] for name, masks in found.items()}, result

    scores = list(map_files(score, [image.id for image in plan.tested.images], "scoring the test"))
    means = {
        name: [
            mean_scores([each[name][number] for each, _ in scores], SHOWN) for number in range(len(scores[0][0][name]))
        ]
        for name in scores[0][0]
    }
    return means, [result for _, result in scores]


def _mean_of_folds(plan: Plan, image_id: str, variant: str) -> list[np.ndarray]:
    """What each config's networks find on average in an image of the test: (H, W) float32, 0..255, a config each."""
    of_model: list[list[np.ndarray]] = [[] for _ in plan.names]
    for job in plan.jobs:
        of_model[job.model].append(read_gray(files_of(plan.on_test(job, variant), image_id)[0]))
    return [np.stack(grays).mean(0, dtype=np.float32) for grays in of_model]


def _write_ensemble(plan: Plan, mix: Mix, table: Sequence[ImageResult]) -> None:
    """Write `ensemble/`: its card, with the members relative to it, and the report of the test."""
    folder = plan.choice.work_dir / ENSEMBLE
    members = []
    for job in plan.jobs:
        if weight := mix.weights[job.model]:
            model, checkpoint = job.member()
            member = Member(
                os.path.relpath(model, folder),
                None if checkpoint is None else os.path.relpath(checkpoint, folder),
                weight / plan.choice.folds,
                file_sha256(checkpoint or model),
            )
            members.append(member)
    EnsembleCard(tuple(members), mix.threshold).write(folder)
    notes = [
        f"The prediction is an ensemble of {len(members)} networks, from soft masks in 8 bits; its weights and "
        "threshold were fitted on training images that the networks had not seen."
    ]
    write_report(folder, table, provenance_of_masks(folder / CARD, fingerprints(table)), notes)


def _grid(plan: Plan, rows: Sequence[Row]) -> Grid:
    test = plan.tested_split
    header = ["per image", "networks", *(f"{place} {score}" for place in ("out-of-fold", test) for score in _NAMES)]
    cells = []
    for row in rows:
        values = row.values()
        cells.append([row.name, str(row.networks)])
        for place, parts in (("out_of_fold", row.out_of_fold), ("test", row.test)):
            for score in SHOWN:
                spread = f" ±{values[f'{place}_{score}_spread']:.3f}" if len(parts) > 1 else ""
                cells[-1].append(f"{values[f'{place}_{score}']:.3f}{spread}")
    return Grid(header, cells)


_NAMES = [name.replace("_", "-") for name in SHOWN]


def _scores(truth: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    return per_image_scores(Confusion.from_masks(truth, mask))


def read_gray(path: Path) -> np.ndarray:
    """Read a soft mask: (H, W) uint8, 255 times the probability."""
    return decode_picture(read_file(path), path, cv2.IMREAD_GRAYSCALE)
