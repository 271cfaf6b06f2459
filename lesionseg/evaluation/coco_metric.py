"""COCO's average precision, also where a model finds nothing, or annotations are numbered from 0."""

from os import PathLike
from pathlib import Path
from typing import Any

from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS

from lesionseg.data.datasets.coco_index import read_index
from lesionseg.engine.screen import screen


@METRICS.register_module()
class LesionCocoMetric(CocoMetric):
    """MMDetection's CocoMetric, which gives no score at all where no image has a detection; here that is 0.

    A training that saves the checkpoint of the best score would otherwise end at its first such validation.
    Annotations are read as `LesionCocoDataset` reads them: pycocotools takes one of id 0 for none at all, and
    gives perfect predictions of it a score of 0.

    Args:
        ann_file: the COCO file; None where samples bring their annotations.
        kwargs: as for CocoMetric.

    Raises:
        DataError: see `lesionseg.data.datasets.coco_index.read_index`.
    """

    def __init__(self, ann_file: str | PathLike | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if ann_file is not None:
            self._coco_api = read_index(Path(ann_file))

    @property
    def score_names(self) -> list[str]:
        """What its scores are called, for `save_best`."""
        suffixes = ("", "_50", "_75", "_s", "_m", "_l")
        return [f"{self.prefix}/{metric}_mAP{suffix}" for metric in self.metrics for suffix in suffixes]

    def compute_metrics(self, results: list) -> dict[str, float]:
        if self._coco_api is not None:
            # Of a fold, the file has more images than were looked at: to MMDetection their instances were missed.
            self.img_ids = sorted({prediction["img_id"] for _, prediction in results})
        # pycocotools prints what it does.
        with screen.held_back():
            scores = super().compute_metrics(results)
        for metric in self.metrics:
            for suffix in ("", "_50", "_75"):
                scores.setdefault(f"{metric}_mAP{suffix}", 0.0)
        return scores
