"""Config and flags -> Runner -> training or test."""

import copy
import os
import re
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from urllib.error import URLError

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import init_dist, is_main_process
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner

from lesionseg.data.datasets.preflight import check_masks
from lesionseg.engine.checkpoint import fetch_weights, secure_loading
from lesionseg.engine.config import Options, check_schedule, config_text, evaluators, is_metric, load_config
from lesionseg.engine.cpu import keep_freed_memory, use_channels_last, use_cpu_precision
from lesionseg.engine.families import family_of
from lesionseg.errors import DataError
from lesionseg.evaluation.lesion_metric import LesionMetric
from lesionseg.evaluation.report import provenance, write_pictures, write_report
from lesionseg.evaluation.results import ImageResult


@dataclass(frozen=True)
class Evaluation:
    """What a test has found.

    Attributes:
        work_dir: where its report lies.
        table: one row per image, sorted by id; none in a distributed test's other processes.
        coco: MMDetection's scores by name, such as `segm_mAP_50`; none for semantic segmentation.
        notes: what a reader of the scores has to know, a sentence each.
    """

    work_dir: str
    table: list[ImageResult]
    coco: dict[str, float]
    notes: list[str]


def train(options: Options, resume: bool = False) -> Runner:
    """Train as the config says.

    Args:
        options: config and flags.
        resume: go on from the latest checkpoint in the work_dir.

    Returns:
        the runner, after its last iteration.

    Raises:
        DataError: the config, a data set, a mask or the starting weights cannot be used.
    """
    cfg = load_config(options)
    check_schedule(cfg, options.config)
    if precision := use_cpu_precision(cfg):
        print(precision)
    keep_freed_memory()
    cfg.resume = resume
    secure_loading(options.trust_checkpoint)
    _start_processes(cfg)
    latest = Path(cfg.work_dir) / "last_checkpoint"
    if resume and not latest.is_file():
        raise DataError(f"{cfg.work_dir}: no checkpoint to resume from, expected {latest}. Train without --resume.")
    if resume:
        cfg.load_from = None
    if is_main_process():
        for loader in ("train_dataloader", "val_dataloader"):
            _check_data(cfg, loader)
    if cfg.get("load_from"):
        cfg.load_from = _starting_weights(cfg, options.config)
    cfg.custom_hooks = [*cfg.get("custom_hooks", []), dict(type="FitHook", new_parts=cfg.get("new_parts", ()))]
    runner = Runner.from_cfg(cfg)
    use_channels_last(runner.model)
    # A line for each of several hundred parameters hides all others.
    runner.logger.addFilter(lambda record: not record.getMessage().startswith("paramwise_options"))
    runner.train()
    return runner


def evaluate(
    options: Options, checkpoint: str, tta: bool = False, out: str | None = None, show_dir: str | None = None
) -> Evaluation:
    """Score a checkpoint on the config's test set, and write the report into the work_dir.

    Args:
        options: config and flags.
        checkpoint: a `.pth` file, or an ONNX file that `tools/export.py` made of one.
        tta: average over flipped copies of each image.
        out: folder for the predicted masks, named as the challenge wants them.
        show_dir: folder for a picture of every image with both outlines.

    Raises:
        DataError: the config, the data set or the checkpoint cannot be used, or the config has no LesionMetric, or
            for `tta` no `tta_model`.
    """
    if not Path(checkpoint).is_file():
        raise DataError(f"{checkpoint}: no such checkpoint, expected a .pth file. Train first: tools/train.py CONFIG.")
    cfg = load_config(options)
    exported = Path(checkpoint).suffix == ".onnx"
    if tta and "tta_model" not in cfg:
        raise DataError(
            f"{options.config}: --tta has nothing to average with, expected a tta_model in the config; MMDetection's "
            "refuses masks. Test without --tta."
        )
    metrics = evaluators(cfg, "test")
    if not any(is_metric(settings, "LesionMetric") for settings in metrics):
        raise DataError(
            f"{options.config}: no LesionMetric in test_evaluator, expected it for the report. Add "
            "dict(type='LesionMetric')."
        )
    secure_loading(options.trust_checkpoint)
    _start_processes(cfg)
    if is_main_process():
        _check_data(cfg, "test_dataloader")
    text = config_text(cfg)
    cfg = _for_test(cfg, out)
    if exported:
        _use_exported(cfg, checkpoint, tta)
    else:
        cfg.load_from = checkpoint
        if tta:
            cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
            cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    runner = Runner.from_cfg(cfg)
    scores = runner.test()
    if not is_main_process():
        return Evaluation(cfg.work_dir, [], {}, [])
    metric = next(metric for metric in runner.test_loop.evaluator.metrics if isinstance(metric, LesionMetric))
    notes = [*metric.notes, *(["Averaged over flipped copies of each image."] if tta else [])]
    coco = {name.removeprefix("coco/"): value for name, value in scores.items() if name.startswith("coco/")}
    annotations = next((settings["ann_file"] for settings in metrics if is_metric(settings, "LesionCocoMetric")), None)
    operators = f"onnxruntime {version('onnxruntime')}" if exported else import_module("mmcv._ext").__spec__.origin
    origin = provenance(options.config, text, checkpoint, operators, metric.table, annotations)
    write_report(cfg.work_dir, metric.table, origin, notes, coco, metric.optimistic)
    if show_dir:
        write_pictures(show_dir, metric.table)
    return Evaluation(cfg.work_dir, metric.table, coco, notes)


