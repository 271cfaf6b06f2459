"""Mask R-CNN's prediction as a graph that gives what MMDetection gives.

mmdeploy's own rewriters approximate it; the functions here say where, and take their place for one export. Backbones,
RoIAlign and what PyTorch's functions need stay as mmdeploy has them.

Shapes: N images of H x W pixels, P proposals an image, C classes, K detections an image. Boxes are x1 y1 x2 y2 in
pixels of the input.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mmdeploy.codebase.mmdet.models  # noqa: F401  Registers mmdeploy's own rewriters, of backbones among others.
import torch
from mmdeploy.codebase.mmdet.deploy import get_post_processing_params
from mmdeploy.core import FUNCTION_REWRITER
from mmdeploy.mmcv.ops.nms import ONNXNMSop
from mmdet.models.task_modules import BaseBBoxCoder
from torch import Tensor, nn

# The score of a box that is out, below all that sigmoid and softmax give.
OUT = -1.0


@contextmanager
def parity_rewriters() -> Iterator[None]:
    """Let mmdeploy use this prediction inside the block, and only there: its registry is global."""
    path = "mmdet.models.detectors.two_stage.TwoStageDetector.forward"
    # One for a backend goes before one for all, which mmdeploy has for this function.
    FUNCTION_REWRITER.register_rewriter(path, backend="onnxruntime")(mask_rcnn__forward)
    try:
        yield
    finally:
        FUNCTION_REWRITER._registry.remove_record(mask_rcnn__forward)


def mask_rcnn__forward(self: nn.Module, inputs: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Detect instances.

    Args:
        self: The TwoStageDetector.
        inputs: (N, 3, H, W) float32, normalised, padded with the preprocessor's value at the bottom and the right.

    Returns:
        Boxes and scores (N, K, 5) float32, best first; classes (N, K) int64; masks, probabilities as float32, in their
        boxes (N, K, 28, 28), or pasted (N, K, H, W). Rows beyond the detections are 0, their class is -1.
    """
    limits = box_limits(inputs, self.data_preprocessor.pad_value)
    features = self.extract_feat(inputs)
    proposals, real = propose(self.rpn_head, features, limits)
    boxes, scores, labels = detect(self.roi_head, features, proposals, real, limits)
    masks = segment(self.roi_head, features, boxes, scores, labels)
    context = FUNCTION_REWRITER.get_context()
    if get_post_processing_params(context.cfg).export_postprocess_mask:
        masks = paste(masks, boxes, inputs.shape[-2:])
    return torch.cat([boxes, scores[..., None]], -1), labels, masks


def box_limits(inputs: Tensor, pad_value: float) -> Tensor:
    """Where each image ends, (N, 1, 4) as width, height, width, height.

    MMDetection clips boxes to the image, mmdeploy to the padded input. The graph finds the image by itself, also where
    images of several sizes share a batch: padding has one exact value, which no pixel has after its normalisation
    unless the mean is a whole number (that is refused before the export).
    """
    not_padding = (inputs != pad_value).any(1)
    ends = []
    for over in (1, 2):
        used = not_padding.any(over)
        ends.append((used * (torch.arange(used.shape[1]) + 1)).amax(1))
    return torch.stack(ends * 2, -1)[:, None].to(inputs.dtype)


def propose(rpn_head: nn.Module, features: Sequence[Tensor], limits: Tensor) -> tuple[Tensor, Tensor]:
    """Propose regions: boxes (N, P, 4), best first, and which of them are real and not filled up, (N, P) bool.

    MMDetection suppresses within each level of the pyramid, and drops no proposal for its score; mmdeploy does both
    otherwise, which is what detections were lost and moved by. It also keeps boxes without an area, and lets rows that
    it filled up take part.
    """
    config = rpn_head.test_cfg
    score_maps, delta_maps = rpn_head(features)
    anchors = rpn_head.prior_generator.grid_priors([scores.shape[-2:] for scores in score_maps], device="cpu")
    level_boxes, level_bests = [], []
    for level_scores, level_deltas, level_anchors in zip(score_maps, delta_maps, anchors, strict=True):
        images = level_scores.shape[0]
        objectness = level_scores.permute(0, 2, 3, 1).reshape(images, -1, rpn_head.cls_out_channels)
        objectness = objectness.sigmoid() if rpn_head.use_sigmoid_cls else objectness.softmax(-1)[..., :-1]
        objectness = objectness[..., 0]
        deltas = level_deltas.permute(0, 2, 3, 1).reshape(images, -1, 4)
        objectness, best = _best(objectness, config.nms_pre, OUT)
        deltas = _pick(deltas, best, config.nms_pre)
        level_anchors = nn.functional.pad(level_anchors, (0, 0, 0, config.nms_pre))[best]
        level_boxes.append(_decode(rpn_head.bbox_coder, level_anchors, deltas, limits))
        level_bests.append(objectness)
    levels = torch.arange(len(level_bests)).repeat_interleave(config.nms_pre)
    boxes, scores = torch.cat(level_boxes, 1), torch.cat(level_bests, 1)
    if config.get("min_bbox_size", -1) >= 0:
        sides = boxes[..., 2:] - boxes[..., :2]
        scores = torch.where((sides > config.min_bbox_size).all(-1), scores, OUT)
    of_level = levels == torch.arange(len(score_maps))[:, None]
    kept = suppress(boxes, torch.where(of_level, scores[:, None], OUT), config.nms.iou_threshold, config.max_per_img)
    scores, best = _best(kept.amax(1), config.max_per_img, OUT)
    return _pick(boxes, best, config.max_per_img), scores > OUT


