"""Checkpoints in a work_dir: whole or not there, none lost to a kill, and the best one under one name."""

import time
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from lesionseg.engine.checkpoint import BrokenCheckpointError, load_file
from lesionseg.engine.interruption import stop_request
from lesionseg.engine.work_dir import best_checkpoints, checkpoints, start_from
from lesionseg.errors import DataError, Stopped
from lesionseg.files import clear_scratch, write_bytes, write_text

LAST = "last_checkpoint"
# In the message hub, which every checkpoint holds: the iteration whose validation it knows. (MMEngine logs what begins
# with "val" among the scores.)
VALIDATED = "iter_validated"


@register_backend("aside")
class AsideBackend(LocalBackend):
    """MMEngine's local files, written aside and renamed: a kill leaves none half-written under its name."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        write_bytes(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        write_bytes(filepath, obj.encode(encoding))


@HOOKS.register_module()
class ValidatedCheckpointHook(CheckpointHook):
    """Saves checkpoints from which a training that ends at any moment can be resumed exactly.

    Beside MMEngine's, every `interval` iterations and at the end, there is one

    - before every validation: a validation that did not end is made up for when the training is resumed;
    - after every validation: MMEngine saves first and validates then, so that a training resumed from the file has
      forgotten the validation's scores, and may replace the best checkpoint by a worse one;
    - every `minutes`, whatever the interval;
    - at the end of the step in which the training is asked to stop, by Ctrl-C or SIGTERM.

    These stay until there is a newer one. Nothing is removed before what takes its place is there.

    Args:
        interval: iterations between checkpoints; None saves as often as the training validates.
        minutes: the longest time of training that a kill may cost.
        kwargs: as for CheckpointHook; `by_epoch` is False.

    Raises:
        DataError: it is to count epochs, or to save where `--resume` does not look.
    """

    def __init__(self, interval: int | None = None, *, minutes: float = 10, **kwargs: Any) -> None:
        if kwargs.setdefault("by_epoch", False):
            raise DataError(
                "ValidatedCheckpointHook: by_epoch=True, expected a training by iterations. Give interval in them, and "
                "set by_epoch=False."
            )
        for name, value in (("out_dir", None), ("filename_tmpl", "iter_{}.pth")):
            if kwargs.get(name) not in (None, value):
                raise DataError(
                    f"ValidatedCheckpointHook: {name}={kwargs[name]}, expected iter_<number>.pth in the work_dir, "
                    f"where --resume looks. Leave {name} out, and choose the folder by --work-dir."
                )
        kwargs.setdefault("backend_args", dict(backend="aside"))
        super().__init__(interval=interval or -1, **kwargs)
        self._as_validated = interval is None
        self.minutes = minutes
        self._step: int | None = None
        self._saved_at = time.monotonic()

    def before_train(self, runner: Runner) -> None:
        if self._as_validated:
            self.interval = runner.val_interval
        super().before_train(runner)
        self._saved_at = time.monotonic()
        if is_main_process():
            clear_scratch(self.out_dir)
        stop_request.defer()
        if runner._resume:
            self._step = runner.iter
            self.last_ckpt = str(Path(self.out_dir) / self.filename_tmpl.format(runner.iter))
            self._tidy(runner)
            if self._lacks_its_validation(runner):
                runner.logger.info(f"The validation after {runner.iter} iterations did not end; it is made up for now.")
                runner.val_loop.run()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        asked = stop_request.asked()
        waited = time.monotonic() - self._saved_at >= 60 * self.minutes
        step = runner.iter + 1
        if asked or waited or self._is_scheduled(runner, step):
            self._save(runner, step)
        self._stop_if(asked, runner, step)

    def before_val(self, runner: Runner) -> None:
        # Not after before_val_epoch, where EMAHook exchanges the weights.
        if self._is_training(runner):
            if self._step != runner.iter:
                self._save(runner, runner.iter)
            self._stop_if(stop_request.asked(), runner, runner.iter)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self._is_training(runner):
            self._stop_if(stop_request.asked(), runner, runner.iter)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        if not self._is_training(runner):
            return
        runner.message_hub.update_info(VALIDATED, runner.iter)
        super().after_val_epoch(runner, metrics)
        self._save(runner, runner.iter)
        self._remove_worse()
        if runner.iter < runner.max_iters:
            self._stop_if(stop_request.asked(), runner, runner.iter)

    def _is_training(self, runner: Runner) -> bool:
        return runner._train_loop is not None and self.out_dir is not None

    def _is_scheduled(self, runner: Runner, step: int) -> bool:
        behind = step - self.save_begin
        on_time = self.interval > 0 and behind >= 0 and behind % self.interval == 0
        return on_time or (self.save_last and step == runner.max_iters)

    def _lacks_its_validation(self, runner: Runner) -> bool:
        """Whether the iteration of the checkpoint that was resumed should have been validated, and was not."""
        loop, hub, done = runner.train_loop, runner.message_hub, runner.iter
        if runner.val_loop is None or done < max(1, loop.val_begin):
            return False
        if VALIDATED in hub.runtime_info and hub.get_info(VALIDATED) == done:
            return False
        loop._decide_current_val_interval()
        return done % loop.val_interval == 0 or done == runner.max_iters

    def _save(self, runner: Runner, step: int) -> None:
        """Save the checkpoint of an iteration, and then remove those that it makes superfluous."""
        self.last_ckpt = str(Path(self.out_dir) / self.filename_tmpl.format(step))
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            Path(self.last_ckpt).name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=dict(epoch=runner.epoch, iter=step),
            by_epoch=False,
            backend_args=self.backend_args,
            **self.args,
        )
        self._step, self._saved_at = step, time.monotonic()
        if is_main_process():
            write_text(Path(runner.work_dir) / LAST, self.last_ckpt)
            self._remove_older(runner, step)

    def _remove_older(self, runner: Runner, newest: int) -> None:
        saved = checkpoints(self.out_dir)
        older = [step for step in saved if step < newest]
        scheduled = [step for step in older if self._is_scheduled(runner, step)]
        stay = scheduled if self.max_keep_ckpts <= 0 else scheduled[max(0, len(scheduled) + 1 - self.max_keep_ckpts) :]
        for step in set(older) - set(stay):
            saved[step].unlink(missing_ok=True)

    # MMEngine's, which _save_best_checkpoint calls where the best is a new one; it is saved with all other scores.
    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        pass

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        # MMEngine removes the earlier best before it writes the new one, unless it does not know of it.
        earlier = self._best()
        self._set_best(dict.fromkeys(earlier))
        super()._save_best_checkpoint(runner, metrics)
        # By position: "auto" has become the name of a score meanwhile.
        now = zip(self._best().items(), earlier.values(), strict=True)
        self._set_best({key: path or before for (key, path), before in now})

    def _best(self) -> dict[str, str | None]:
        """Where the best checkpoint by each score lies."""
        if len(self.key_indicators) == 1:
            return {self.key_indicators[0]: self.best_ckpt_path}
        return {key: self.best_ckpt_path_dict.get(key) for key in self.key_indicators}

    def _set_best(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            [self.best_ckpt_path] = paths.values()
        else:
            self.best_ckpt_path_dict = paths

    def _tidy(self, runner: Runner) -> None:
        """Leave what belongs to the checkpoint that was resumed: none that could not be read, one best a score."""
        if is_main_process():
            for step, path in checkpoints(self.out_dir).items():
                if step > runner.iter:
                    path.unlink()
        if not self.save_best:
            return
        best: dict[str, str | None] = {}
        for key, saved in self._best().items():
            # The work_dir may have been moved.
            here = Path(self.out_dir) / Path(saved).name if saved else None
            if here is not None and is_readable(here):
                best[key] = str(here)
                continue
            best[key] = None
            suffix = f"_{key}" if len(self.key_indicators) > 1 else ""
            for name in ("best_score", "best_ckpt"):
                runner.message_hub.pop_info(f"{name}{suffix}")
        self._set_best(best)
        self._remove_worse()

    def _remove_worse(self) -> None:
        """Leave one best checkpoint of each score: the best, or the latest readable one until there is another."""
        if not self.save_best or not is_main_process():
            return
        for key, best in self._best().items():
            files = best_checkpoints(self.out_dir, key)
            stays = Path(best) if best else next(filter(is_readable, reversed(files)), None)
            for path in files:
                if stays is None or path.name != stays.name:
                    path.unlink(missing_ok=True)

    @property
    def next_step(self) -> str:
        """What to do when a training was stopped."""
        if self.save_optimizer and self.save_param_scheduler:
            return "To go on, run the same command with --resume (in place of --overwrite or --auto-resume)."
        missing = "optimizer" if not self.save_optimizer else "learning rate's schedule"
        return (
            f"Without its {missing}, which was not to be saved, it cannot go on. You may {start_from(self.last_ckpt)}."
        )

    def _stop_if(self, asked: int | None, runner: Runner, step: int) -> None:
        if asked:
            raise Stopped(
                asked,
                f"stopped after {step} of {runner.max_iters} iterations, which {self.last_ckpt} holds. "
                f"{self.next_step}",
            )


def is_readable(path: Path) -> bool:
    """Whether a file is there and a whole checkpoint, if perhaps one that is loaded only by those who trust it."""
    try:
        load_file(path, "cpu")
    except (BrokenCheckpointError, FileNotFoundError):
        return False
    except DataError:
        pass
    return True
