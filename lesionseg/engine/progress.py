"""How a training or a test is told while it runs: what it is, how far it is, and what each validation found."""

import sys
import time
from collections import deque
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS, LOG_PROCESSORS
from mmengine.runner import LogProcessor, Runner
from torch import nn

from lesionseg.engine.hooks import bare_model
from lesionseg.engine.loader_processes import loaders_end_with
from lesionseg.engine.screen import duration, screen
from lesionseg.tables import named_values

# Scores of a validation that are told, beside the one that chooses the best checkpoint.
_SCORES = ("lesion/jaccard", "lesion/dice", "lesion/threshold_jaccard", "coco/bbox_mAP", "coco/segm_mAP")
_MOST_SCORES = 3
_PRECISIONS = {"AmpOptimWrapper": "mixed, float16 and float32", "Bfloat16OptimWrapper": "mixed, bfloat16 and float32"}
# After so many iterations the first line of a training is printed: it then knows its pace.
_FIRST_LINE = 3


class CalmRunner(Runner):
    """MMEngine's runner, whose log goes to its file alone while the screen is calm, and whose loaders end with it."""

    def train(self) -> nn.Module:
        """Train; what loads the data ends with it."""
        with loaders_end_with(self):
            return super().train()

    def test(self) -> dict:
        """Test; what loads the data ends with it."""
        with loaders_end_with(self):
            return super().test()

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger before the environment and the config are logged, and keep these off the screen."""
        logger = super().build_logger(*args, **kwargs)
        screen.take(logger)
        return logger

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> dict:
        """Load a checkpoint; MMEngine prints where from."""
        with screen.held_back():
            return super().load_checkpoint(*args, **kwargs)

    def register_hooks(self, *args: Any, **kwargs: Any) -> None:
        """Register what the config names, and what tells of the progress."""
        super().register_hooks(*args, **kwargs)
        if screen.is_calm:
            self.register_hook(ProgressHook())


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows one live line while a training or a test runs, and prints one a validation."""

    # After the hook that says which score is the best.
    priority = "LOWEST"

    def __init__(self) -> None:
        self._last: float | None = None
        self._seconds: deque[float] = deque(maxlen=50)
        self._validation: float | None = None
        self._begun, self._done = 0.0, 0

    def before_train(self, runner: Runner) -> None:
        self._done = 0
        screen.show_progress("waiting for the first images", lasting=False)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        now = time.monotonic()
        if self._last is not None:
            self._seconds.append(now - self._last)
        self._last = now
        self._done += 1
        if screen.is_due() or self._done == _FIRST_LINE:
            screen.show_progress(self._iteration(runner))

    def _iteration(self, runner: Runner) -> str:
        hub, step = runner.message_hub, runner.iter + 1
        parts = [f"iteration {step} of {runner.max_iters}"]
        if "train/loss" in hub.log_scalars:
            parts.append(f"loss {hub.get_scalar('train/loss').mean(10):.3g}")
        if "train/lr" in hub.log_scalars:
            parts.append(f"learning rate {hub.get_scalar('train/lr').current():.2g}")
        if self._seconds:
            pace = sum(self._seconds) / len(self._seconds)
            parts.append(f"{images_in_an_iteration(runner) / pace:.3g} images/s")
        parts.append(memory())
        if self._seconds:
            parts.append(f"{duration(self._left(runner, step, pace))} left")
        return ", ".join(filter(None, parts))

    def _left(self, runner: Runner, step: int, pace: float) -> float:
        """Seconds until the end, with the validations, as far as it is known how long one takes."""
        validations = -(-(runner.max_iters - step) // runner.train_loop.val_interval) if runner.val_loop else 0
        return (runner.max_iters - step) * pace + validations * (self._validation or 0)

    def before_val(self, runner: Runner) -> None:
        self._begun = time.monotonic()

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if screen.is_due():
            screen.show_progress(f"validating: {batch_idx + 1} of {len(runner.val_dataloader)} batches")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        # What a validation takes is no part of the iteration that follows.
        self._last, self._validation = None, time.monotonic() - self._begun
        if runner._train_loop is not None:
            scores = ", ".join(told_scores(runner, metrics or {}))
            screen.tell(f"validation after {runner.iter} iterations: {scores}")

    def before_test(self, runner: Runner) -> None:
        self._begun = time.monotonic()

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        done, batches = batch_idx + 1, len(runner.test_dataloader)
        if screen.is_due() or done == min(_FIRST_LINE, batches):
            pace = (time.monotonic() - self._begun) / done
            screen.show_progress(f"testing: {done} of {batches} batches, {duration((batches - done) * pace)} left")


def tell_training(runner: Runner, precision: str = "") -> None:
    """Tell what is about to be trained, on what, and where it goes.

    Args:
        runner: with the model as it will be trained.
        precision: what it is, where that is not as the config says.
    """
    loop = runner.train_loop
    optim_wrapper = runner.cfg.optim_wrapper.get("type", "OptimWrapper")
    length = f"{loop.max_iters:,} iterations of {images_in_an_iteration(runner)} images"
    if runner.val_loop is not None:
        length += f", a validation every {loop.val_interval:,}"
    _tell(
        ("model", describe_model(runner.model)),
        ("device", describe_device()),
        ("precision", precision or _PRECISIONS.get(optim_wrapper, "float32")),
        ("training", length),
        *_places(runner),
    )


def tell_test(runner: Runner, tested: str) -> None:
    """Tell what is about to be tested, on what, and where it goes."""
    # What is no checkpoint, such as an exported file or an ensemble, says all in its name.
    has_weights = next(bare_model(runner.model).parameters(), None) is not None
    model = [("model", describe_model(runner.model))] if has_weights else []
    _tell(("tested", tested), *model, ("device", describe_device()), *_places(runner))


def _places(runner: Runner) -> list[tuple[str, str]]:
    return [("results", runner.work_dir), ("log", str(runner.logger.log_file))]


def _tell(*facts: tuple[str, str]) -> None:
    screen.tell("\n".join(named_values(facts, indent="")))


def describe_model(model: nn.Module) -> str:
    """Name a model and its parts, and count its parameters."""
    model = bare_model(model)
    parts = [type(part).__name__ for part in model.children() if next(part.parameters(), None) is not None]
    count = sum(each.numel() for each in model.parameters())
    frozen = sum(each.numel() for each in model.parameters() if not each.requires_grad)
    # Fixed position embeddings are no part of what somebody has frozen.
    trained = f", {(count - frozen) / 1e6:.1f} of them trained" if frozen > count / 100 else ""
    of = f" of {', '.join(parts)}" if parts else ""
    return f"{type(model).__name__}{of}; {count / 1e6:.1f} million parameters{trained}"


def describe_device() -> str:
    """Name what a run computes on."""
    processes = get_world_size()
    threads = torch.get_num_threads()
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {threads} thread{'s' * (threads > 1)}"
    return f"{processes} processes, each on {name}" if processes > 1 else name


def told_scores(runner: Runner, metrics: dict[str, float]) -> list[str]:
    """Say what a validation found: the score that chooses the best checkpoint first, with the best so far."""
    told = []
    saving = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.save_best), None)
    choosing = saving.key_indicators if saving else []
    chosen = [key for key in choosing if key in metrics]
    for key in chosen:
        info = runner.message_hub.runtime_info
        best = info.get("best_score" if len(choosing) == 1 else f"best_score_{key}")
        is_best = best is None or best == metrics[key]
        told.append(f"{_score(key, metrics[key])} ({'best so far' if is_best else f'best so far {best:.3f}'})")
    others = [key for key in _SCORES if key in metrics] or list(metrics)[:_MOST_SCORES]
    told += [_score(key, metrics[key]) for key in others if key not in chosen]
    if "loss" not in metrics and "val/loss" in runner.message_hub.log_scalars:
        told.append(f"loss {runner.message_hub.get_scalar('val/loss').current():.3g}")
    return told


def _score(key: str, value: float) -> str:
    return f"{key.rpartition('/')[2].replace('_', ' ')} {value:.3f}"


def images_in_an_iteration(runner: Runner) -> int:
    """How many images all processes together take in one iteration."""
    return runner.train_dataloader.batch_sampler.batch_size * get_world_size()


@LOG_PROCESSORS.register_module()
class ReservedMemoryLogProcessor(LogProcessor):
    """Logs how much of a GPU's memory is reserved: what CUDA graphs hold, MMEngine's does not count."""

    def _get_max_memory(self, runner: Runner) -> int:
        return most_gpu_memory() // 2**20 if torch.cuda.is_available() else super()._get_max_memory(runner)


def most_gpu_memory() -> int:
    """The most bytes that this process has reserved on its GPU at once."""
    return torch.cuda.max_memory_reserved()


def memory() -> str:
    """The most memory that this process has had at once, that of the GPU where it uses one."""
    if torch.cuda.is_available():
        return f"{most_gpu_memory() / 1e9:.1f} GB on the GPU"
    try:
        import resource
    except ImportError:  # Windows
        return ""
    # In kilobytes, but on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9:.1f} GB"
