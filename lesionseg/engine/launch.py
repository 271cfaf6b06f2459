"""Config and flags -> Runner -> training or test."""

import argparse
import copy
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from urllib.error import URLError

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.dist import init_dist, is_main_process
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner

import lesionseg.openmmlab  # noqa: F401
from lesionseg.data.preflight import check_masks
from lesionseg.engine.checkpoint import fetch_weights, secure_loading
from lesionseg.errors import DataError
from lesionseg.evaluation.lesion_metric import LesionMetric
from lesionseg.evaluation.report import provenance, write_report
from lesionseg.evaluation.results import ImageResult

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


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


@dataclass(frozen=True)
class Options:
    """What the flags of `tools/train.py` and `tools/test.py` have in common; see their `--help`."""

    config: str
    work_dir: str | None = None
    cfg_options: Sequence[str] = ()
    launcher: str = "none"
    amp: bool = False
    trust_checkpoint: bool = False

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Options":
        """Take the flags that `lesionseg.cli.add_config_arguments` made."""
        if args.local_rank is not None:
            os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
        return cls(**{name: value for name, value in vars(args).items() if name in cls.__dataclass_fields__})


def load_config(options: Options) -> Config:
    """Load a config and lay the flags over it.

    `--cfg-options data_root=... max_iters=...` reach everything that repeats them: in MMEngine the variables
    of a config are not links, so that setting these alone would silently change nothing.

    Raises:
        DataError: no such file, it does not load, or the learning rate's schedule does not end with the training.
    """
    path = Path(options.config)
    if not path.is_file():
        raise DataError(f"{path}: no such config, expected a file such as configs/mask2former/*.py. Check the path.")
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # A config is code: it can fail in any way.
        raise DataError(f"{path}: does not load: {type(error).__name__}: {error}. Mend the config.") from error
    settings = _parse(options.cfg_options)
    try:
        cfg.merge_from_dict(settings)
    except (KeyError, TypeError, AssertionError, IndexError) as error:
        raise DataError(
            f"{path}: --cfg-options does not fit: {error}. Give the full name of a setting as in the config."
        ) from error
    if "max_iters" not in cfg.train_cfg:
        raise DataError(
            f"{path}: its training is counted in epochs, expected iterations, with which a resumed training ends as one "
            "that was not stopped. Set train_cfg to an IterBasedTrainLoop, as the configs beside it do."
        )
    if "data_root" in settings:
        for loader in LOADERS:
            cfg[loader].dataset.data_root = cfg.data_root
    _bind_coco_metrics(cfg)
    if "max_iters" in settings:
        _stretch_schedule(cfg, cfg.max_iters)
    end = cfg.param_scheduler[-1].end
    if end != cfg.train_cfg.max_iters:
        raise DataError(
            f"{path}: the learning rate's schedule ends after {end} iterations, expected the "
            f"{cfg.train_cfg.max_iters} of the training. Set both by --cfg-options max_iters={cfg.train_cfg.max_iters}."
        )
    if options.amp:
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.loss_scale = "dynamic"
    cfg.launcher = options.launcher
    # The flag goes first, then what the config says, then the config's name.
    cfg.work_dir = options.work_dir or cfg.get("work_dir") or str(Path("work_dirs") / path.stem)
    return cfg


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
    if cfg.optim_wrapper.type == "AmpOptimWrapper" and not options.amp and not torch.cuda.is_available():
        print("No GPU: training in full precision instead of the config's mixed one.")
        settings = {key: value for key, value in cfg.optim_wrapper.items() if key not in ("loss_scale", "dtype")}
        cfg.optim_wrapper = dict(settings, type="OptimWrapper")
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
        checkpoint: a `.pth` file.
        tta: average over flipped copies of each image.
        out: folder for the predicted masks, named as the challenge wants them.
        show_dir: folder for MMSegmentation's pictures of every image.

    Raises:
        DataError: the config, the data set or the checkpoint cannot be used, or the config has no `tta_model`.
    """
    if not Path(checkpoint).is_file():
        raise DataError(f"{checkpoint}: no such checkpoint, expected a .pth file. Train first: tools/train.py CONFIG.")
    cfg = load_config(options)
    if tta and "tta_model" not in cfg:
        raise DataError(
            f"{options.config}: --tta has nothing to average with, expected a tta_model in the config; MMDetection's "
            "refuses masks. Test without --tta."
        )
    secure_loading(options.trust_checkpoint)
    _start_processes(cfg)
    if is_main_process():
        _check_data(cfg, "test_dataloader")
    config_text = cfg.pretty_text
    runner = Runner.from_cfg(_for_test(cfg, checkpoint, tta, out, show_dir))
    scores = runner.test()
    if not is_main_process():
        return Evaluation(cfg.work_dir, [], {}, [])
    metric = next(metric for metric in runner.test_loop.evaluator.metrics if isinstance(metric, LesionMetric))
    notes = [*metric.notes, *(["Averaged over flipped copies of each image."] if tta else [])]
    coco = {name.removeprefix("coco/"): value for name, value in scores.items() if name.startswith("coco/")}
    operators = import_module("mmcv._ext").__spec__.origin
    origin = provenance(options.config, config_text, checkpoint, operators, metric.table)
    write_report(cfg.work_dir, metric.table, origin, notes, coco)
    return Evaluation(cfg.work_dir, metric.table, coco, notes)


def _for_test(cfg: Config, checkpoint: str, tta: bool, out: str | None, show_dir: str | None) -> Config:
    for key in (
        *("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"),
        *("val_dataloader", "val_cfg", "val_evaluator"),
    ):
        cfg[key] = None
    cfg.load_from, cfg.resume = checkpoint, False
    cfg.custom_hooks = [dict(type="FitHook")]
    if out:
        next(settings for settings in cfg.test_evaluator if settings["type"] == "LesionMetric")["out_dir"] = out
    if show_dir:
        cfg.default_hooks.visualization.draw = True
        cfg.visualizer.save_dir = show_dir
    if tta:
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    return cfg


def _parse(settings: Sequence[str]) -> dict:
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--cfg-options", nargs="*", action=DictAction, default={})
    try:
        return parser.parse_args(["--cfg-options", *settings]).cfg_options if settings else {}
    except ValueError as error:
        raise DataError(
            f"--cfg-options {' '.join(settings)}: not KEY=VALUE pairs, expected a=1 b.c=2. Correct them."
        ) from error


def _stretch_schedule(cfg: Config, max_iters: int) -> None:
    """Give a training another length: warm-up and decay keep their shares of it."""
    for scheduler in cfg.param_scheduler:
        for key in ("begin", "end"):
            # Rounded up, so that no warm-up gets the length zero.
            scheduler[key] = -(-scheduler[key] * max_iters // cfg.train_cfg.max_iters)
    for hook in cfg.get("custom_hooks", []):
        if hook["type"] == "TrainingStagesHook":
            for stage in hook["stages"]:
                stage["begin"] = -(-stage["begin"] * max_iters // cfg.train_cfg.max_iters)
    cfg.train_cfg.max_iters = max_iters
    cfg.train_cfg.val_interval = min(cfg.train_cfg.val_interval, max_iters)


def _bind_coco_metrics(cfg: Config) -> None:
    """Let MMDetection's metric read the very file that its data set reads."""
    for split in ("val", "test"):
        dataset, evaluators = cfg[f"{split}_dataloader"].dataset, cfg[f"{split}_evaluator"]
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            if evaluator["type"] == "CocoMetric":
                evaluator["ann_file"] = os.path.join(dataset.data_root, dataset.ann_file)


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
        without = scratch if scratch.is_file() else "--cfg-options load_from=None"
        raise DataError(
            f"{cfg.load_from}: the starting weights cannot be fetched ({getattr(error, 'reason', error)}), expected "
            f"access to that address. Fetch them elsewhere and add --cfg-options load_from=FILE, or train without: "
            f"{without}."
        ) from error
