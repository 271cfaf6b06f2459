"""Numbers that lie on a GPU and are fetched late: to look at one, the host waits for all the work of the GPU."""

from typing import Any

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor


@HOOKS.register_module()
class LateInfoHook(RuntimeInfoHook):
    """Hands losses and gradient norms to the log when it is written, all at once, and not in every iteration.

    MMEngine fetches each of them alone: with Mask2Former, the GPU ran dry thirty times a step. Nothing is lost: the log
    gets the values of all iterations, and so do checkpoints. On a CPU there is nothing to wait for.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[list[str], Tensor]] = []
        self._norm: Tensor | None = None

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        wrapper = runner.optim_wrapper
        if not is_late(runner) or not wrapper.clip_grad_kwargs:
            return
        clip = wrapper.clip_func

        def clip_and_keep(*args: Any, **kwargs: Any) -> None:
            # MMEngine looks at what is returned.
            self._norm = clip(*args, **kwargs)

        wrapper.clip_func = clip_and_keep

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        if not is_late(runner):
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
            return
        values = {} if self._norm is None else {runner.optim_wrapper.grad_name: self._norm}
        values.update(outputs or {})
        self._norm = None
        if values:
            self._kept.append((list(values), torch.stack([each.detach().float() for each in values.values()])))
        if is_looked_at(runner, batch_idx):
            self.before_saving(runner)

    def before_val(self, runner: Runner) -> None:
        self.before_saving(runner)
        super().before_val(runner)

    def after_train(self, runner: Runner) -> None:
        self.before_saving(runner)
        super().after_train(runner)

    def before_saving(self, runner: Runner) -> None:
        """Hand over what is kept; `ResumableRunner` calls it before a checkpoint is put together."""
        if not self._kept:
            return
        names = [name for each, _ in self._kept for name in each]
        # One transfer, and one wait.
        numbers = torch.cat([values for _, values in self._kept]).tolist()
        for name, number in zip(names, numbers, strict=True):
            runner.message_hub.update_scalar(f"train/{name}", number)
        self._kept.clear()


def is_late(runner: Runner) -> bool:
    """Whether looking at a number makes the host wait."""
    return next(runner.model.parameters()).is_cuda


def is_looked_at(runner: Runner, batch_idx: int) -> bool:
    """Whether the iteration is one of those after which the log is written."""
    interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), 1)
    return (batch_idx + 1) % interval == 0
