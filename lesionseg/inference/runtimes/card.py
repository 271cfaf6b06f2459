"""What a model has to be known by to be used alone: how images go in, and what its outputs mean."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from typing import Any

from lesionseg.engine.families import INSTANCES, SEMANTIC
from lesionseg.errors import DataError

MASK_SCORES, LOGITS = "mask_scores", "logits"
# MMDetection's mask_thr_binary.
MASK_THRESHOLD = 0.5
# A file without it was not exported here. It counts up when a reader of older files would misread newer ones.
FORMAT_KEY, FORMAT = "lesionseg_format", "1"


@dataclass(frozen=True)
class ModelCard:
    """Everything about a model but its weights.

    Attributes:
        task: `semantic`, one map for each class, or `instances`, boxes with masks.
        classes: names by class index, the background among them only if `task` is semantic (then it is 0).
        mean: of each input channel, in gray levels 0..255, in `channel_order`.
        std: standard deviations, as `mean`.
        channel_order: of the input, `RGB` or `BGR`.
        scale: (long edge at most, short edge) in pixels: an image is resized, aspect kept, until it meets the first
            of the two. MMCV's rule.
        interpolation: of that resizing, by OpenCV's name: `area`, `bilinear`, `nearest`, `bicubic` or `lanczos`.
        size_divisor: the resized image is padded with zeros, below and to the right, to a multiple of it.
        input_size: (height, width) of a model with a fixed input, which the image is resized to fit into and then
            padded to, in place of `scale` and `size_divisor`.
        score_rule: what semantic outputs are: `logits`, or `mask_scores`, sums of masks weighted by class
            probabilities (Mask2Former); for instances, how they make one mask: `union` or `top1`.
        min_score: the least score of an instance, 0..1, in `union`.
        precision: `float32` or `float16`, of the weights and of most computation.
        config: name of the config file.
        config_sha256: of the config's text with all bases and options merged.
        checkpoint: name of the checkpoint.
        checkpoint_sha256: of its bytes.
        versions: of the libraries that made the file, by name.
    """

    task: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str
    scale: tuple[int, int]
    interpolation: str
    size_divisor: int
    score_rule: str
    min_score: float = 0.0
    input_size: tuple[int, int] | None = None
    precision: str = "float32"
    config: str = ""
    config_sha256: str = ""
    checkpoint: str = ""
    checkpoint_sha256: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def properties(self) -> dict[str, str]:
        """The card as text by name, JSON where it is more than text: what an ONNX file can carry."""
        values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in asdict(self).items()}
        return {FORMAT_KEY: FORMAT, **values}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], path: str | PathLike) -> "ModelCard":
        """Undo `properties`.

        Raises:
            DataError: the file that carries them was not made by this project, or by a newer version of it.
        """
        if FORMAT_KEY not in properties:
            raise DataError(
                f"{path}: an ONNX file without this project's metadata, expected one that tools/export.py made: how "
                "images go in stands nowhere else. Export the model with tools/export.py."
            )
        if properties[FORMAT_KEY] != FORMAT:
            raise DataError(
                f"{path}: metadata of format {properties[FORMAT_KEY]}, expected {FORMAT}. Use the version of lesionseg "
                "that made the file, or export the model again."
            )
        values: dict[str, Any] = {}
        try:
            for entry in fields(cls):
                text = properties[entry.name]
                values[entry.name] = text if entry.type is str else _tuples(json.loads(text))
            if values["task"] not in (SEMANTIC, INSTANCES):
                raise ValueError(f"no such task: {values['task']}")
        except (KeyError, ValueError) as error:
            raise DataError(
                f"{path}: damaged metadata ({type(error).__name__}: {error}), expected those that tools/export.py "
                "writes. Export the model again."
            ) from error
        return cls(**values)


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
