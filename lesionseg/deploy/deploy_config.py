"""Deploy configs, in MMDeploy's form: for which engine, with which inputs, and how alike both models have to be."""

from os import PathLike
from pathlib import Path

from mmengine.config import Config

from lesionseg.deploy.parity import Thresholds
from lesionseg.engine.families import INSTANCES, SEMANTIC, family_for
from lesionseg.errors import DataError
from lesionseg.inference.opening import ENGINES
from lesionseg.inference.runtimes.card import ModelCard

DEFAULTS = {
    SEMANTIC: "segmentation_onnxruntime_dynamic.py",
    INSTANCES: "instance-seg_onnxruntime_dynamic.py",
}
_FOLDER = Path(__file__).parents[2] / "configs" / "deploy"


def load_deploy_config(path: str | PathLike, card: ModelCard) -> Config:
    """Load a deploy config, and check that it is for a model's task.

    Raises:
        DataError: it does not load, is for another task, or has an input that the model cannot take.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such deploy config, expected a file of configs/deploy. Check the path.")
    try:
        cfg = Config.fromfile(path)
        codebase, engine, shape = cfg.codebase_config.type, cfg.backend_config.type, cfg.onnx_config.get("input_shape")
        thresholds(cfg)
    except Exception as error:  # A config is code: it can fail in any way.
        raise DataError(f"{path}: does not load: {type(error).__name__}: {error}. Mend the deploy config.") from error
    expected = family_for(card.task).scope
    if codebase != expected:
        raise DataError(
            f"{path}: a deploy config for {codebase}, expected one for {expected}, of which the model is. "
            f"Take {DEFAULTS[card.task]}."
        )
    if engine not in ENGINES:
        raise DataError(f"{path}: for the engine {engine}, expected {' or '.join(ENGINES)}. Choose another config.")
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
    return Thresholds(**deploy_cfg.get("parity", {}))


def input_size(deploy_cfg: Config) -> tuple[int, int] | None:
    """The fixed (height, width) of the input, None for any; MMDeploy's `input_shape` is (width, height)."""
    shape = deploy_cfg.onnx_config.get("input_shape")
    return (shape[1], shape[0]) if shape else None
