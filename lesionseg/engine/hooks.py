"""What MMEngine's hooks leave out: exact resuming, checkpoints that fit, validation loss and a learning curve."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce, get_rank, master_only
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import PixelData
from torch import nn
from torch.nn import functional

from lesionseg.engine.checkpoint import check_fit
from lesionseg.engine.learning_curve import draw_learning_curve


@HOOKS.register_module()
class FitHook(Hook):
    """Refuses a checkpoint that does not fit the model, before it is loaded.

    Args:
        new_parts: see `lesionseg.engine.checkpoint.check_fit`; only for starting a training, never
            for resuming or testing one.
    """

    def __init__(self, new_parts: tuple[str, ...] = ()) -> None:
        self.new_parts = tuple(new_parts)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        starting = runner._train_loop is not None and not runner._resume
        check_fit(bare_model(runner.model), checkpoint, str(runner._load_from), self.new_parts if starting else ())


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Saves the random state with a checkpoint and restores it on resuming.

    Mask2Former's losses draw random points, so without it a resumed training differs from one that ran
    through. The file holds the state of the first process; other processes start from it and their rank.
    """

    def __init__(self) -> None:
        self._saved: dict | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        name, keys, *rest = np.random.get_state()
        checkpoint["random_state"] = dict(
            torch=torch.get_rng_state(),
            cuda=torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
            # weights_only loads tensors and plain values.
            numpy=(name, torch.from_numpy(np.asarray(keys, np.int64)), *rest),
            python=random.getstate(),
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._saved = checkpoint.get("random_state") if runner._resume else None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        if self._saved is None:
            return
        state, self._saved = self._saved, None
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
        random.setstate(state["python"])
        torch.set_rng_state(state["torch"].cpu())
        if torch.cuda.is_available() and state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"].cpu())
        if rank := get_rank():
            torch.manual_seed(int(torch.randint(2**31, ())) + rank)


@HOOKS.register_module()
class ValidatedCheckpointHook(CheckpointHook):
    """Saves the checkpoint of a validated iteration again after its validation.

    MMEngine saves first and validates then, so that a training resumed from the file has forgotten the
    validation's scores, and may replace the best checkpoint by a worse one.

    Args:
        interval: iterations between checkpoints; None saves as often as the training validates.
        kwargs: as for CheckpointHook.
    """

    def __init__(self, interval: int | None = None, **kwargs: Any) -> None:
        super().__init__(interval=interval or -1, **kwargs)
        self._as_validated = interval is None

    def before_train(self, runner: Runner) -> None:
        if self._as_validated:
            self.interval = runner.val_interval
        super().before_train(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        super().after_val_epoch(runner, metrics)
        last = getattr(self, "last_ckpt", None)
        if last is None or self.by_epoch or Path(last).stem != f"iter_{runner.iter}":
            return
        runner.save_checkpoint(
            self.out_dir,
            Path(last).name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=dict(epoch=runner.epoch, iter=runner.iter),
            by_epoch=False,
            backend_args=self.backend_args,
        )


@HOOKS.register_module()
class ValidationLossHook(Hook):
    """Logs `val/loss`, the mean training loss over the validation images, without touching the random state.

    Losses draw random points; the drawing is seeded by the image, so that validations are comparable.
    """

    def before_val_epoch(self, runner: Runner) -> None:
        self._sum, self._count = 0.0, 0

    @torch.no_grad()
    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Any = None) -> None:
        model = bare_model(runner.model)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        for number, (image, sample) in enumerate(zip(data_batch["inputs"], data_batch["data_samples"], strict=True)):
            sample = sample.clone()
            # Instances are resized with the image. A mask for the scores stays on original pixels.
            if "gt_instances" not in sample:
                truth = sample.gt_sem_seg.data
                resized = functional.interpolate(truth[None].float(), image.shape[-2:])[0].to(truth.dtype)
                sample.gt_sem_seg = PixelData(data=resized)
            with torch.random.fork_rng(devices), torch.autocast(image.device.type, enabled=runner.val_loop.fp16):
                torch.manual_seed(batch_idx * len(data_batch["inputs"]) + number)
                data = model.data_preprocessor(dict(inputs=[image], data_samples=[sample]), training=True)
                loss, _ = model.parse_losses(model(**data, mode="loss"))
            self._sum += loss.item()
            self._count += 1

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        total = torch.tensor([self._sum, float(self._count)])
        all_reduce(total)
        runner.message_hub.update_scalar("val/loss", (total[0] / total[1]).item())


@HOOKS.register_module()
class LearningCurveHook(Hook):
    """Draws `learning_curve.png` into the work_dir after every validation and at the end of training."""

    # After the hooks that log losses and scores, before the one that saves them with a checkpoint.
    priority = "LOW"

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        if runner._train_loop is None:
            return
        hub = runner.message_hub
        point = {name: float(value) for name, value in (metrics or {}).items()}
        if "val/loss" in hub.log_scalars:
            point["loss"] = float(hub.get_scalar("val/loss").current())
        earlier = hub.get_info("learning_curve") if "learning_curve" in hub.runtime_info else []
        hub.update_info("learning_curve", [*earlier, {"step": runner.iter, **point}])
        self._draw(runner)

    def after_train(self, runner: Runner) -> None:
        self._draw(runner)

    @master_only
    def _draw(self, runner: Runner) -> None:
        hub = runner.message_hub
        losses = hub.get_scalar("train/loss").data[0] if "train/loss" in hub.log_scalars else np.zeros(0)
        validations = hub.get_info("learning_curve") if "learning_curve" in hub.runtime_info else []
        draw_learning_curve(Path(runner.work_dir) / "learning_curve.png", losses, validations)


def bare_model(model: nn.Module) -> nn.Module:
    """The model itself, without what wraps it for several processes or for averaging over flips."""
    return model.module if is_model_wrapper(model) or isinstance(model, BaseTTAModel) else model
