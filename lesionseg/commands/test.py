"""Scores a checkpoint, or what any other method finds, on a config's test set."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from torch import nn

import lesionseg.openmmlab  # noqa: F401
from lesionseg.cli import check_folder
from lesionseg.commands.expected import check_fit, expect, fit, is_training_split, quality_of
from lesionseg.data.names import mask_file
from lesionseg.data.release.data_set_folder import find_seen
from lesionseg.engine.before_run import check_data, check_own_gpu, one_run, remove_folder, start_processes
from lesionseg.engine.checkpoint import secure_loading
from lesionseg.engine.config import (
    Options,
    config_text,
    evaluators,
    is_metric,
    load_config,
    resizing_step,
    told_as_misfit,
)
from lesionseg.engine.families import INSTANCES, SEMANTIC, family_of
from lesionseg.engine.progress import CalmRunner, tell_test
from lesionseg.engine.screen import screen
from lesionseg.environment import operators_in_use
from lesionseg.errors import DataError, first_names
from lesionseg.evaluation.failures import Failures
from lesionseg.evaluation.groups import Groups, labels_of, match_rows, read_metadata, score_groups
from lesionseg.evaluation.lesion_metric import LesionMetric, lesion_id
from lesionseg.evaluation.report import provenance, write_pictures, write_report
from lesionseg.evaluation.report_file import folder_for
from lesionseg.evaluation.results import ImageResult
from lesionseg.files import folder_around
from lesionseg.inference import finder_model  # noqa: F401  Registers the model of `_use_finder`.
from lesionseg.inference.ensemble_card import is_ensemble
from lesionseg.inference.opening import OTSU_BLUE, check_tested, needs_no_config, what_computes, what_defines
from lesionseg.inference.postprocess import PostProcessing
from lesionseg.inference.quality import write_quality
from lesionseg.inference.sample_numbers import numbers_of
from lesionseg.pixels.instances import BEST, TOP1, UNION

# What a test needs nothing of.
_OF_TRAINING = (
    *("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"),
    *("val_dataloader", "val_cfg", "val_evaluator"),
)


@dataclass(frozen=True)
class Evaluation:
    """What a test has found.

    Attributes:
        folder: where its report lies.
        table: one row per image, sorted by id; none in a distributed test's other processes.
        coco: MMDetection's scores by name, such as `segm_mAP_50`; none for semantic segmentation.
        notes: what a reader of the scores has to know, a sentence each.
        seen: ids of the images that have one of their group in training; None where no groups are known.
        failures: how well the model knows when it fails; None where it is sure everywhere.
        quality_file: what was fitted by these images, if that was asked for.
        groups: scores by groups of images, if they were asked for.
    """

    folder: str
    table: list[ImageResult]
    coco: dict[str, float]
    notes: list[str]
    seen: set[str] | None = None
    failures: Failures | None = None
    quality_file: Path | None = None
    groups: Groups | None = None


def evaluate(
    options: Options,
    model: str,
    tta: bool = False,
    out: str | None = None,
    show_dir: str | None = None,
    overwrite: bool = False,
    postprocess: PostProcessing | None = None,
    fit_quality: bool = False,
    groups: str | None = None,
) -> Evaluation:
    """Score a model on the config's test set, and write the report.

    It goes into the work_dir, or, where the report of another model is there, into a folder in it that is named after
    what was tested; see `lesionseg.evaluation.report_file.folder_for`.

    Args:
        options: config and flags.
        model: a checkpoint, a `.pth` file; or what `lesionseg.inference.opening.open_finder` opens: an ONNX file that
            `tools/export.py` made of one, a folder of masks, or `otsu-blue`.
        tta: average over flipped copies of each image.
        out: folder for the predicted masks, named as the challenge wants them.
        show_dir: folder for a picture of every image with both outlines.
        overwrite: replace the report in the work_dir, whatever it is of, and what is in `out` and `show_dir`.
        postprocess: what is done to the predicted masks before they are scored; COCO's scores are of the instances as
            they were found.
        fit_quality: learn from these images what Jaccard may be expected of a mask, see `lesionseg.inference.quality`,
            and write that beside the checkpoint, where predictions and exports find it.
        groups: also score by groups of images: by what is seen in them, and by the columns of the CSV file of this
            name; with an empty name, without a file.

    Raises:
        DataError: `out` or `show_dir` holds what an earlier test wrote; the config, the data set, the model or the file
            of `groups` cannot be used, or the config has no LesionMetric, or for `tta` no `tta_model` where it is for
            semantic segmentation; or for `fit_quality` the model has learned the images.

    Example:
        >>> evaluate(Options("config.py"), "best.pth").table[0].scores["dice"]
        0.91
    """
    check_own_gpu(options.launcher)
    with screen.calm(options.verbose, options.launcher):
        return _evaluate(
            options, model, tta, out, show_dir, overwrite, postprocess or PostProcessing(), fit_quality, groups
        )


def _evaluate(
    options: Options,
    model: str,
    tta: bool,
    out: str | None,
    show_dir: str | None,
    overwrite: bool,
    postprocess: PostProcessing,
    fit_quality: bool,
    groups: str | None,
) -> Evaluation:
    check_tested(model)
    metadata = read_metadata(groups) if groups else None
    if fit_quality and needs_no_config(model) and not is_ensemble(model):
        raise DataError(
            f"{model}: --fit-quality writes beside a checkpoint, expected a .pth file or an ensemble. Fit with the "
            "checkpoint, and export it."
        )
    cfg = load_config(options)
    with told_as_misfit(options.config):
        metrics = evaluators(cfg, "test")
        _check_settings(cfg, options.config, metrics, tta)
    for flag, folder in (("--work-dir", cfg.work_dir), ("--out", out), ("--show-dir", show_dir)):
        check_folder(folder, flag)
    with told_as_misfit(options.config):
        _check_apart(cfg.test_dataloader.dataset, model, {"--out": out, "--show-dir": show_dir})
    if not overwrite:
        _check_free(out, "--out", mask_file(""))
        _check_free(show_dir, "--show-dir", ".jpg")
    of_training = is_training_split(cfg)
    data_root = cfg.test_dataloader.dataset.get("data_root")
    training = (cfg.get("train_dataloader") or {}).get("dataset", {})
    seen = find_seen(data_root, training.get("data_root")) if data_root else None
    secure_loading(options.trust_checkpoint)
    start_processes(cfg, options.local_rank)
    with told_as_misfit(options.config):
        if is_main_process():
            check_data(cfg, "test_dataloader")
        text = config_text(cfg)
        operators = _set_up(cfg, options, model, tta)
    if out:
        next(settings for settings in metrics if is_metric(settings, "LesionMetric"))["out_dir"] = out
    existed = Path(cfg.work_dir).exists()
    with one_run("test", cfg.work_dir, out, show_dir):
        with told_as_misfit(options.config), _no_log_without_scores(cfg.work_dir, existed):
            runner = _TestRunner.from_cfg(cfg)
            tell_test(runner, model)
            metric = next(metric for metric in runner.test_loop.evaluator.metrics if isinstance(metric, LesionMetric))
            metric.postprocess = postprocess.apply
            network = runner.model.module if is_model_wrapper(runner.model) else runner.model
            metric.numbers_of = numbers_of(network, metric.min_score, metric.instances)
            # What can be known to be wrong is told before masks are written.
            ids, known = _image_ids(runner.test_dataloader.dataset), quality_of(network, model, tta)
            if metadata:
                match_rows(metadata, ids)
            if fit_quality:
                check_fit(options.config, model, ids, of_training, metric.instances)
            scores = runner.test()
        if not is_main_process():
            return Evaluation(cfg.work_dir, [], {}, [])
        table, fitted = metric.table, None
        if fit_quality:
            table, fitted = fit(table)
            expected_by = f"Expected Jaccards are by the other images of these {len(table)}, in five folds."
        else:
            table, expected_by = expect(table, known)
        notes = [*metric.notes, *([_averaged(cfg)] if tta else [])]
        if steps := postprocess.describe():
            notes.append(f"Before they were scored, masks were changed: {steps}.")
        if expected_by:
            notes.append(expected_by)
        coco = {name.removeprefix("coco/"): value for name, value in scores.items() if name.startswith("coco/")}
        annotations = next(
            (settings["ann_file"] for settings in metrics if is_metric(settings, "LesionCocoMetric")), None
        )
        if metadata:
            notes += metadata.notes
        origin = provenance(options.config, text, model, operators, table, annotations, what_defines(model))
        folder = Path(cfg.work_dir) if overwrite else folder_for(cfg.work_dir, model, origin, notes)
        by_group = None if groups is None else score_groups(table, labels_of(table, metadata))
        failures = write_report(folder, table, origin, notes, coco, metric.optimistic, seen, by_group)
        if show_dir:
            write_pictures(show_dir, table)
        written = write_quality(what_defines(model), tta, fitted) if fitted else None
        return Evaluation(str(folder), table, coco, notes, seen, failures, written, by_group)


def _image_ids(dataset: BaseDataset) -> list[str]:
    return [lesion_id(dataset.get_data_info(index)) for index in range(len(dataset))]


class _TestRunner(CalmRunner):
    def dump_config(self) -> None:
        """Leave the config that the training left in the work_dir; a test's own stands in the folder of its log."""

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Leave the model as it is: processes that test have no gradients to exchange, and torch refuses to wrap what
        has none at all, such as an exported file or an ensemble."""
        return revert_sync_batchnorm(model.to(get_device()))


def _check_free(folder: str | None, flag: str, ending: str) -> None:
    """Raise DataError where a folder holds files of the kind that is to be written there."""
    if folder and (there := sorted(path.name for path in Path(folder).rglob(f"*{ending}"))):
        raise DataError(
            f"{folder}: {len(there)} files are there already ({first_names(there)}), expected none of *{ending}. "
            f"Choose another {flag}, or replace them with --overwrite."
        )


@contextmanager
def _no_log_without_scores(work_dir: str, existed: bool) -> Iterator[None]:
    """Remove a new work_dir where the block does not end: its log alone is of no use."""
    try:
        yield
    except BaseException:
        if not existed and is_main_process():
            remove_folder(work_dir)
        raise


def _check_settings(cfg: Config, config: str, metrics: list[dict], tta: bool) -> None:
    """Raise DataError for what no test can do."""
    family = family_of(cfg)  # What is for pre-training, it refuses.
    if tta and family.task == SEMANTIC and "tta_model" not in cfg:
        raise DataError(
            f"{config}: --tta has nothing to average with, expected a tta_model in the config. Test without --tta."
        )
    if tta and any(settings.get("instances") == BEST for settings in metrics if is_metric(settings, "LesionMetric")):
        raise DataError(
            f"{config}: instances={BEST}: looks at the truth, and --tta does not, expected {UNION} or {TOP1} in its "
            "LesionMetric. Set that, or test without --tta."
        )
    if not cfg.get("test_dataloader"):
        raise DataError(f"{config}: no test_dataloader, expected the images to score on. Add one, as configs/ have it.")
    if not any(is_metric(settings, "LesionMetric") for settings in metrics):
        raise DataError(
            f"{config}: no LesionMetric in test_evaluator, expected it for the report. Add dict(type='LesionMetric')."
        )


def _check_apart(dataset: dict, model: str, results: dict[str, str | None]) -> None:
    """Raise DataError where results would lie among, or replace, the images and masks that are scored."""
    prefixes = [prefix for prefix in (dataset.get("data_prefix") or {}).values() if prefix]
    inputs = [Path(dataset.get("data_root") or "", prefix) for prefix in prefixes]
    inputs += [Path(model)] if model != OTSU_BLUE and Path(model).is_dir() else []
    for flag, folder in results.items():
        if folder and folder_around(folder, inputs):
            raise DataError(f"{folder}: holds what is scored, expected a folder for results. Choose another {flag}.")


def _averaged(cfg: Config) -> str:
    if family_of(cfg).task == SEMANTIC:
        return "Averaged over flipped copies of each image."
    return "Averaged over flipped copies of each image; AP is of the instances of the image alone."


def _set_up(cfg: Config, options: Options, model: str, tta: bool) -> str:
    """Put what is to be tested into a config, in place; say whose operators it uses."""
    for key in _OF_TRAINING:
        cfg[key] = None
    cfg.load_from, cfg.resume = None, False
    cfg.custom_hooks = [dict(type="FitHook")]
    # MMEngine puts that of the top level into whatever it builds: in test-time flips, it would replace the network's.
    if preprocessor := cfg.pop("data_preprocessor", None):
        cfg.model.setdefault("data_preprocessor", preprocessor)
    if needs_no_config(model):
        _use_finder(cfg, options.config, path=model, tta=tta)
        return what_computes(model)
    if tta and family_of(cfg).task == INSTANCES:
        # MMDetection's own averages boxes, and refuses masks.
        its_config = {name: getattr(options, name) for name in ("config", "cfg_options", "trust_checkpoint")}
        _use_finder(cfg, options.config, path=model, tta=tta, options=its_config)
        return operators_in_use()
    cfg.load_from = model
    if tta:
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    return operators_in_use()


def _use_finder(cfg: Config, config: str, **settings: Any) -> None:
    """Put another method in the place of the config's own network; it takes images as they are."""
    dataset = cfg.test_dataloader.dataset
    findings = dataset.get("findings", ())
    resize = resizing_step(cfg, config)
    cfg.model = ConfigDict(type="mmengine.FinderModel", task=family_of(cfg).task, findings=findings, **settings)
    dataset.pipeline = [step for step in dataset.pipeline if step is not resize]
