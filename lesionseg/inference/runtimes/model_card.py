"""What a model has to be known by to be used alone: how images go in, and what its outputs mean."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from typing import Any

from lesionseg.data.names import is_folder_name
from lesionseg.engine.families import INSTANCES, SEMANTIC
from lesionseg.errors import DataError
from lesionseg.inference.quality import is_quality
from lesionseg.pixels.instances import TOP1, UNION

# What is found is called so where a model has no other name for it.
LESION = "lesion"
MASK_SCORES, LOGITS, SIGMOID = "mask_scores", "logits", "sigmoid"
# Pixels of an input's edge.
MOST_EDGE = 8192
# OpenCV's, by MMCV's names.
INTERPOLATIONS = ("area", "bilinear", "nearest", "bicubic", "lanczos")
# MMDetection's mask_thr_binary.
MASK_THRESHOLD = 0.5
# A file without it was not exported here. It counts up when a reader of older files would misread newer ones.
FORMAT_KEY, FORMAT = "lesionseg_format", "1"


@dataclass(frozen=True)
class ModelCard:
    """Everything about a model but its weights.

    Attributes:
        task: `semantic`, one map for each class, or `instances`, boxes with masks.
        classes: names by class index, the background among them only if `task` is semantic (then it is 0) and the
            `score_rule` is not `sigmoid`.
        mean: of each input channel, in gray levels 0..255, in `channel_order`.
        std: standard deviations, as `mean`.
        channel_order: of the input, `RGB` or `BGR`.
        scale: (long edge at most, short edge) in pixels: an image is resized, aspect kept, until it meets the first
            of the two. MMCV's rule.
        interpolation: of that resizing, one of `INTERPOLATIONS`.
        size_divisor: the resized image is padded with zeros, below and to the right, to a multiple of it.
        input_size: (height, width) of a model with a fixed input, which the image is resized to fit into and then
            padded to, in place of `scale` and `size_divisor`.
        score_rule: what semantic outputs are: `logits`; `mask_scores`, sums of masks weighted by class
            probabilities (Mask2Former); or `sigmoid`, the logits of findings that do not exclude each other. For
            instances, how they make one mask: `union` or `top1`.
        min_score: the least score of an instance, 0..1, in `union`.
        precision: `float32` or `float16`, of the weights and of most computation.
        config: name of the config file.
        config_sha256: of the config's text with all bases and options merged.
        checkpoint: name of the checkpoint.
        checkpoint_sha256: of its bytes.
        versions: of the libraries that made the file, by name.
        quality: what an image's numbers let expect of its mask, see `lesionseg.inference.quality.open_map`; empty where
            nothing was fitted.
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
    quality: Mapping[str, Any] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[str, ...]:
        """What the model tells apart where a pixel may be more than one of them; none where that is but the lesion."""
        return self.classes if self.score_rule == SIGMOID and len(self.classes) > 1 else ()

    @property
    def lesion_name(self) -> str:
        """What users call what is found: the name of the only class beside the background, such as `nail`."""
        if self.task == INSTANCES:
            # The others are left out, see `lesionseg.inference.decode`.
            return self.classes[0] or LESION
        foreground = self.classes if self.score_rule == SIGMOID else self.classes[1:]
        return foreground[0] or LESION if len(foreground) == 1 else LESION

    def properties(self) -> dict[str, str]:
        """The card as text by name, JSON where it is more than text: what an ONNX file can carry."""
        values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in asdict(self).items()}
        if not self.quality:
            # As in files of earlier versions, and in their runs that are taken up.
            del values["quality"]
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
        if (found := properties[FORMAT_KEY]) != FORMAT:
            raise DataError(
                f"{path}: metadata of format {found[:_MOST_SHOWN]}, expected {FORMAT}. Use the version of lesionseg "
                "that made the file, or export the model again."
            )
        properties = {"quality": "{}", **properties}
        values: dict[str, Any] = {}
        try:
            for entry in fields(cls):
                text = properties[entry.name]
                values[entry.name] = text if entry.type is str else _tuples(json.loads(text))
        except (KeyError, ValueError, RecursionError) as error:
            raise DataError(
                f"{path}: damaged metadata ({type(error).__name__}: {error}), expected those that tools/export.py "
                "writes. Export the model again."
            ) from error
        card = cls(**values)
        if faults := card.faults():
            raise DataError(
                *(
                    f"{path}: damaged metadata ({fact}), expected {expected}. Export the model again."
                    for fact, expected in faults
                )
            )
        return card

    def faults(self) -> list[tuple[str, str]]:
        """Entries that no model can have: what each is, and what it may be."""
        faults = []
        forms = _FORM | _FORM_OF_TASK.get(self.task, {}) | _FORM_OF_RULE.get(self.score_rule, {})
        for name, (fits, expected) in forms.items():
            if not fits(value := getattr(self, name)):
                shown = repr(value)
                shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."
                faults.append((f"{name} is {shown}", expected))
        return faults


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _one_of(*known: str) -> tuple[Callable[[object], bool], str]:
    return lambda value: isinstance(value, str) and value in known, " or ".join(known)


