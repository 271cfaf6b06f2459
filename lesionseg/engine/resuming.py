"""Going on with a training: from the newest checkpoint that can be read, as the same training, or not at all."""

import hashlib
import json
import math
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from lesionseg.engine.checkpoint import BrokenCheckpointError, load_file
from lesionseg.engine.config import describe_error
from lesionseg.engine.progress import CalmRunner
from lesionseg.engine.screen import screen
from lesionseg.engine.step_graph import StepGraphs, train_step_of
from lesionseg.engine.work_dir import checkpoints, instead_of, start_from
from lesionseg.errors import DataError, first_names
from lesionseg.files import file_sha256, write_text

# What decides the weights that a training ends with, beside the data and the number of iterations.
_SECTIONS = ("model", "data_preprocessor", "train_dataloader", "optim_wrapper", "param_scheduler", "custom_hooks")
# Where the data lie and how they are read, how a test is made, and starting weights.
_FREE = re.compile(
    r"\b(data_root|ann_file|subset|num_workers|persistent_workers|pin_memory|prefetch_factor|serialize_data|init_cfg"
    r"|test_cfg)\b"
)
# Told, for it changes only how the numbers are rounded.
_PRECISION = re.compile(r"optim_wrapper\.(type|dtype|loss_scale)\b")
# What `max_iters` stretches with the training.
_LENGTHS = re.compile(r"\.(begin|end|T_max|milestones)\b")
# What a checkpoint holds beside the weights.
_STATE = {"meta": dict, "message_hub": dict, "optimizer": dict, "param_schedulers": list}
_BATCH = "train_dataloader.batch_size"
_TOLD = ("precision", "processes")
_SETTINGS = "settings"
# In the work_dir: the ids of the images that are trained on, one a line.
TRAIN_IDS = "train_ids.txt"


class ResumableRunner(CalmRunner):
    """MMEngine's runner, which says what is wrong with a checkpoint that it cannot go on from."""

    def _init_model_weights(self) -> None:
        # A checkpoint brings all weights, and the file that a backbone began with may be gone.
        if not self._resume:
            super()._init_model_weights()

    def _maybe_compile(self, target: str) -> None:
        super()._maybe_compile(target)
        step = train_step_of(self.model, self.cfg)
        if isinstance(step, StepGraphs):
            setattr(self.model, target, step)

    def dump_config(self) -> None:
        """Leave it to `write_config`: a training that is refused when it is resumed shall not change the work_dir."""

    def write_config(self) -> None:
        """Write the config into the work_dir."""
        super().dump_config()

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Go on from a checkpoint.

        Raises:
            DataError: it is not one of this training.
        """
        try:
            super().resume(filename, *args, **kwargs)
            _check_state(self, filename)
        except DataError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError, IndexError) as error:
            raise unusable_state(filename, error) from error

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint, after hooks have looked at what it takes and completed it (`before_saving`)."""
        self.call_hook("before_saving")
        super().save_checkpoint(*args, **kwargs)


def unusable_state(path: str, error: Exception) -> DataError:
    """One line for what is raised where the state in a checkpoint is taken over, or first used."""
    return DataError(
        f"{path}: its state cannot be resumed ({describe_error(error)}), expected a checkpoint of this training. "
        f"{instead_of(path)}"
    )


def newest_checkpoint(work_dir: str | Path, trust: bool = False) -> Path:
    """The checkpoint of a work_dir from which to go on; says which newer ones cannot be read.

    Raises:
        DataError: there is none, or it holds more than data.
    """
    faults: list[str] = []
    if newest := _newest_readable(work_dir, trust, faults):
        for fault in faults:
            screen.tell(f"passed over: {fault}")
        return newest[0]
    if faults:
        raise DataError(
            *faults,
            f"{work_dir}: none of its {len(faults)} checkpoints can be read, expected one to go on from. Put a whole "
            "one there, or begin anew with --overwrite in place of --resume or --auto-resume.",
        )
    raise DataError(f"{work_dir}: no checkpoint to resume from, expected iter_<number>.pth. Train without --resume.")


def can_be_resumed(work_dir: str | Path, trust: bool = False) -> bool:
    """Whether a training can go on from the newest checkpoint of a work_dir, as far as is known before it is built."""
    try:
        newest = _newest_readable(work_dir, trust, [])
    except DataError:
        return False
    return newest is not None and not _missing_state(newest[1])


