"""Training in stages: patterns on the names of parameters say what trains, all else is frozen."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import accumulate

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

from lesionseg.engine.hooks import bare_model
from lesionseg.errors import DataError, first_names


@dataclass(frozen=True)
class _Stage:
    begin: int
    patterns: tuple[re.Pattern[str], ...]

    def trains(self, name: str) -> bool:
        return any(pattern.search(name) for pattern in self.patterns)


@HOOKS.register_module()
class TrainingStagesHook(Hook):
    """Trains a part of the model in each stage of a training, and logs which.

    Heads first, then the upper half of the backbone too:

        dict(type="TrainingStagesHook", stages=[
            dict(begin=0, trains=[r"^(neck|rpn_head|roi_head)\\."]),
            dict(begin=5, trains=[r"^(neck|rpn_head|roi_head)\\.", r"^backbone\\.layer[34]\\."]),
        ])

    Frozen parameters keep their values to the last bit, weight decay and momentum notwithstanding, and
    normalization layers that do not train keep their running statistics. The optimizer holds all
    parameters from the start, so that a training can be resumed in any stage.

    Args:
        stages: in order, each with `begin`, the number of epochs or iterations done before it (0 for the
            first stage), and `trains`, regular expressions. A parameter trains where any of them is found in
            its name (`re.search`), and so does a normalization layer by the names of its parameters or
            statistics.
        by_epoch: `begin` counts epochs, else iterations. A training that counts iterations has no epochs.

    Raises:
        DataError: the stages are not as described; or, when the training starts, an expression is found in
            no parameter's name, the model itself freezes what a stage trains, or gradients would not
            be synchronised between processes.
    """

    def __init__(self, stages: Sequence[dict], by_epoch: bool = True) -> None:
        self.by_epoch = by_epoch
        self._stages = [_read_stage(number, settings) for number, settings in enumerate(stages, 1)]
        begins = [stage.begin for stage in self._stages]
        if begins[:1] != [0] or begins != sorted(set(begins)):
            raise DataError(
                f"TrainingStagesHook: stages begin at {begins}, expected 0 for the first and more for each that "
                "follows. Correct their begin."
            )
        self._current: int | None = None
        self._frozen_norms: list[nn.Module] = []

    def before_train(self, runner: Runner) -> None:
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise DataError(
                "TrainingStagesHook: stages begin by epochs in a training by iterations, expected the same unit. "
                "Set by_epoch=False and give begin in iterations."
            )
        _check_synchronisation(runner.model)
        model = bare_model(runner.model)
        # Some backbones apply their frozen_stages only in train(), which the loops call before they train.
        model.train()
        faults = [*self._unmatched(model), *self._frozen_by_the_model(model)]
        if faults:
            raise DataError(*faults)
        end = runner.max_epochs if self.by_epoch else runner.max_iters
        for number, stage in enumerate(self._stages, 1):
            if stage.begin >= end:
                runner.logger.warning(
                    f"Stage {number} begins after {stage.begin} {self._unit}, but the training has only {end}."
                )
        self._current = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        done = runner.epoch if self.by_epoch else runner.iter
        number = bisect_right([stage.begin for stage in self._stages], done) - 1
        if number != self._current:
            self._current = number
            self._begin_stage(runner, number)
        # Both loops put the whole model into training mode after the hooks for the start of an epoch.
        for norm in self._frozen_norms:
            norm.eval()

    @property
    def _unit(self) -> str:
        return "epochs" if self.by_epoch else "iterations"

    def _begin_stage(self, runner: Runner, number: int) -> None:
        model, stage = bare_model(runner.model), self._stages[number]
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(stage.trains(name))
            if not parameter.requires_grad:
                # Optimizers pass over what has no gradient: no weight decay, no momentum.
                parameter.grad = None
        norms = list(_norms(model))
        self._frozen_norms = [norm for norm, names in norms if not any(map(stage.trains, names))]
        runner.logger.info(
            f"Stage {number + 1} of {len(self._stages)}, after {stage.begin} {self._unit}: {_what_trains(model)}; "
            f"{len(self._frozen_norms)} of {len(norms)} normalization layers are frozen."
        )

    def _unmatched(self, model: nn.Module) -> Iterator[str]:
        names = [name for name, _ in model.named_parameters()]
        # Names of modules too, since patterns usually mean whole ones.
        candidates = sorted({start for name in names for start in accumulate(name.split("."), "{}.{}".format)})
        for pattern in dict.fromkeys(pattern for stage in self._stages for pattern in stage.patterns):
            if not any(map(pattern.search, names)):
                text = re.sub(r"\W", "", pattern.pattern.replace("\\.", "_"))
                nearest = get_close_matches(text, candidates, n=3, cutoff=0)
                yield (
                    f"TrainingStagesHook: '{pattern.pattern}' is found in no name of the model's {len(names)} "
                    f"parameters, expected a pattern for names such as {first_names(nearest)}. Correct it."
                )

    def _frozen_by_the_model(self, model: nn.Module) -> Iterator[str]:
        # These would be frozen again by each train(), and are missing in an optimizer with paramwise_cfg.
        names = [
            name
            for name, parameter in model.named_parameters()
            if not parameter.requires_grad and any(stage.trains(name) for stage in self._stages)
        ]
        if names:
            yield (
                f"TrainingStagesHook: the model itself freezes {first_names(names, 3)}, which a stage trains, expected "
                "one place that freezes. Set frozen_stages=-1 in the config's backbone, or leave them out of trains."
            )


def _read_stage(number: int, settings: dict) -> _Stage:
    begin, trains = settings.get("begin"), settings.get("trains")
    if (
        set(settings) != {"begin", "trains"}
        or not isinstance(begin, int)
        or not isinstance(trains, (list, tuple))
        or not trains
        or not all(isinstance(text, str) for text in trains)
    ):
        raise DataError(
            f"TrainingStagesHook: stage {number} is {dict(settings)}, expected begin=<whole number> and "
            "trains=[<regular expression>, ...]. Correct it."
        )
    try:
        return _Stage(begin, tuple(map(re.compile, trains)))
    except re.error as error:
        raise DataError(
            f"TrainingStagesHook: '{error.pattern!s}' is no regular expression ({error}), expected one as for "
            "Python's re.search. Correct it."
        ) from error


def _check_synchronisation(model: nn.Module) -> None:
    """Refuse a wrapper that waits for the gradients of all parameters, or assumes a graph that never changes.

    Without the search for unused parameters DDP does not synchronise the buckets that hold a frozen one in the
    first iteration, and fails in the second. With it, parameters that thaw later are synchronised too, because
    they required gradients when the model was wrapped.
    """
    if not is_model_wrapper(model):
        return
    if not getattr(model, "find_unused_parameters", False) or model.static_graph:
        raise DataError(
            f"TrainingStagesHook: {type(model).__name__} waits for gradients that frozen parameters do not have, "
            "expected DDP with find_unused_parameters and without static_graph. Set find_unused_parameters=True in "
            "the config (in model_wrapper_cfg, where there is one)."
        )


def _norms(model: nn.Module) -> Iterator[tuple[nn.Module, list[str]]]:
    """Yield layers with running statistics, mmcv's SyncBatchNorm included, and their parameters' and buffers' names."""
    for name, module in model.named_modules():
        if getattr(module, "running_mean", None) is not None:
            yield module, [f"{name}.{own}" for own in module.state_dict()]


def _what_trains(model: nn.Module) -> str:
    parameters = list(model.named_parameters())
    parts: dict[str, list[nn.Parameter]] = {}
    for name, parameter in parameters:
        parts.setdefault(name.partition(".")[0], []).append(parameter)
    tensors = sum(parameter.requires_grad for _, parameter in parameters)
    by_part = ", ".join(f"{part} {_count(inside)}" for part, inside in parts.items())
    return f"{tensors} of {len(parameters)} tensors train, {_count([p for _, p in parameters])} parameters ({by_part})"


def _count(parameters: Sequence[nn.Parameter]) -> str:
    training = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    return f"{training:,} of {sum(parameter.numel() for parameter in parameters):,}"
