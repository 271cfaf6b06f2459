"""Tables of finished tests, small enough to see their scores."""

from lesionseg.evaluation.results import ImageResult
from lesionseg.evaluation.scores import Confusion

COCO = dict(bbox_mAP=0.6, bbox_mAP_50=0.9, bbox_mAP_75=0.7, segm_mAP=0.62, segm_mAP_50=0.933, segm_mAP_s=-1.0)


def result(image_id: str, found: int, lesion: int = 8, pixels: int = 20) -> ImageResult:
    """An image of which so many pixels of the lesion were found, and nothing else."""
    counts = Confusion(tp=found, tn=pixels - lesion, fp=0, fn=lesion - found)
    return ImageResult(image_id, f"{image_id}.jpg", f"{image_id}.png", counts, {})


FIRST = [result("a", 4), result("b", 6), result("c", 8), result("d", 2)]  # Jaccard 1/2, 3/4, 1, 1/4
SECOND = [result("a", 6), result("b", 4), result("c", 8), result("d", 4)]  # Jaccard 3/4, 1/2, 1, 1/2
