"""COCO's average precision, also where a model finds nothing."""

from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS


@METRICS.register_module()
class LesionCocoMetric(CocoMetric):
    """MMDetection's CocoMetric, which gives no score at all where no image has a detection; here that is 0.

    A training that saves the checkpoint of the best score would otherwise end at its first such validation.
    """

    @property
    def score_names(self) -> list[str]:
        """What its scores are called, for `save_best`."""
        suffixes = ("", "_50", "_75", "_s", "_m", "_l")
        return [f"{self.prefix}/{metric}_mAP{suffix}" for metric in self.metrics for suffix in suffixes]

    def compute_metrics(self, results: list) -> dict[str, float]:
        scores = super().compute_metrics(results)
        for metric in self.metrics:
            for suffix in ("", "_50", "_75"):
                scores.setdefault(f"{metric}_mAP{suffix}", 0.0)
        return scores