def _newest_readable(work_dir: str | Path, trust: bool, faults: list[str]) -> tuple[Path, dict] | None:
    """The newest checkpoint that can be read, and what it holds; `faults` gets a line for each that cannot."""
    for path in reversed(checkpoints(work_dir).values()):
        try:
            return path, load_file(path, "cpu", trust)
        except BrokenCheckpointError as error:
            faults.append(str(error))
    return None


def _missing_state(checkpoint: Mapping[str, object]) -> list[str]:
    return [part for part in _STATE if part not in checkpoint]


@HOOKS.register_module()
class ResumeHook(Hook):
    """Saves with every checkpoint what it was trained on and how, and goes on only with the same.

    A training of another length goes on by the schedule of that length. The config, and the ids of the images that are
    trained on, are written into the work_dir.

    Attributes:
        begin: the iterations that were done before; None until the training starts.

    Raises:
        DataError: the checkpoint is none of a training, or the data or the settings are other ones.
    """

    def __init__(self) -> None:
        self.begin: int | None = None

    def before_train(self, runner: ResumableRunner) -> None:
        self.begin = runner.iter
        runner.write_config()
        dataset = runner.train_dataloader.dataset
        ids = [dataset.get_data_info(index).get("image_id") for index in range(len(dataset))]
        if is_main_process() and all(ids):
            write_text(Path(runner.work_dir) / TRAIN_IDS, "".join(f"{id}\n" for id in ids))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint[_SETTINGS] = self._settings(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume:
            return
        path = str(runner._load_from)
        if missing := _missing_state(checkpoint):
            raise DataError(
                f"{path}: holds no {first_names(missing)}, as with save_optimizer=False or save_param_scheduler=False, "
                f"expected the state of a training. To train on, {start_from(path)}."
            )
        for part, kind in _STATE.items():
            if not isinstance(checkpoint[part], kind):
                raise DataError(f"{path}: its {part} is damaged, expected the state of a training. {instead_of(path)}")
        before, now = checkpoint.get(_SETTINGS), self._settings(runner)
        if not isinstance(before, dict):
            runner.logger.warning(f"{path} does not say how it was trained: whether it is the same now is not known.")
            return
        _check_same(before, now, path)
        for name in _TOLD:
            if before.get(name) != now[name]:
                runner.logger.warning(
                    f"{name} was {before.get(name)} and is {now[name]}: the training goes on, but not bit for bit "
                    "as it would have."
                )
        if before.get("max_iters") != now["max_iters"]:
            _reschedule(runner, checkpoint)
            runner.logger.warning(
                f"The training was to have {before.get('max_iters')} iterations, and now has {now['max_iters']}: from "
                "here on its learning rate is that of the new length."
            )
        if len(checkpoint["param_schedulers"]) != len(runner.param_schedulers or []):
            # MMEngine would go on with those that are missing as if they had not begun.
            raise unusable_state(path, ValueError(f"it holds {len(checkpoint['param_schedulers'])} schedules"))

    def _settings(self, runner: Runner) -> dict[str, str | int]:
        if not hasattr(self, "_known"):
            images = _data_fingerprint(runner.train_dataloader.dataset)
            self._known = training_settings(runner.cfg) | dict(images=images)
        return self._known


def training_settings(cfg: Config) -> dict[str, str | int]:
    """The settings that decide the weights a training ends with, by dotted name, the values as JSON."""
    flat: dict[str, str | int] = {}
    for section in _SECTIONS:
        _flatten(section, cfg.get(section), flat)
    flat = {name: value for name, value in flat.items() if not _FREE.search(name) and not _PRECISION.match(name)}
    return flat | {
        "max_iters": cfg.train_cfg.max_iters,
        # Two processes with four images each train as one with eight.
        _BATCH: cfg.train_dataloader.get("batch_size", 1) * get_world_size(),
        "precision": cfg.optim_wrapper.get("type", "OptimWrapper"),
        "processes": get_world_size(),
    }


def _flatten(name: str, value: object, flat: dict[str, str | int]) -> None:
    if isinstance(value, dict | list | tuple) and value:
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            _flatten(f"{name}.{key}", part, flat)
    else:
        # Processes without a GPU have no synchronised normalization.
        flat[name] = json.dumps(value, default=str).replace("SyncBN", "BN")


def _data_fingerprint(dataset: BaseDataset) -> str:
    """SHA-256 over names and sizes of all images and masks, and the annotations; the same wherever they lie."""
    digest = hashlib.sha256()
    annotations = str(getattr(dataset, "ann_file", ""))
    if os.path.isfile(annotations):
        digest.update(file_sha256(annotations).encode())
    for index in range(len(dataset)):
        sample = dataset.get_data_info(index)
        for path in (sample.get("img_path"), sample.get("seg_map_path")):
            if path:
                digest.update(f"{os.path.basename(path)} {os.path.getsize(path)}\n".encode())
    return f"{len(dataset)} images {digest.hexdigest()[:16]}"


def _check_same(before: dict, now: dict, path: str) -> None:
    """Raise DataError where a training would go on with other data or settings."""
    start_anew = f"or {start_from(path)}"
    if before.get("images") != now["images"]:
        raise DataError(
            f"{path}: was trained on {before.get('images')}, not on {now['images']}, expected the same images and "
            f"masks when it is resumed. Give the data_root, train_fraction, train_list and fold that it was trained "
            f"with, {start_anew}."
        )
    apart = {*_TOLD, "max_iters"}
    if before.get("max_iters") != now["max_iters"]:
        apart |= {name for name in (*before, *now) if _LENGTHS.search(name)}
    names = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name) and name not in apart]
    if names:
        changes = [f"{name} was {before.get(name)} and is {now.get(name)}" for name in names]
        raise DataError(
            f"{path}: was trained with other settings ({first_names(changes, 3)}), expected the same when it is "
            f"resumed. Give them as they were, {start_anew}."
        )


