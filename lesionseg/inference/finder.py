"""What was found in an image, and what a method has to do to be asked: the one interface of all methods."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Image:
    """An image to look at.

    Attributes:
        pixels: (H, W, 3) uint8, blue, green, red.
        id: see `lesionseg.data.names.image_id`; empty where the image has none.
    """

    pixels: np.ndarray
    id: str = ""


@dataclass(frozen=True)
class Instances:
    """All instances found in one image, on its original pixels, the best-scored first.

    Attributes:
        boxes: (K, 4) float32, left, top, right and bottom in pixels.
        scores: (K,) float32, 0..1; those too low to be chosen included.
        chosen: (C,) int64, which of them make up the lesion, see `lesionseg.pixels.instances`.
        draw: gives one's mask by its number, (H, W) bool. Not all of them at once: they may be many, and large.
        weigh: gives how likely each pixel is in any of them, (H, W) float32, 0..1; see
            `lesionseg.inference.decode.join_weighted`. None where that is not asked for.
    """

    boxes: np.ndarray
    scores: np.ndarray
    chosen: np.ndarray
    draw: Callable[[int], np.ndarray]
    weigh: Callable[[], np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Prediction:
    """What was found in one image, on its original pixels.

    Attributes:
        mask: (H, W) bool, True = lesion.
        probability: (H, W) float32, 0..1, how sure the method is, not calibrated. Above 0.5 it is the mask as it was
            before post-processing.
        instances: of instance segmentation, else None.
        class_scores: (C, H, W) float32, of semantic segmentation where they were asked for, else None.
        findings: of a method that tells several findings apart, such as acne and melanin, each by its name; a pixel may
            belong to more than one. `mask` is then their union, and `probability` that of the surest.
        numbers: how sure the method is of the mask as a whole, by the names in `lesionseg.inference.quality`, higher is
            surer; of several findings, each has its own. None where it is sure everywhere.
        expected_jaccard: the Jaccard index that they let expect, 0..1; None where nothing was fitted for the model.
    """

    mask: np.ndarray
    probability: np.ndarray
    instances: Instances | None = None
    class_scores: np.ndarray | None = None
    findings: Mapping[str, "Prediction"] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    expected_jaccard: float | None = None

    @classmethod
    def of_mask(cls, mask: np.ndarray, keep_scores: bool = False, **rest: Any) -> "Prediction":
        """Of a method that gives (H, W) bool and no more: it is sure everywhere. `rest` are other attributes."""
        if keep_scores:
            rest["class_scores"] = np.stack([~mask, mask]).astype(np.float32)
        return cls(mask, mask.astype(np.float32), **rest)

    @property
    def parts(self) -> list["Prediction"]:
        """What was found of each finding, or of the lesion where there is but that."""
        return list(self.findings.values()) or [self]

    def soft_mask(self) -> np.ndarray:
        """(H, W) float32, 0..1, what ensembles join: the probability; of instances, each counts by its score."""
        if self.instances is None:
            return self.probability
        assert self.instances.weigh is not None
        return self.instances.weigh()

    @property
    def boxes(self) -> np.ndarray | None:
        """(C, 4) float32, of the instances that make up the lesion, the best-scored first; else None."""
        return None if self.instances is None else self.instances.boxes[self.instances.chosen]

    @property
    def scores(self) -> np.ndarray | None:
        """(C,) float32, 0..1, theirs."""
        return None if self.instances is None else self.instances.scores[self.instances.chosen]


@runtime_checkable
class Finder(Protocol):
    """A method: a network in whatever engine, several of them, masks from elsewhere, or no learning at all.

    Attributes:
        task: `semantic` or `instances`, see `lesionseg.engine.families`.
    """

    task: str

    def find(self, images: Sequence[Image], keep_scores: bool = False) -> list[Prediction]:
        """Find the lesions in images.

        Args:
            images: of any sizes.
            keep_scores: also give the scores of all classes, which take several times the memory of the image.
        """
        ...