def _for_test(cfg: Config, out: str | None) -> Config:
    for key in (
        *("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"),
        *("val_dataloader", "val_cfg", "val_evaluator"),
    ):
        cfg[key] = None
    cfg.load_from, cfg.resume = None, False
    cfg.custom_hooks = [dict(type="FitHook")]
    if out:
        next(settings for settings in evaluators(cfg, "test") if is_metric(settings, "LesionMetric"))["out_dir"] = out
    return cfg


def _use_exported(cfg: Config, path: str, tta: bool) -> None:
    """Put an exported model in the place of the config's own; it prepares images itself."""
    import_module("lesionseg.deploy.exported_model")
    cfg.model = ConfigDict(type="mmengine.ExportedModel", path=path, task=family_of(cfg).task, tta=tta)
    cfg.data_preprocessor = None
    dataset = cfg.test_dataloader.dataset
    dataset.pipeline = [step for step in dataset.pipeline if step["type"] != "Resize"]


def _start_processes(cfg: Config) -> None:
    """Join the other processes of a distributed run, before the first of them does anything alone.

    MMEngine's own start calls `torch.cuda.set_device`, so that without a GPU it cannot be used.
    """
    if cfg.launcher == "none" or torch.distributed.is_initialized():
        return
    if torch.cuda.is_available():
        init_dist(cfg.launcher, **cfg.env_cfg.get("dist_cfg", {"backend": "nccl"}))
        return
    if cfg.launcher != "pytorch" or "RANK" not in os.environ:
        raise DataError(
            f"--launcher {cfg.launcher}: no GPU, and not started by torchrun, expected one of the two. "
            "Start it as `torchrun --nproc-per-node N tools/train.py CONFIG --launcher pytorch`."
        )
    torch.distributed.init_process_group("gloo")
    cfg.model_wrapper_cfg = dict(
        type="MMDistributedDataParallel",
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    _replace_sync_bn(cfg.model)


def _replace_sync_bn(settings: dict) -> None:
    """Synchronised batch normalisation exists on the GPU only."""
    for key, value in settings.items():
        if key == "type" and value == "SyncBN":
            settings[key] = "BN"
        elif isinstance(value, dict):
            _replace_sync_bn(value)


def _check_data(cfg: Config, loader: str) -> None:
    """Print what a data set holds, after a look at each of its masks."""
    init_default_scope(cfg.default_scope)
    settings = copy.deepcopy(cfg[loader].dataset)
    dataset = DATASETS.build(dict(settings, pipeline=[], serialize_data=False))
    name = loader.removesuffix("_dataloader")
    samples = [dataset.get_data_info(index) for index in range(len(dataset))]
    if instances := getattr(dataset, "summary", None):
        print(f"{name}: {instances}")
    if pairs := [(sample["img_path"], sample["seg_map_path"]) for sample in samples if sample.get("seg_map_path")]:
        print(f"{name}: {check_masks(pairs, name)}")


def _starting_weights(cfg: Config, config: str) -> str:
    """Fetch the weights of `load_from` before anything is built, and give their path."""
    if not re.match(r"https?://", cfg.load_from):
        if not Path(cfg.load_from).is_file():
            raise DataError(f"{cfg.load_from}: no such file, expected starting weights. Correct load_from.")
        return cfg.load_from
    try:
        return str(fetch_weights(cfg.load_from))
    except (URLError, OSError, RuntimeError) as error:
        # All that is changed beside the number of images gives way: 1xb4-ema-20k becomes 1xb4-scratch-20k.
        scratch = Path(config).with_name(re.sub(r"(\d+xb\d+-(?:amp-)?)([a-z]+-)*", r"\1scratch-", Path(config).name))
        if scratch.is_file():
            without = f", or train without: {scratch}"
        elif cfg.model.backbone.get("frozen_stages", -1) < 0:
            without = ", or train without: --cfg-options load_from=None"
        else:
            # Its frozen layers would stay random.
            without = ""
        raise DataError(
            f"{cfg.load_from}: the starting weights cannot be fetched ({getattr(error, 'reason', error)}), expected "
            f"access to that address. Fetch them elsewhere and add --cfg-options load_from=FILE{without}."
        ) from error
