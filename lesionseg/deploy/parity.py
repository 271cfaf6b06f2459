"""Proof that an exported model does what the PyTorch model does, on images."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from lesionseg.cli import progress
from lesionseg.engine.families import SEMANTIC
from lesionseg.evaluation.scores import Confusion, jaccard
from lesionseg.inference.finder import Finder, Image, Instances
from lesionseg.inference.network import Network
from lesionseg.inference.prepare import padded_size, resized_size
from lesionseg.pixels.legends import add_legend
from lesionseg.pixels.outlines import PREDICTION_COLOUR, TRUTH_COLOUR, outline_picture
from lesionseg.pixels.pictures import encode_jpeg, read_image
from lesionseg.pixels.rle import pack_mask
from lesionseg.tables import named_values

# Twins' scores may differ by so much.
_SCORE_SLACK = 0.05
# RGB, of the pixels on which two masks differ.
_DIFFERENT = (255, 0, 0)


@dataclass(frozen=True)
class Thresholds:
    """How alike two models have to be.

    Attributes:
        min_agreement: the least share of pixels whose class agrees, for semantic segmentation.
        min_score: detections with at least this score have to have a twin.
        min_mask_iou: the least overlap of a detection with its twin.
    """

    min_agreement: float = 0.999
    min_score: float = 0.3
    min_mask_iou: float = 0.95


@dataclass(frozen=True)
class ImageParity:
    """How alike both models are on one image.

    Attributes:
        image: its path.
        size: (height, width) of the input.
        max_difference: the largest absolute difference of any output: scores of classes; for instances, of the
            scores of twins.
        mean_difference: the mean of the same.
        agreement: share of original pixels on which both masks agree; of several findings, the mean.
        jaccard: of both masks; 1 where both are empty; of several findings, the mean.
        detections: how many detections, of either model, had to have a twin.
        matched: how many had one with enough overlap.
        mask_iou: the least overlap of a detection with its twin; 1 without detections.
        box_iou: the same for boxes.
    """

    image: str
    size: tuple[int, int]
    max_difference: float
    mean_difference: float
    agreement: float
    jaccard: float
    detections: int = 0
    matched: int = 0
    mask_iou: float = 1.0
    box_iou: float = 1.0


@dataclass(frozen=True)
class Parity:
    """How alike an exported model and its PyTorch original are.

    Attributes:
        task: of the models.
        engine: what ran the exported one.
        thresholds: what was asked for.
        images: one entry for each image.
        threads: CPU threads that each had in what follows.
        latency: in milliseconds for an image, by engine.
        peak_memory: of a process that does nothing else, in MiB by engine.
        megabytes: size of the exported file.
    """

    task: str
    engine: str
    thresholds: Thresholds
    images: list[ImageParity]
    threads: int = 0
    latency: dict[str, float] = field(default_factory=dict)
    peak_memory: dict[str, float | None] = field(default_factory=dict)
    megabytes: float = 0.0

    @property
    def passed(self) -> bool:
        if self.task == SEMANTIC:
            return self.agreement >= self.thresholds.min_agreement
        return all(image.matched == image.detections for image in self.images)

    @property
    def agreement(self) -> float:
        """Mean share over the images of original pixels on which both masks agree."""
        return float(np.mean([image.agreement for image in self.images]))

    @property
    def worst(self) -> ImageParity:
        """The image on which both differ most."""
        return min(self.images, key=lambda image: (image.matched - image.detections, image.mask_iou, image.jaccard))

    @property
    def typical(self) -> str:
        """An image with the size of input that most have."""
        sizes = Counter(image.size for image in self.images)
        return next(image.image for image in self.images if image.size == sizes.most_common(1)[0][0])

    def to_json(self) -> str:
        """Everything as JSON, totals first."""
        lists = {name: [getattr(image, name) for image in self.images] for name in ImageParity.__dataclass_fields__}
        totals = dict(
            task=self.task,
            engine=self.engine,
            passed=self.passed,
            thresholds=asdict(self.thresholds),
            images=len(self.images),
            input_sizes=sorted(set(lists["size"])),
            max_difference=max(lists["max_difference"]),
            mean_difference=float(np.mean(lists["mean_difference"])),
            agreement=self.agreement,
            least_agreement=min(lists["agreement"]),
            jaccard=float(np.mean(lists["jaccard"])),
            least_jaccard=min(lists["jaccard"]),
            detections=sum(lists["detections"]),
            matched=sum(lists["matched"]),
            least_mask_iou=min(lists["mask_iou"]),
            least_box_iou=min(lists["box_iou"]),
            worst=self.worst.image,
            threads=self.threads,
            latency_ms=self.latency,
            peak_memory_mib=self.peak_memory,
            megabytes=self.megabytes,
        )
        return json.dumps({**totals, "per_image": [asdict(image) for image in self.images]}, indent=2) + "\n"

    def table(self) -> str:
        """The totals for a terminal."""
        totals = json.loads(self.to_json())
        rows = [
            ("images, input sizes", f"{totals['images']}, {len(totals['input_sizes'])}"),
            ("largest difference of a score", f"{totals['max_difference']:.2g}"),
            ("mean difference of scores", f"{totals['mean_difference']:.2g}"),
            ("pixels that agree", f"{totals['agreement']:.6%}"),
            ("  on the worst image", f"{totals['least_agreement']:.6%}"),
            ("Jaccard of both masks, mean", f"{totals['jaccard']:.6f}"),
            ("  on the worst image", f"{totals['least_jaccard']:.6f}"),
        ]
        if self.task != SEMANTIC:
            found = f"{totals['matched']} of {totals['detections']}"
            if not totals["detections"]:
                found += ", which proves nothing: take images with lesions"
            rows += [
                (f"detections above {self.thresholds.min_score} with a twin", found),
                ("  least overlap of masks", f"{totals['least_mask_iou']:.4f}"),
                ("  least overlap of boxes", f"{totals['least_box_iou']:.4f}"),
            ]
        if self.latency:
            pytorch, exported = self.latency["pytorch"], self.latency[self.engine]
            ratio = f"{pytorch / exported:.2f} times as fast"
            rows += [
                ("milliseconds an image, PyTorch", f"{pytorch:.1f}"),
                (f"  {self.engine}", f"{exported:.1f}, {ratio}"),
            ]
        memory = {engine: mebibytes for engine, mebibytes in self.peak_memory.items() if mebibytes}
        rows += [(f"peak memory of a process, {engine}", f"{memory[engine]:.0f} MiB") for engine in memory]
        rows.append(("file", f"{self.megabytes:.1f} MB"))
        return "\n".join(named_values(rows))


def compare(
    original: Finder, exported: Network, images: Sequence[str | PathLike], thresholds: Thresholds
) -> list[ImageParity]:
    """Run both models on images.

    Args:
        original: OpenMMLab's own, which takes images in as the exported model's card says.
        exported: the same network in another engine.
        images: picture files.
        thresholds: which detections have to have a twin, and how near.

    Raises:
        DataError: an image cannot be read.
    """
    return [
        _compare(original, exported, path, thresholds)
        for path in progress(images, len(images), "comparing with PyTorch")
    ]


def difference_picture(original: Finder, exported: Finder, path: str | PathLike) -> bytes:
    """Draw both masks' outlines on an image, PyTorch's yellow and the exported one's blue, and red where they differ;
    a legend below says so, and on how many pixels they do.

    Returns:
        a JPEG file.
    """
    image = Image(read_image(path))
    first, second = (finder.find([image])[0].mask for finder in (original, exported))
    picture = outline_picture(image.pixels, truth=first, prediction=second)
    differ = first != second
    picture[differ] = _DIFFERENT[::-1]
    count = f"they differ: {np.count_nonzero(differ)} of {differ.size} pixels"
    legend = [("PyTorch", TRUTH_COLOUR), ("exported", PREDICTION_COLOUR), (count, _DIFFERENT)]
    return encode_jpeg(add_legend(picture, legend))


def _compare(original: Finder, exported: Network, path: str | PathLike, thresholds: Thresholds) -> ImageParity:
    image = Image(read_image(path))
    first, second = (finder.find([image], keep_scores=True)[0] for finder in (original, exported))
    height, width = image.pixels.shape[:2]
    parts = list(zip(first.parts, second.parts, strict=True))
    masks: dict[str, Any] = dict(
        image=str(path),
        size=padded_size(*resized_size(height, width, exported.card), exported.card),
        agreement=float(np.mean([one.mask == other.mask for one, other in parts])),
        jaccard=float(np.mean([jaccard(Confusion.from_masks(one.mask, other.mask)) for one, other in parts])),
    )
    if first.instances is None or second.instances is None:
        assert first.class_scores is not None
        assert second.class_scores is not None
        difference = np.abs(first.class_scores - second.class_scores)
        return ImageParity(max_difference=float(difference.max()), mean_difference=float(difference.mean()), **masks)
    pairs = twins(first.instances, second.instances, thresholds.min_score)
    differences = [abs(a - b) for a, b, *_ in pairs]
    return ImageParity(
        max_difference=max(differences, default=0.0),
        mean_difference=float(np.mean(differences)) if differences else 0.0,
        detections=len(pairs),
        matched=sum(overlap >= thresholds.min_mask_iou and abs(a - b) <= _SCORE_SLACK for a, b, overlap, _ in pairs),
        mask_iou=min((overlap for *_, overlap, _ in pairs), default=1.0),
        box_iou=min((overlap for *_, overlap in pairs), default=1.0),
        **masks,
    )


def twins(first: Instances, second: Instances, min_score: float) -> list[tuple[float, float, float, float]]:
    """Pair the detections of two models, those that overlap most first.

    Returns:
        both scores, the overlap (IoU) of the masks and that of the boxes, for each pair of which at least one has
        `min_score`; score 0 and no overlap for what has no twin.
    """
    overlaps = _overlaps(
        *([pack_mask(found.draw(number)) for number in range(len(found))] for found in (first, second))
    )
    boxes = _overlaps(
        *(
            np.concatenate([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]], 1).astype(np.float64)
            for found in (first, second)
        )
    )
    pairs = []
    left, right = set(range(len(first.scores))), set(range(len(second.scores)))
    # Among equals, those of the best scores.
    for a, b in sorted(np.ndindex(overlaps.shape), key=lambda pair: -overlaps[pair]):
        if overlaps[a, b] > 0 and a in left and b in right:
            left.remove(a)
            right.remove(b)
            pairs.append((float(first.scores[a]), float(second.scores[b]), float(overlaps[a, b]), float(boxes[a, b])))
    pairs += [(float(first.scores[a]), 0.0, 0.0, 0.0) for a in left]
    pairs += [(0.0, float(second.scores[b]), 0.0, 0.0) for b in right]
    return [pair for pair in pairs if max(pair[:2]) >= min_score]


def _overlaps(first: Sequence | np.ndarray, second: Sequence | np.ndarray) -> np.ndarray:
    """Intersection over union of COCO's RLEs, or of (N, 4) boxes of left, top, width and height."""
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    return np.asarray(coco_mask.iou(first, second, [0] * len(second)))
