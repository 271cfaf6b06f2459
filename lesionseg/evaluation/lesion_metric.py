"""The metric that MMEngine runs: official per-image scores and pooled ones, on original pixels."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from lesionseg.data.names import mask_file
from lesionseg.errors import DataError, first_names
from lesionseg.evaluation.results import ImageResult, finding_means, means
from lesionseg.evaluation.scores import PER_IMAGE, POOLED, Confusion, jaccard, pooled_scores
from lesionseg.files import write_bytes
from lesionseg.pixels.findings import Label, has_finding
from lesionseg.pixels.instances import BEST, TOP1, UNION, choose_instances
from lesionseg.pixels.masks import encode_mask
from lesionseg.pixels.rle import pack_mask, unpack_mask

LESION = 1
# The class index of a detector's first class; it has none for the background.
LESION_INSTANCE = 0
# How a detector's instances become one mask, and what a report says of it.
INSTANCE_RULES = {
    UNION: "The prediction is the union of all detections with a score of at least {}.",
    TOP1: "The prediction is the detection with the highest score.",
    BEST: "The prediction is the detection that overlaps the truth most: optimistic, only to compare with papers.",
}


# In MMEngine's root registry, where the configs of MMSegmentation and of MMDetection both find it.
@METRICS.register_module()
class LesionMetric(BaseMetric):
    """Score lesion masks as the ISIC challenge does, and as MMSegmentation does.

    Reports, all in 0..1, the means over images of `lesionseg.evaluation.scores.PER_IMAGE` under their plain
    names (`lesion/jaccard` is what `save_best` wants) and the scores over pooled pixels with `pooled_` in
    front (`lesion/pooled_mIoU`). Of several findings, it reports the mean over them, and those of each with its name
    behind (`lesion/jaccard.acne`); a finding that was not looked for in an image is not scored there. Keeps counts and
    a compressed mask per image, so that memory stays flat.

    Args:
        instances: what becomes of a detector's instances: `union` of those with at least `min_score`, `top1`, the
            best-scored one, or `best`, the one that overlaps the truth most. The last looks at the truth, so it is
            optimistic: only for comparing with papers that report it. An image without detections counts as an
            empty prediction. Has no meaning for semantic predictions.
        min_score: 0..1, for `union`.
        out_dir: where to write the predictions as a challenge wants them, `<id>_segmentation.png`, gray
            0 and 255 in the image's original size. Masks of images in sub-folders go to sub-folders. The
            main process writes them once all images are measured.
        kwargs: as for BaseMetric.

    Attributes:
        postprocess: what is done to every predicted mask before it is measured, (H, W) bool -> (H, W) bool.
        numbers_of: what says how sure the model is of a data sample's masks, numbers by name for each finding, or for
            an empty name where there is but one kind.
        table: after `evaluate`, on the main process, one row per image, sorted by id.
    """

    default_prefix = "lesion"

    def __init__(
        self, instances: str = UNION, min_score: float = 0.5, out_dir: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if instances not in INSTANCE_RULES:
            raise DataError(f"LesionMetric: instances={instances}, expected {' or '.join(INSTANCE_RULES)}. Choose one.")
        if not 0 <= min_score <= 1:
            raise DataError(f"LesionMetric: min_score={min_score}, expected a score from 0 to 1. Correct it.")
        self.instances = instances
        self.min_score = min_score
        self.out_dir = out_dir
        self.postprocess: Callable[[np.ndarray], np.ndarray] | None = None
        self.numbers_of: Callable[[dict], Mapping[str, Mapping[str, float]]] = lambda sample: {}
        self.table: list[ImageResult] = []
        self._of_instances = False

    @property
    def score_names(self) -> list[str]:
        """What its scores are called, for `save_best`."""
        findings = (self.dataset_meta or {}).get("findings", ())
        of_findings = [f"{name}.{finding}" for finding in findings for name in PER_IMAGE]
        return [f"{self.prefix}/{name}" for name in (*PER_IMAGE, *(f"pooled_{name}" for name in POOLED), *of_findings)]

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores has to know, a sentence each."""
        return [INSTANCE_RULES[self.instances].format(self.min_score)] if self._of_instances else []

    @property
    def optimistic(self) -> bool:
        """Whether the predictions were chosen by looking at the truth."""
        return self._of_instances and self.instances == BEST

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels of a batch.

        Args:
            data_batch: not used.
            data_samples: data samples as dicts, with `image_id`, `img_path`, `seg_map_path`, `ori_shape` (H, W),
                `gt_sem_seg` and a prediction: `pred_sem_seg`, see `lesion_prediction`, or `pred_instances` with
                `masks` (N, H, W) bool, `scores` (N,) float and `labels` (N,) int, 0 = lesion; where both are there, the
                mask counts. Of several findings, see `lesionseg.data.datasets.multi_label`, truth and prediction are
                codes.

        Raises:
            DataError: an id or a truth is missing, the truth is not on original pixels or holds something else than 0
                and 1.
        """
        # MMEngine takes as many results as there are images.
        self.results += [self._measure(sample) for sample in data_samples]

    def _measure(self, sample: dict) -> list[ImageResult]:
        """Count the pixels of an image: one row, or one for each finding that was looked for."""
        numbers = self.numbers_of(sample)
        rows = self._count(sample)
        return [replace(row, numbers=numbers.get(row.finding, {})) for row in rows]

    def _count(self, sample: dict) -> list[ImageResult]:
        if "findings" in sample:
            truth, prediction = map(_class_indices, (_truth_of(sample), sample["pred_sem_seg"]))
            return [
                self._row(
                    sample,
                    f"{finding}/{lesion_id(sample)}",
                    sample["mask_paths"][finding],
                    has_finding(truth, number),
                    has_finding(prediction, number),
                    finding=finding,
                    label=sample.get("labels", {}).get(finding),
                )
                for number, finding in enumerate(sample["findings"])
                if finding in sample["mask_paths"]
            ]
        truth = lesion_truth(sample)
        self._of_instances = "pred_instances" in sample
        prediction = lesion_prediction(sample) if "pred_sem_seg" in sample else self._of_detector(sample, truth)
        row = self._row(sample, lesion_id(sample), sample["seg_map_path"], truth, prediction)
        if "pred_instances" in sample and not prediction.any():
            missed = f"no detection reached {self.min_score:g}" if self.instances == UNION else "no detection"
            row = replace(row, remark=missed)
        return [row]

    def _row(
        self,
        sample: dict,
        id: str,
        path: str,
        truth: np.ndarray,
        prediction: np.ndarray,
        finding: str = "",
        label: Label | None = None,
    ) -> ImageResult:
        if self.postprocess:
            prediction = self.postprocess(prediction)
        for name, mask in (("truth", truth), ("prediction", prediction)):
            _check_size(mask, name, sample)
        counts = Confusion.from_masks(truth, prediction)
        return ImageResult(id, sample["img_path"], path, counts, pack_mask(prediction), finding, label)

    def _of_detector(self, data_sample: dict, truth: np.ndarray) -> np.ndarray:
        detections = data_sample["pred_instances"]
        if "masks" not in detections:
            raise DataError(
                f"{data_sample['img_path']}: detections without masks, expected a model with a mask head. Leave "
                "LesionMetric out for a detector of boxes."
            )
        masks, scores, labels = (detections[name].detach().cpu().numpy() for name in ("masks", "scores", "labels"))
        lesions = labels == LESION_INSTANCE
        if not lesions.all():
            masks, scores = masks[lesions], scores[lesions]
        if not len(masks):
            return np.zeros(truth.shape, bool)
        overlaps = None
        if self.instances == BEST:
            overlaps = np.array([jaccard(Confusion.from_masks(truth, mask)) for mask in masks])
        return masks[choose_instances(scores, self.instances, self.min_score, overlaps)].any(0)

    def compute_metrics(self, results: list[list[ImageResult]]) -> dict[str, float]:
        """Compute the scores of the whole set, fill `table` and write the masks.

        Args:
            results: those of all processes, each image once, with its rows.

        Raises:
            DataError: no images, or two with the same id.
        """
        if not results:
            raise DataError("lesion metric: no images, expected at least one. Check the data set of the evaluation.")
        self.table = sorted((row for rows in results for row in rows), key=lambda row: row.id)
        if twice := [id for id, times in Counter(row.id for row in self.table).items() if times > 1]:
            image = next(row.image for row in self.table if row.id == twice[0])
            raise DataError(
                f"{image}: {len(twice)} ids occur more than once ({first_names(twice)}), expected every image once. "
                "Rename the images, or list each of them once."
            )
        if self.out_dir is not None:
            write_masks(self.out_dir, self.table)
        pooled = pooled_scores(row.counts for row in self.table)
        scores = means(self.table) | {f"pooled_{name}": pooled[name] for name in pooled}
        for finding, of_finding in finding_means(self.table).items():
            scores |= {f"{name}.{finding}": value for name, value in of_finding.items()}
        return scores


def lesion_id(data_sample: dict) -> str:
    """Take the image's id from a data sample.

    Raises:
        DataError: its pipeline has dropped it.
    """
    if "image_id" not in data_sample:
        raise DataError(
            f"{data_sample['img_path']}: its sample has no image_id, expected the id that the data set gave it. Add "
            "'image_id' to the meta_keys of the pipeline's last step, as configs/_base_ does."
        )
    return data_sample["image_id"]


def lesion_truth(data_sample: dict) -> np.ndarray:
    """Take the true lesion from a data sample.

    Args:
        data_sample: has `gt_sem_seg`, whose `data` (or `sem_seg`) is a (1, H, W) tensor of class indices,
            0 = background and 1 = lesion.

    Returns:
        (H, W) bool, True = lesion.

    Raises:
        DataError: there is no truth, or it holds other values.
    """
    labels = _class_indices(_truth_of(data_sample))
    lesion = labels == LESION
    if not np.all(lesion | (labels == 0)):
        raise DataError(
            f"{data_sample['seg_map_path']}: class indices up to {labels.max()}, expected 0 = background and "
            "1 = lesion. Load it with LoadLesionMask."
        )
    return lesion


def lesion_prediction(data_sample: dict) -> np.ndarray:
    """Take the predicted lesion from a data sample.

    Args:
        data_sample: has `pred_sem_seg`, whose `data` is a (1, H, W) tensor of class indices, 1 = lesion.

    Returns:
        (H, W) bool, True = lesion.
    """
    return _class_indices(data_sample["pred_sem_seg"]) == LESION


def write_masks(folder: str, table: Sequence[ImageResult]) -> None:
    """Write the predictions as `<id>_segmentation.png`, gray 0 = skin and 255 = lesion."""
    for row in table:
        write_bytes(Path(folder) / mask_file(row.id), encode_mask(unpack_mask(row.prediction)))


def _truth_of(data_sample: dict) -> dict:
    if "gt_sem_seg" not in data_sample or not {"seg_map_path", "mask_paths"} & data_sample.keys():
        raise DataError(
            f"{data_sample['img_path']}: no true mask was loaded, expected one to measure against. "
            "Set the masks' folder in data_prefix and put LoadLesionMask into the pipeline."
        )
    return data_sample["gt_sem_seg"]


def _class_indices(field: dict) -> np.ndarray:
    """Take the (H, W) class indices out of a field of a data sample."""
    # MMSegmentation's samples say data, MMDetection's sem_seg.
    indices = field["data"] if "data" in field else field["sem_seg"]
    # Compared in numpy: torch spreads such small work over threads, which costs more than it gains on busy CPUs.
    return indices[0].cpu().numpy()


def _check_size(mask: np.ndarray, name: str, data_sample: dict) -> None:
    height, width = data_sample["ori_shape"][:2]
    if mask.shape != (height, width):
        raise DataError(
            f"{data_sample['img_path']}: a {name} of {mask.shape[1]}x{mask.shape[0]} pixels, expected the image's "
            f"original {width}x{height}. Load the true mask after the image is resized, so that it keeps its size."
        )
