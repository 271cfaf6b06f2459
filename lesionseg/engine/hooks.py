"""What MMEngine's hooks leave out: exact resuming, checkpoints that fit, validation loss and a learning curve."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce, get_rank, master_only
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.model import BaseDataPreprocessor, BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import PixelData
from torch import nn
from torch.nn import functional

from lesionseg.engine.checkpoint import check_fit
from lesionseg.engine.learning_curve import LEARNING_CURVE, draw_learning_curve
from lesionseg.engine.work_dir import instead_of
from lesionseg.errors import DataError


@HOOKS.register_module()
class FitHook(Hook):
    """Refuses a checkpoint that does not fit the model, before it is loaded.

    Args:
        new_parts: see `lesionseg.engine.checkpoint.check_fit`; only for starting a training, never
            for resuming or testing one.
    """

    def __init__(self, new_parts: str | Sequence[str] = ()) -> None:
        self.new_parts = (new_parts,) if isinstance(new_parts, str) else tuple(new_parts)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        starting = runner._train_loop is not None and not runner._resume
        check_fit(bare_model(runner.model), checkpoint, str(runner._load_from), self.new_parts if starting else ())


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Saves the random state with a checkpoint and restores it on resuming, and keeps it around validations.

    Mask2Former's losses draw random points, so without it a resumed training differs from one that ran
    through. The first validation of a process draws the seed of its loader processes, the later ones do not. The file
    holds the state of the first process; other processes start from it and their rank.
    """

    def __init__(self) -> None:
        self._saved: dict | None = None
        self._kept: dict | None = None

    def before_val(self, runner: Runner) -> None:
        self._kept = random_state()

    def after_val(self, runner: Runner) -> None:
        if self._kept is not None:
            set_random_state(self._kept)
            self._kept = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint["random_state"] = self._kept or random_state()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._saved = checkpoint.get("random_state") if runner._resume else None
        if runner._resume and self._saved is None:
            runner.logger.warning("The checkpoint holds no random state: the training goes on with another one.")
        elif self._saved is not None:
            _check_random_state(self._saved, str(runner._load_from))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        if self._saved is None:
            return
        state, self._saved = self._saved, None
        set_random_state(state)
        if rank := get_rank():
            torch.manual_seed(int(torch.randint(2**31, ())) + rank)


def random_state() -> dict:
    """The state of the generators of torch, numpy and Python, as tensors and plain values."""
    name, keys, *rest = np.random.get_state()
    return dict(
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        # weights_only loads tensors and plain values.
        numpy=(name, torch.from_numpy(np.asarray(keys, np.int64)), *rest),
        python=random.getstate(),
    )


def _check_random_state(state: dict, path: str) -> None:
    """Try a state, and leave the generators as they are."""
    now = random_state()
    try:
        set_random_state(state)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: its random state cannot be restored ({error}), expected one that this training saved. "
            f"{instead_of(path)}"
        ) from error
    finally:
        set_random_state(now)


def set_random_state(state: dict) -> None:
    """Put the generators into the state that `random_state` gave."""
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"].cpu())


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """MMEngine's, whose patience a resumed training remembers."""

    # Before the hook that saves the scores with a checkpoint.
    priority = "LOW"

    def before_train(self, runner: Runner) -> None:
        hub = runner.message_hub
        if "early_stopping" in hub.runtime_info:
            self.best_score, self.wait_count, runner.train_loop.stop_training = hub.get_info("early_stopping")

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        super().after_val_epoch(runner, metrics)
        loop = runner.train_loop
        runner.message_hub.update_info("early_stopping", [self.best_score, self.wait_count, loop.stop_training])


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
            with (
                torch.random.fork_rng(devices),
                torch.autocast(image.device.type, enabled=runner.val_loop.fp16),
                _padded_as_in_a_test(model.data_preprocessor),
            ):
                torch.manual_seed(batch_idx * len(data_batch["inputs"]) + number)
                data = model.data_preprocessor(dict(inputs=[image], data_samples=[sample]), training=True)
                loss, _ = model.parse_losses(model(**data, mode="loss"))
            self._sum += loss.item()
            self._count += 1

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        total = torch.tensor([self._sum, float(self._count)])
        all_reduce(total)
        runner.message_hub.update_scalar("val/loss", (total[0] / total[1]).item())


@contextmanager
def _padded_as_in_a_test(preprocessor: BaseDataPreprocessor) -> Iterator[None]:
    """Let images of any size be padded with their truth; MMSegmentation's training pads to the size of its crops."""
    padding = getattr(preprocessor, "test_cfg", None)
    if not padding:
        yield
        return
    size, divisor = preprocessor.size, preprocessor.size_divisor
    preprocessor.size, preprocessor.size_divisor = padding.get("size"), padding.get("size_divisor")
    try:
        yield
    finally:
        preprocessor.size, preprocessor.size_divisor = size, divisor


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
        draw_learning_curve(Path(runner.work_dir) / LEARNING_CURVE, losses, validations)


def bare_model(model: nn.Module) -> nn.Module:
    """The model itself, without what wraps it for several processes or for averaging over flips."""
    return model.module if is_model_wrapper(model) or isinstance(model, BaseTTAModel) else model
