"""Trains a model as a config says."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from mmengine.config import Config
from mmengine.dist import is_main_process

import lesionseg.openmmlab  # noqa: F401
from lesionseg.cli import check_folder
from lesionseg.engine.before_run import (
    backbone_weights,
    check_backbone_weights,
    check_data,
    check_own_gpu,
    one_run,
    remove_folder,
    start_processes,
    starting_weights,
)
from lesionseg.engine.checkpoint import secure_loading
from lesionseg.engine.config import Options, check_schedule, load_config, told_as_misfit
from lesionseg.engine.cpu_speed import keep_freed_memory, use_channels_last, use_precision
from lesionseg.engine.interruption import stop_request
from lesionseg.engine.progress import tell_training
from lesionseg.engine.resuming import (
    TRAIN_IDS,
    ResumableRunner,
    ResumeHook,
    can_be_resumed,
    newest_checkpoint,
    unusable_state,
)
from lesionseg.engine.saving import LAST, VALIDATED, ValidatedCheckpointHook
from lesionseg.engine.screen import screen
from lesionseg.engine.ssl_backbone import SSL_BACKBONE
from lesionseg.engine.step_graph import check_step_graph
from lesionseg.engine.work_dir import best_checkpoints, checkpoints, trained_configs
from lesionseg.errors import DataError, Stopped, first_names
from lesionseg.evaluation.reconstruction import RECONSTRUCTIONS
from lesionseg.evaluation.report import FILES
from lesionseg.evaluation.report_file import REPORT
from lesionseg.files import real_path
from lesionseg.inference.quality import quality_file

LEARNING_CURVE = "learning_curve.png"
# Beside the checkpoints of a training, also where these are no longer there.
_QUALITY = re.compile(r"(?:best_.+_)?iter_[0-9]+\.quality\.json")


@dataclass(frozen=True)
class Training:
    """What a training has done.

    Attributes:
        work_dir: where its checkpoints lie.
        before: iterations that an earlier run had done.
        done: iterations that are done now.
        is_main: whether this is the process that speaks for all of them.
    """

    work_dir: str
    before: int
    done: int
    is_main: bool


def train(options: Options, resume: bool | Literal["auto"] = False, overwrite: bool = False) -> Training:
    """Train as the config says.

    Args:
        options: config and flags.
        resume: go on from the newest checkpoint in the work_dir that can be read; `"auto"` begins where there is none.
        overwrite: remove what an earlier run left in the work_dir.

    Returns:
        what was done.

    Raises:
        DataError: the config, a data set, a mask or the starting weights cannot be used; the work_dir holds another
            run's results and neither flag is set, or another training writes into it; what is to be resumed is another
            training; the training diverges.
        Stopped: by Ctrl-C or SIGTERM, after a checkpoint was written.

    Example:
        >>> train(Options("config.py", cfg_options=["data_root=data/mine"])).work_dir
        'work_dirs/config'
    """
    check_own_gpu(options.launcher)
    with screen.calm(options.verbose, options.launcher):
        return _train(options, resume, overwrite)


def _train(options: Options, resume: bool | Literal["auto"], overwrite: bool) -> Training:
    cfg = load_config(options)
    if resume == "auto":
        resume = bool(checkpoints(cfg.work_dir))
    with told_as_misfit(options.config):
        check_schedule(cfg, options.config)
        check_step_graph(cfg)
        precision = use_precision(cfg)
        if not resume:
            check_backbone_weights(cfg)
    check_work_dir(cfg.work_dir, resume, overwrite, options.trust_checkpoint)
    if overwrite:
        _check_not_removed(cfg)
    keep_freed_memory()
    secure_loading(options.trust_checkpoint)
    start_processes(cfg, options.local_rank)
    cfg.resume = resume
    if resume:
        cfg.load_from = str(newest_checkpoint(cfg.work_dir, options.trust_checkpoint))
    with stop_request.noted(), _one_line(cfg, options.config) as runners, one_run("train", cfg.work_dir):
        if is_main_process():
            for loader in ("train_dataloader", "val_dataloader"):
                check_data(cfg, loader)
        if resume:
            screen.tell(f"resuming from {cfg.load_from}")
        elif cfg.get("load_from") is not None:
            cfg.load_from = starting_weights(cfg, options.config)
        _add_hooks(cfg)
        runner = ResumableRunner.from_cfg(cfg)
        runners.append(runner)
        use_channels_last(runner.model, cfg)
        # A line for each of several hundred parameters hides all others.
        runner.logger.addFilter(lambda record: not record.getMessage().startswith("paramwise_options"))
        check_scores(runner)
        check_custom_keys(options.cfg_options, [name for name, _ in runner.model.named_parameters()])
        if overwrite and is_main_process():
            remove_results(cfg.work_dir)
        tell_training(runner, precision)
        runner.train()
    return Training(cfg.work_dir, _begin(runner) or 0, runner.iter, runner.rank == 0)


def check_work_dir(work_dir: str, resume: bool, overwrite: bool, trust: bool = False) -> None:
    """Raise DataError where a training would replace what another run left."""
    check_folder(work_dir, "--work-dir")
    found = [path.name for path in _results(work_dir) if path.suffix == ".pth" or path.name == REPORT]
    if resume or overwrite or not found:
        return
    go_on = "--resume to go on with it, " if can_be_resumed(work_dir, trust) else ""
    raise DataError(
        f"{work_dir}: holds the results of another run ({first_names(found)}), expected a folder without. Add {go_on}"
        "--overwrite to replace them, or choose another --work-dir."
    )


def _check_not_removed(cfg: Config) -> None:
    """Raise DataError where --overwrite would remove what the training is to begin with."""
    for path in (cfg.get("load_from"), backbone_weights(cfg)):
        if path and any(real_path(path) == real_path(result) for result in _results(cfg.work_dir)):
            raise DataError(
                f"{path}: --overwrite would remove it before the training begins with it, expected a file that stays. "
                "Choose another --work-dir."
            )


def remove_results(work_dir: str) -> None:
    """Remove what a training and a test leave in a work_dir; logs stay."""
    for path in _results(work_dir):
        path.unlink()


def check_scores(runner: ResumableRunner) -> None:
    """Raise DataError where the best checkpoint, or when to stop, is chosen by a score that no metric gives."""
    metrics = runner.val_loop.evaluator.metrics if runner.val_loop is not None else []
    if not all(hasattr(metric, "score_names") for metric in metrics):
        # Those of others say what they give only when they have given it.
        return
    names = [name for metric in metrics for name in metric.score_names]
    for hook in runner.hooks:
        asked = getattr(hook, "save_best", None) or getattr(hook, "monitor", None) or []
        for score in [asked] if isinstance(asked, str) else asked:
            if score not in (*names, "auto"):
                near = get_close_matches(score, names, n=1, cutoff=0)
                expected = f"one of {', '.join(names)}" if names else "a metric in val_evaluator, which is empty"
                raise DataError(
                    f"{type(hook).__name__}: no metric of val_evaluator gives {score}, expected {expected}. Correct it"
                    f"{f', perhaps to {near[0]}' if near else ''}."
                )


def check_custom_keys(options: Sequence[str], parameters: Sequence[str]) -> None:
    """Raise DataError where --cfg-options give a learning rate or weight decay to parameters that are not there."""
    for option in options:
        typed = re.match(r"optim_wrapper\.paramwise_cfg\.custom_keys\.([\w-]+)", option)
        if typed and not any(typed[1] in name for name in parameters):
            parts = {part for name in parameters for part in name.split(".")}
            [near] = get_close_matches(typed[1], sorted(parts), n=1, cutoff=0)
            raise DataError(
                f"--cfg-options {option}: no parameter has {typed[1]} in its name, expected a part of one, such as "
                f"{near}. Correct it."
            )


def _results(work_dir: str) -> list[Path]:
    folder = Path(work_dir)
    named = [folder / name for name in (LAST, LEARNING_CURVE, TRAIN_IDS, RECONSTRUCTIONS, SSL_BACKBONE, *FILES)]
    return [
        *checkpoints(folder).values(),
        *best_checkpoints(folder),
        *(path for path in sorted(folder.glob(quality_file("*.pth").name)) if _QUALITY.fullmatch(path.name)),
        *trained_configs(folder),
        *(path for path in named if path.is_file()),
    ]


def _add_hooks(cfg: Config) -> None:
    """Add what every training needs, whatever its config names."""
    hooks = [
        dict(hook, type="ResumableEarlyStoppingHook") if hook["type"] == "EarlyStoppingHook" else hook
        for hook in cfg.get("custom_hooks") or []
    ]
    if not any(hook["type"] == "RandomStateHook" for hook in hooks):
        hooks.append(dict(type="RandomStateHook"))
    added = [dict(type="FitHook", new_parts=cfg.get("new_parts", ())), dict(type="ResumeHook"), dict(type="FiniteHook")]
    # The config of a work_dir has them already.
    names = {hook["type"] for hook in added}
    cfg.custom_hooks = [*(hook for hook in hooks if hook["type"] not in names), *added]
    default = dict(cfg.get("default_hooks") or {})
    saving = dict(default.get("checkpoint") or {})
    if saving.get("type", "CheckpointHook") == "CheckpointHook":
        saving.update(type="ValidatedCheckpointHook")
    cfg.default_hooks = dict(runtime_info=dict(type="LateInfoHook")) | default | dict(checkpoint=saving)


def _begin(runner: ResumableRunner) -> int | None:
    return next(hook.begin for hook in runner.hooks if isinstance(hook, ResumeHook))


@contextmanager
def _one_line(cfg: Config, config: str) -> Iterator[list[ResumableRunner]]:
    """Turn what stops a training before its first validation is done into one line that names the config.

    Yields a list that takes the runner, once there is one. A work_dir that was made meanwhile is removed.
    """
    existed = Path(cfg.work_dir).exists()
    runners: list[ResumableRunner] = []
    try:
        yield runners
    except Exception as error:
        if stop_request.pending and "DataLoader worker" in str(error):
            # A signal to the whole group has ended the loader processes, too, just before they were needed.
            saving = [hook for hook in runners[0].hooks if isinstance(hook, ValidatedCheckpointHook)] if runners else []
            raise Stopped(stop_request.pending, " ".join(["stopped.", *(hook.next_step for hook in saving)])) from error
        begin = _begin(runners[0]) if runners else None
        started = begin is not None and runners[0].iter > begin
        if not started and not existed and is_main_process():
            remove_folder(cfg.work_dir)
        if started and VALIDATED in runners[0].message_hub.runtime_info:
            raise
        with told_as_misfit(config):
            if runners and runners[0]._resume and not started and not isinstance(error, DataError | OSError):
                raise unusable_state(cfg.load_from, error) from error
            raise
