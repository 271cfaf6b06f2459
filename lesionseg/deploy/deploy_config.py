"""Deploy configs, in MMDeploy's form: for which engine, with which inputs, and how alike both models have to be."""

from dataclasses import fields
from itertools import chain
from os import PathLike
from pathlib import Path

from mmengine.config import Config

from lesionseg.deploy.parity import Thresholds
from lesionseg.engine.families import INSTANCES, SEMANTIC, family_for
from lesionseg.errors import DataError
from lesionseg.inference.opening import ENGINES
from lesionseg.inference.runtimes.model import INPUT, OUTPUTS
from lesionseg.inference.runtimes.model_card import MOST_EDGE, ModelCard
from lesionseg.shipped import shipped

DEFAULTS = {
    SEMANTIC: "segmentation_onnxruntime_dynamic.py",
    INSTANCES: "instance-seg_onnxruntime_dynamic.py",
}
_FOLDER = shipped("configs") / "deploy"


def load_deploy_config(path: str | PathLike, card: ModelCard) -> Config:
    """Load a deploy config, and check that it is for a model's task.

    Raises:
        DataError: it does not load, lacks a part or has one that cannot be, is for another task, or has an input that
            the model cannot take.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such deploy config, expected a file of configs/deploy. Check the path.")
    try:
        cfg = Config.fromfile(path)
    except (Exception, SystemExit) as error:  # A config is code: it can fail in any way.
        fact = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{path}: does not load: {fact}, expected a config of MMEngine. Mend the deploy config."
        ) from error
    advice = f"Correct it as in {default_deploy_config(card)}."
    faults = [
        f"{path}: {name} is {'missing' if value is None else repr(value)}, expected {expected}. {advice}"
        for name, (fits, expected) in _FORM.items()
        if not fits(value := _value(cfg, name))
    ]
    if faults:
        raise DataError(*faults)
    expected = family_for(card.task).scope
    if (codebase := cfg.codebase_config.type) != expected:
        raise DataError(
            f"{path}: a deploy config for {codebase}, expected one for {expected}, of which the model is. "
            f"Take {DEFAULTS[card.task]}."
        )
    shape, axes = (cfg.onnx_config.get(name) for name in ("input_shape", "dynamic_axes"))
    if not shape and not (axes or {}).get(INPUT):
        raise DataError(
            f"{path}: an input neither of one size nor of any, expected onnx_config.input_shape, or dynamic_axes of "
            f"the {INPUT}. {advice}"
        )
    if shape and any(edge % card.size_divisor for edge in shape):
        raise DataError(
            f"{path}: a fixed input of {shape[0]}x{shape[1]} pixels, expected multiples of {card.size_divisor}, the "
            "model's size divisor. Correct onnx_config.input_shape."
        )
    return cfg


def default_deploy_config(card: ModelCard) -> Path:
    """The deploy config for onnxruntime and inputs of any size."""
    return _FOLDER / DEFAULTS[card.task]


def thresholds(deploy_cfg: Config) -> Thresholds:
    """How alike both models have to be."""
    given = deploy_cfg.get("parity") or {}
    return Thresholds(**{name: value for name, value in given.items() if value is not None})


def input_size(deploy_cfg: Config) -> tuple[int, int] | None:
    """The fixed (height, width) of the input, None for any; MMDeploy's `input_shape` is (width, height)."""
    shape = deploy_cfg.onnx_config.get("input_shape")
    return (shape[1], shape[0]) if shape else None


def _value(cfg: Config, name: str) -> object:
    """A setting by its full name; None where it, or what should hold it, is not there."""
    value: object = cfg
    for key in name.split("."):
        value = value.get(key) if isinstance(value, (Config, dict)) else None
    return value


def _is_shape(value: object) -> bool:
    return (
        isinstance(value, (list, tuple)) and len(value) == 2 and all(type(edge) is int and edge > 0 for edge in value)
    )


def _are_axes(value: object) -> bool:
    return isinstance(value, dict) and all(
        name in _PORTS
        and isinstance(axes, dict)
        and all(type(axis) is int and 0 <= axis < 4 and isinstance(text, str) for axis, text in axes.items())
        for name, axes in value.items()
    )


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


_PORTS = {INPUT, *chain(*OUTPUTS.values())}
# Setting -> what it may be, and that in words.
_FORM = {
    "codebase_config.type": (lambda value: isinstance(value, str), "mmseg or mmdet"),
    "backend_config.type": (lambda value: value in ENGINES, " or ".join(ENGINES)),
    # GridSample came with 16; the exporter knows no later one than 20.
    "onnx_config.opset_version": (lambda value: type(value) is int and 16 <= value <= 20, "a whole number, 16 to 20"),
    "onnx_config.input_shape": (
        lambda value: value is None or (_is_shape(value) and max(value) <= MOST_EDGE),
        f"None or (width, height) in pixels, each from 1 to {MOST_EDGE}",
    ),
    "onnx_config.dynamic_axes": (
        lambda value: value is None or _are_axes(value),
        f"None or a dict by name ({', '.join(sorted(_PORTS))}) of names by axis",
    ),
    "onnx_config.input_names": (lambda value: value in (None, [INPUT]), f"None or {[INPUT]}"),
    "onnx_config.output_names": (
        lambda value: value is None or value in map(list, OUTPUTS.values()),
        "None or " + " or ".join(str(list(names)) for names in OUTPUTS.values()),
    ),
    **{
        f"parity.{entry.name}": (lambda value: value is None or _is_share(value), "a number from 0 to 1")
        for entry in fields(Thresholds)
    },
    "parity": (
        lambda value: value is None or (isinstance(value, dict) and set(value) <= {e.name for e in fields(Thresholds)}),
        f"a dict of {', '.join(entry.name for entry in fields(Thresholds))}",
    ),
}