def _reschedule(runner: Runner, checkpoint: dict) -> None:
    """Put into a checkpoint the learning rates and schedules that a training of the new length has at its iteration."""
    done, schedulers = checkpoint["meta"]["iter"], runner.param_schedulers
    if not isinstance(schedulers, list) or any(scheduler.by_epoch for scheduler in schedulers):
        raise DataError(
            f"{runner._load_from}: the schedule of a training by epochs cannot follow another length, expected one by "
            f"iterations. Resume it with the max_iters that it had."
        )
    with warnings.catch_warnings():
        # That the optimizer should have made its steps meanwhile.
        warnings.simplefilter("ignore")
        for _ in range(done):
            for scheduler in schedulers:
                scheduler.step()
    names = {scheduler.param_name for scheduler in schedulers}
    saved_groups = list(checkpoint["optimizer"]["param_groups"])
    if base := checkpoint["optimizer"].get("base_param_settings"):
        # Of no parameter: what MMEngine logs as the learning rate.
        saved_groups.append(base)
    for saved, group in zip(saved_groups, runner.optim_wrapper.param_groups, strict=True):
        saved.update({name: group[name] for name in names})
    checkpoint["param_schedulers"] = [scheduler.state_dict() for scheduler in schedulers]


def _check_state(runner: Runner, path: str) -> None:
    """Raise an error for what MMEngine has resumed although it is not of the kind that the training needs."""
    for name, value in (("iter", runner.iter), ("epoch", runner.epoch)):
        if type(value) is not int or value < 0:
            raise ValueError(f"{name} is {value!r}")
    if (named := re.fullmatch(r"iter_([0-9]+)\.pth", Path(path).name)) and runner.iter != int(named[1]):
        raise ValueError(f"it is of iteration {runner.iter}")
    for optimizer_group in runner.optim_wrapper.optimizer.param_groups:
        if not isinstance(rate := optimizer_group["lr"], int | float) or not 0 <= rate < math.inf:
            raise ValueError(f"its learning rate is {rate!r}")
        for parameter in optimizer_group["params"]:
            for name, value in runner.optim_wrapper.optimizer.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor) and value.ndim and value.shape != parameter.shape:
                    raise ValueError(f"{name} of the optimizer has another shape than its parameter")
    for scheduler in runner.param_schedulers or []:
        for name in ("begin", "end", "last_step", "_global_step"):
            if not isinstance(getattr(scheduler, name), int | float) or not math.isfinite(getattr(scheduler, name)):
                raise ValueError(f"{name} of a schedule is {getattr(scheduler, name)!r}")
    curve = runner.message_hub.runtime_info.get("learning_curve", [])
    if not isinstance(curve, list) or not all(isinstance(point, dict) and "step" in point for point in curve):
        raise ValueError(f"its learning curve is {curve!r}")
    for name, value in runner.message_hub.runtime_info.items():
        if name.startswith("best_score") and not (isinstance(value, int | float) and not math.isnan(value)):
            raise ValueError(f"{name} is {value!r}")
        if name.startswith("best_ckpt") and not isinstance(value, str | None):
            raise ValueError(f"{name} is {value!r}")
