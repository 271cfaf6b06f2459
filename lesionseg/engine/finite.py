"""Not a number: a training that has diverged stops, and what it would leave behind is not loaded."""

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from lesionseg.engine.late_values import is_late, is_looked_at
from lesionseg.errors import DataError


@HOOKS.register_module()
class FiniteHook(Hook):
    """Ends a training whose loss or weights are no longer finite, before they are saved.

    On a GPU that is looked at after the first iteration, when the log is written and before a checkpoint is: weights
    that are not finite never become so again.

    Float16 with a loss scale may overflow for a few steps, whose gradients MMEngine then leaves out; that is let be
    as long as the scale can still go down.

    Raises:
        DataError: the training has diverged.
    """

    def __init__(self) -> None:
        self._begun = False

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self._begun and is_late(runner) and not is_looked_at(runner, batch_idx):
            return
        self._begun = True
        loss = (outputs or {}).get("loss")
        scaler = getattr(runner.optim_wrapper, "loss_scaler", None)
        skipped = scaler is not None and scaler.is_enabled() and scaler.get_scale() >= 1
        if loss is not None and not skipped and not bool(torch.isfinite(loss)):
            raise diverged(runner, f"the loss is {loss.item()}")
        self.before_saving(runner)

    def before_saving(self, runner: Runner) -> None:
        """Look at the weights; `ResumableRunner` calls it before a checkpoint is put together."""
        if not weights_are_finite(runner.model):
            raise diverged(runner, "some weights are not finite", learned=True)


def weights_are_finite(model: nn.Module) -> bool:
    """Whether all floating-point parameters and buffers are; one wait for the device."""
    tensors = [each.detach() for each in (*model.parameters(), *model.buffers()) if each.is_floating_point()]
    # NaN and infinity stay what they are in sums, which take a tenth of the time of norms.
    return not tensors or bool(torch.isfinite(torch.stack([each.sum(dtype=torch.float32) for each in tensors]).sum()))


def diverged(runner: Runner, fact: str, learned: bool = False) -> DataError:
    """What to tell the user of a training whose numbers are not finite in the iteration that runs.

    Args:
        runner: what trains.
        fact: what is not finite.
        learned: whether that is so only after the iteration has changed the weights.
    """
    if runner.iter == 0 and not learned:
        return DataError(
            f"{runner.work_dir}: {fact} before a weight was changed, expected numbers. Look for a zero or a very large "
            "number among the settings of the model and its data_preprocessor, or start from other weights (load_from)."
        )
    rate = runner.cfg.optim_wrapper.optimizer.get("lr")
    anew = "Train again without --resume, with" if runner._resume else "Train again with"
    lower = f", such as --cfg-options optim_wrapper.optimizer.lr={rate / 10:g}" if rate else ""
    return DataError(
        f"{runner.work_dir}: in iteration {runner.iter + 1} {fact}, expected numbers: the training has diverged, and "
        f"checkpoints from before that stay as they are. {anew} --overwrite (or another --work-dir) and a "
        f"lower learning rate{lower}."
    )


def tensors_in(value: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in nested dicts, lists and tuples under dotted names."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from tensors_in(part, f"{name}.{key}" if name else str(key))


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity."""
    # A sum of float64 does not overflow, and needs no mask as large as the tensor.
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor.sum(dtype=torch.float64)))