def detect(
    roi_head: nn.Module, features: Sequence[Tensor], proposals: Tensor, real: Tensor, limits: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Classify and move the proposals: boxes (N, K, 4), scores (N, K), best first, and classes (N, K).

    Each class suppresses its own boxes; mmdeploy gives all classes of a proposal the box of its best class.
    """
    config, head = roi_head.test_cfg, roi_head.bbox_head
    found = roi_head._bbox_forward(features, _regions(proposals))
    count = int(proposals.shape[1])
    scores, deltas = (found[key].reshape(-1, count, found[key].shape[1]) for key in ("cls_score", "bbox_pred"))
    scores = torch.where(real[..., None], scores.softmax(-1)[..., :-1], OUT).transpose(1, 2)
    boxes = _decode(head.bbox_coder, proposals, deltas, limits).unflatten(2, (-1, 4)).transpose(1, 2)
    boxes = boxes.expand(-1, head.num_classes, -1, -1)
    kept = suppress(
        boxes.flatten(0, 1),
        scores.flatten(0, 1)[:, None],
        config.nms.iou_threshold,
        config.max_per_img,
        config.score_thr,
    ).view_as(scores)
    # What fills up, zeros, comes before all that is out.
    scores, best = _best(kept.flatten(1), config.max_per_img, 0.0)
    boxes = _pick(boxes.flatten(1, 2), best, config.max_per_img)
    return boxes, scores, torch.where(scores > 0, best.div(count, rounding_mode="trunc"), -1)


def segment(roi_head: nn.Module, features: Sequence[Tensor], boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """Predict the masks of the detections in their boxes, (N, K, 28, 28) probabilities, 0 beyond the detections."""
    # The head is slow, and most rows are usually no detections.
    detected = scores > 0
    rows = detected.flatten().nonzero()[:, 0]
    logits = roi_head._mask_forward(features, _regions(boxes)[rows])["mask_preds"]
    classes = rows * 0 if roi_head.mask_head.class_agnostic else labels.flatten()[rows]
    masks = logits[torch.arange(rows.shape[0]), classes].sigmoid()
    # One more, empty, for the rows that are no detections.
    masks = nn.functional.pad(masks, (0, 0, 0, 0, 0, 1))
    place = detected.flatten().long().cumsum(0).reshape(-1, int(labels.shape[1])) - 1
    return masks[torch.where(detected, place, -1)]


def paste(masks: Tensor, boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Enlarge masks (N, K, h, w) into their boxes (N, K, 4): (N, K, H, W), zero elsewhere.

    Bilinear as MMDetection's grid sampling, written as a product per axis, which every engine computes fast. A pixel
    weighs a cell by their distance in cells, up to one.
    """
    axes = []
    for axis, pixels, cells in ((1, size[0], masks.shape[2]), (0, size[1], masks.shape[3])):
        start = boxes[..., axis, None]
        # Boxes without an area give nothing.
        length = (boxes[..., axis + 2, None] - start).clamp(min=1e-6)
        position = (torch.arange(pixels, dtype=torch.float32) + 0.5 - start) / length * cells - 0.5
        axes.append((1 - (position[..., None] - torch.arange(cells)).abs()).clamp(min=0))
    rows, columns = axes
    return rows @ masks @ columns.transpose(2, 3)


def suppress(
    boxes: Tensor, scores: Tensor, iou_threshold: float, most: int, score_threshold: float = OUT / 2
) -> Tensor:
    """Non-maximum suppression.

    Args:
        boxes: (B, M, 4).
        scores: (B, G, M); the boxes of each of the G groups suppress only each other.
        iou_threshold: A box goes when its IoU with a kept, better-scored box is above this.
        most: Boxes to keep of a group.
        score_threshold: Boxes that are not above it go.

    Returns:
        (B, G, M), the scores of what is kept, OUT elsewhere.
    """
    kept = ONNXNMSop.apply(boxes, scores, most, torch.tensor([iou_threshold]), torch.tensor([score_threshold]))
    # A tensor by zeros_like would keep the shape that it has in the trace.
    is_kept = (scores * 0).index_put(kept.unbind(1), torch.ones(()))
    return torch.where(is_kept > 0, scores, OUT)


def _decode(coder: BaseBBoxCoder, boxes: Tensor, deltas: Tensor, limits: Tensor) -> Tensor:
    """Move boxes (N, M, 4) by deltas (N, M, C * 4), and clip them to their images.

    mmdeploy clips relative to the size, which rounds.
    """
    moved = coder.decode(boxes, deltas).unflatten(2, (-1, 4))
    if coder.clip_border:
        moved = torch.minimum(moved.clamp(min=0), limits[:, None])
    return moved.flatten(2)


def _regions(boxes: Tensor) -> Tensor:
    """Boxes (N, M, 4) with the index of their image, as regions (N * M, 5)."""
    images = torch.arange(boxes.shape[0])[:, None, None] + boxes[..., :1] * 0
    return torch.cat([images, boxes], -1).flatten(0, 1)


def _best(scores: Tensor, count: int, filling: float) -> tuple[Tensor, Tensor]:
    """The best `count` of scores (N, M) and their indices, filled up by indices from M on where there are fewer.

    So the number is a constant, which engines want. mmdeploy would replace the method `topk` by one of variable length.
    """
    return torch.ops.aten.topk(nn.functional.pad(scores, (0, count), value=filling), count)


def _pick(values: Tensor, indices: Tensor, count: int) -> Tensor:
    """Rows (N, count) of values (N, M, c), zeros for those from M on: (N, count, c)."""
    values = nn.functional.pad(values, (0, 0, 0, count))
    return values.gather(1, indices[..., None].expand(-1, -1, values.shape[-1]))
