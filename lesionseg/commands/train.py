"""Trains a model as a config says."""

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.runner import Runner

import lesionseg.openmmlab  # noqa: F401
from lesionseg.engine.checkpoint import secure_loading
from lesionseg.engine.config import Options, check_schedule, load_config
from lesionseg.engine.cpu import keep_freed_memory, use_channels_last, use_cpu_precision
from lesionseg.engine.start import check_data, one_run, start_processes, starting_weights
from lesionseg.errors import DataError


def train(options: Options, resume: bool = False) -> Runner:
    """Train as the config says.

    Args:
        options: config and flags.
        resume: go on from the latest checkpoint in the work_dir.

    Returns:
        the runner, after its last iteration.

    Raises:
        DataError: the config, a data set, a mask or the starting weights cannot be used, or
            another training writes into the work_dir.

    Example:
        >>> runner = train(Options("config.py", cfg_options=["data_root=data/mine"]))
        >>> runner.work_dir
        'work_dirs/config'
    """
    cfg = load_config(options)
    check_schedule(cfg, options.config)
    if precision := use_cpu_precision(cfg):
        print(precision)
    keep_freed_memory()
    cfg.resume = resume
    secure_loading(options.trust_checkpoint)
    start_processes(cfg, options.local_rank)
    latest = Path(cfg.work_dir) / "last_checkpoint"
    if resume and not latest.is_file():
        raise DataError(f"{cfg.work_dir}: no checkpoint to resume from, expected {latest}. Train without --resume.")
    if resume:
        cfg.load_from = None
    if is_main_process():
        for loader in ("train_dataloader", "val_dataloader"):
            check_data(cfg, loader)
    if cfg.get("load_from"):
        cfg.load_from = starting_weights(cfg, options.config)
    cfg.custom_hooks = [*cfg.get("custom_hooks", []), dict(type="FitHook", new_parts=cfg.get("new_parts", ()))]
    with one_run("train", cfg.work_dir):
        runner = Runner.from_cfg(cfg)
        use_channels_last(runner.model)
        # A line for each of several hundred parameters hides all others.
        runner.logger.addFilter(lambda record: not record.getMessage().startswith("paramwise_options"))
        runner.train()
    return runner