def _number(least: float, most: float) -> tuple[Callable[[object], bool], str]:
    def fits(value: object) -> bool:
        # Neither NaN nor, though Python counts it among the numbers, `true`.
        return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most

    return fits, f"a number from {least:g} to {most:g}"


def _whole(least: int, most: int) -> tuple[Callable[[object], bool], str]:
    return lambda value: type(value) is int and least <= value <= most, f"a whole number from {least} to {most}"


def _several(count: int, each: tuple[Callable[[object], bool], str]) -> tuple[Callable[[object], bool], str]:
    fits, expected = each
    return lambda value: isinstance(value, tuple) and len(value) == count and all(map(fits, value)), (
        f"{count} of these: {expected}"
    )


def _names(least: int) -> tuple[Callable[[object], bool], str]:
    def fits(value: object) -> bool:
        return isinstance(value, tuple) and len(value) >= least and all(isinstance(name, str) for name in value)

    return fits, f"{least} or more names"


def _are_folders(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == len(set(value)) > 0 and all(map(is_folder_name, value))


def _is_text_by_name(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


_edge = _whole(1, MOST_EDGE)
_edges_fit, _edges_expected = _several(2, _edge)
_MOST_SHOWN = 100
# Entry -> what it may be, and that in words. Entries of plain text may be anything.
_Form = dict[str, tuple[Callable[[object], bool], str]]
_FORM: _Form = dict(
    task=_one_of(SEMANTIC, INSTANCES),
    classes=_names(1),
    mean=_several(3, _number(-1000, 1000)),
    std=_several(3, _number(0.001, 1000)),
    channel_order=_one_of("RGB", "BGR"),
    scale=_several(2, _edge),
    interpolation=_one_of(*INTERPOLATIONS),
    size_divisor=_whole(1, 1024),
    min_score=_number(0, 1),
    input_size=(lambda value: value is None or _edges_fit(value), f"null or {_edges_expected}"),
    precision=_one_of("float32", "float16"),
    versions=(_is_text_by_name, "texts by name"),
    quality=(is_quality, "fitted maps, see tools/test.py --fit-quality"),
)
_FORM_OF_TASK: Mapping[str, _Form] = {
    SEMANTIC: dict(score_rule=_one_of(LOGITS, MASK_SCORES, SIGMOID)),
    INSTANCES: dict(score_rule=_one_of(UNION, TOP1)),
}
_FORM_OF_RULE: Mapping[str, _Form] = {
    LOGITS: dict(classes=_names(2)),
    MASK_SCORES: dict(classes=_names(2)),
    # Masks are written into folders of these names.
    SIGMOID: dict(classes=(_are_folders, "different names that a folder may have")),
}
