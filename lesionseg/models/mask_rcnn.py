"""Mask R-CNN whose training step treats the images of a batch at once.

On a GPU nothing of a step has a shape that depends on what is found: more is computed then, what does not count gets no
loss, and nobody waits for the GPU. So the step can be a CUDA graph (`lesionseg.engine.step_graph`).
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from mmcv.ops import RoIAlign, batched_nms, roi_align
from mmdet.models import MaskRCNN
from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules import BboxOverlaps2D, DeltaXYWHBBoxCoder, MaxIoUAssigner, RandomSampler
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from lesionseg.models.region_targets import IGNORED, Truth, assign, draw, take
from lesionseg.ops.boxes import decode, encode
from lesionseg.ops.kept import kept
from lesionseg.ops.kernels import kernels_for
from lesionseg.ops.suppression import best_of_groups

# A logit of which the sigmoid is 1, and a place far outside all maps, in pixels.
_CERTAIN, _OUTSIDE = 100.0, -1e6


class Regions(NamedTuple):
    """Boxes (B, N, 4) of a batch, x1 y1 x2 y2 in pixels, and which of them are there, (B, N) bool."""

    boxes: Tensor
    usable: Tensor


@MODELS.register_module()
class LesionMaskRCNN(MaskRCNN):
    """MMDetection's Mask R-CNN, quicker to train: the same losses by the same parts and weights.

    MMDetection assigns, draws, encodes and crops image by image; here that is done once for a batch, masks are cropped
    where the network is, and regions keep their precision under AMP (MMDetection rounds them to half precision, to a
    quarter of a pixel from 256 on). Predictions and exports are MMDetection's own. With parts or settings that
    Mask R-CNN's own configs do not have, a training step is MMDetection's, too.
    """

    def loss(self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample] | Truth) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            batch_inputs: (B, 3, H, W) float, normalised images.
            batch_data_samples: with `gt_instances`: `bboxes`, `labels` and `masks` of the padded images' size; or what
                `stack_truth` has made of them.

        Returns:
            by name, as MMDetection's: scalars, and `acc`, the share of regions with the right class in percent.
        """
        truth = batch_data_samples if isinstance(batch_data_samples, Truth) else self.stack_truth(batch_data_samples)
        if truth is None:
            return super().loss(batch_inputs, batch_data_samples)
        features = self.extract_feat(batch_inputs)
        proposed, rpn_losses = self._propose(features, truth)
        return {**rpn_losses, **self._region_losses(features, truth, proposed)}

    def stack_truth(self, samples: Sequence[DetDataSample]) -> Truth | None:
        """All that a step at once needs to know of the images; None where the step is MMDetection's."""
        masks = [sample.gt_instances.masks for sample in samples]
        usual = self._is_usual and all(isinstance(each, BitmapMasks) for each in masks)
        return Truth.of(samples) if usual and len({each.masks.shape[1:] for each in masks}) == 1 else None

    @cached_property
    def _is_usual(self) -> bool:
        """Whether parts and settings are those that a step at once knows."""
        if not self.with_rpn:
            return False
        rpn, roi, settings = self.rpn_head, self.roi_head, self.train_cfg
        if type(rpn) is not RPNHead or type(roi) is not StandardRoIHead or not roi.with_mask or roi.with_shared_head:
            return False
        extractors = (roi.bbox_roi_extractor, getattr(roi, "mask_roi_extractor", None))
        anchors = rpn.prior_generator
        return (
            all(type(part) is RandomSampler and part.neg_pos_ub < 0 for part in (rpn.sampler, roi.bbox_sampler))
            and {"nms_pre", "max_per_img", "min_bbox_size", "nms"} <= settings.get("rpn_proposal", {}).keys()
            and settings.rpn_proposal.nms.get("type") == "nms"
            and settings.rpn_proposal.nms.keys() <= {"type", "iou_threshold"}
            and rpn.use_sigmoid_cls
            and not (rpn.reg_decoded_bbox or roi.bbox_head.reg_decoded_bbox or roi.bbox_head.custom_activation)
            and settings.rpn.allowed_border < 0
            and all(stage.pos_weight <= 0 for stage in (settings.rpn, settings.rcnn))
            and not rpn.sampler.add_gt_as_proposals
            and roi.bbox_sampler.add_gt_as_proposals
            and all(_is_usual_assigner(part) for part in (rpn.assigner, roi.bbox_assigner))
            and all(_is_usual_coder(head.bbox_coder) for head in (rpn, roi.bbox_head))
            and rpn.bbox_coder.clip_border
            and type(anchors) is AnchorGenerator
            and anchors.center_offset == 0
            and anchors.centers is None
            and not anchors.use_box_type
            # Batch norm would see regions, too, that are not drawn.
            and not any(isinstance(part, _BatchNorm) for part in roi.modules())
            and all(type(part) is SingleRoIExtractor for part in extractors)
        )

    def _propose(self, features: Sequence[Tensor], truth: Truth) -> tuple[Regions, dict[str, Tensor]]:
        """Propose regions, and compute the losses of the region proposal network."""
        head = self.rpn_head
        maps = head(features)
        sizes = tuple(tuple(scores.shape[-2:]) for scores in maps[0])
        anchors = _grid_anchors(head.prior_generator, sizes, features[0].device)
        logits, deltas = (
            [level.permute(0, 2, 3, 1).reshape(len(truth.boxes), -1, size).float() for level in levels]
            for levels, size in zip(maps, (1, 4), strict=True)
        )
        with torch.no_grad():
            proposed = self._best_proposals(logits, deltas, anchors, truth.sizes)
            # Their centres are the cells' corners.
            centers = (anchors[:, :2] + anchors[:, 2:]) / 2
            usable = (centers < truth.padded_sizes.flip(1)[:, None] - 0.5).all(-1)
            assigned = _assign(head.assigner, anchors, usable, truth)
            index, drawn = draw(assigned, head.sampler.num, int(head.sampler.num * head.sampler.pos_fraction))
            assigned = take(assigned, index)
            positive = drawn & (assigned >= 0)
            boxes = anchors[index]
            true_boxes = torch.where(positive[..., None], take(truth.boxes, assigned.clamp(min=0)), boxes)
            targets = _deltas(head.bbox_coder, boxes, true_boxes).flatten(0, 1)
            # MMDetection counts one of each kind where there is none.
            count = sum((kind & drawn).sum(1).clamp(min=1).sum() for kind in (positive, ~positive))
        positive, drawn = (flags.flatten()[:, None].float() for flags in (positive, drawn))
        chosen_logits = take(torch.cat(logits, 1), index).flatten(0, 1)
        chosen_deltas = take(torch.cat(deltas, 1), index).flatten(0, 1)
        loss_cls = head.loss_cls(chosen_logits, positive, drawn, avg_factor=count)
        # With weights, MMDetection looks at whether any is above 0, which waits for the GPU.
        chosen_deltas = torch.where(positive > 0, chosen_deltas, targets)
        loss_bbox = head.loss_bbox(chosen_deltas, targets, avg_factor=count)
        return proposed, dict(loss_rpn_cls=loss_cls, loss_rpn_bbox=loss_bbox)

    def _best_proposals(
        self, logits: list[Tensor], deltas: list[Tensor], anchors: Tensor, image_sizes: Tensor
    ) -> Regions:
        """The boxes of the best scores, of each level and then, without those that overlap, of each image.

        `logits` are (B, N, 1) and `deltas` (B, N, 4) of each level.
        """
        settings = self.train_cfg.rpn_proposal
        batch = len(image_sizes)
        scores, boxes = [], []
        start = 0
        for level_logits, level_deltas in zip(logits, deltas, strict=True):
            count = level_logits.shape[1]
            level_scores, level_anchors = level_logits[..., 0].sigmoid(), anchors[start : start + count]
            start += count
            level_anchors = level_anchors.expand(batch, -1, -1)
            if 0 < settings.nms_pre < count:
                level_scores, index = level_scores.sort(1, descending=True)
                level_scores, index = level_scores[:, : settings.nms_pre], index[:, : settings.nms_pre]
                level_anchors, level_deltas = take(level_anchors, index), take(level_deltas, index)
            scores.append(level_scores)
            boxes.append((level_anchors, level_deltas))
        all_scores = torch.cat(scores, 1)
        all_anchors, all_deltas = (torch.cat(parts, 1) for parts in zip(*boxes, strict=True))
        coder = self.rpn_head.bbox_coder
        decoded = decode(all_anchors, all_deltas, coder.means, coder.stds)
        decoded = torch.minimum(decoded.clamp(min=0), image_sizes.flip(1).repeat(1, 2)[:, None])
        if settings.min_bbox_size >= 0:
            large = (decoded[..., 2:] - decoded[..., :2] > settings.min_bbox_size).all(-1)
            # They come last then, and suppress nothing.
            all_scores = torch.where(large, all_scores, -1)
        return self._suppress(decoded, all_scores, [each.shape[1] for each in scores])

    def _suppress(self, boxes: Tensor, scores: Tensor, counts: list[int]) -> Regions:
        """See `best_of_levels`."""
        settings = self.train_cfg.rpn_proposal
        most = min(settings.max_per_img, scores.shape[1])
        if shapes_stay(boxes):
            return best_of_levels(boxes, scores, counts, settings.nms.iou_threshold, most)
        levels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        best, usable = boxes.new_zeros(len(boxes), most, 4), levels.new_zeros(len(boxes), most, dtype=torch.bool)
        for number, each in enumerate(zip(boxes, scores, strict=True)):
            kept = batched_nms(*each, levels, dict(settings.nms, split_thr=len(levels) + 1))[1][:most]
            best[number, : len(kept)] = boxes[number, kept]
            usable[number, : len(kept)] = scores[number, kept] >= 0
        return Regions(best, usable)

    def _region_losses(self, features: Sequence[Tensor], truth: Truth, proposed: Regions) -> dict[str, Tensor]:
        """The losses of the regions' classes, boxes and masks."""
        roi = self.roi_head
        head, sampler = roi.bbox_head, roi.bbox_sampler
        with torch.no_grad():
            found = _assign(roi.bbox_assigner, proposed.boxes, proposed.usable, truth)
            own = torch.arange(truth.present.shape[1], device=found.device)
            assigned = torch.cat([torch.where(truth.present, own, IGNORED), found], 1)
            most_positive = int(sampler.num * sampler.pos_fraction)
            index, drawn = draw(assigned, sampler.num, most_positive)
            assigned = take(assigned, index)
            boxes = take(torch.cat([truth.boxes, proposed.boxes], 1), index)
            image = torch.arange(len(drawn), device=drawn.device)[:, None].expand_as(drawn)
            chosen, among = _choose(drawn, assigned >= 0, most_positive)
            counts, assigned, image, boxes = (each.flatten(0, 1)[chosen] for each in (drawn, assigned, image, boxes))
            rois = torch.cat([image[:, None].to(boxes), boxes], 1)
            labels = torch.where(assigned >= 0, truth.labels[image, assigned.clamp(min=0)], head.num_classes)
            # Of those that may be positive; of the others, nothing is pooled.
            positive, instance, image = (counts & (assigned >= 0))[among], assigned.clamp(min=0)[among], image[among]
            positive_rois, true_labels = torch.where(positive[:, None], rois[among], 0), labels[among]
            true_labels = torch.where(positive, true_labels, 0)
            targets = _deltas(head.bbox_coder, positive_rois[:, 1:], truth.boxes[image, instance])
            targets = torch.where(positive[:, None], targets, 0)
            number = counts.sum()
        scores, deltas = head(pool_regions(roi.bbox_roi_extractor, features, rois))
        deltas = deltas.view(len(rois), -1, 4).index_select(0, among)
        classes = torch.zeros_like(true_labels) if head.reg_class_agnostic else true_labels
        deltas = torch.where(positive[:, None], take(deltas, classes[:, None])[:, 0], 0)
        losses = dict(
            loss_cls=head.loss_cls(scores, labels, counts.float(), avg_factor=number),
            acc=100 * ((scores.argmax(1) == labels) & counts).sum() / number.clamp(min=1),
            loss_bbox=head.loss_bbox(deltas, targets, avg_factor=number),
        )
        logits = roi.mask_head(pool_regions(roi.mask_roi_extractor, features, positive_rois))
        if not len(among):
            return dict(losses, loss_mask=logits.sum())
        cropped = self._crop(truth, image, instance, positive_rois[:, 1:])
        if roi.mask_head.class_agnostic:
            true_labels = torch.zeros_like(true_labels)
        # What is certain and right has no loss, and the mean is to be that of the positive.
        logits = torch.where(positive[:, None, None, None], logits, _CERTAIN)
        cropped = torch.where(positive[:, None, None], cropped, 1)
        share = positive.sum().clamp(min=1) / len(positive)
        return dict(losses, loss_mask=roi.mask_head.loss_mask(logits, cropped, true_labels) / share)

    def _crop(self, truth: Truth, image: Tensor, instance: Tensor, boxes: Tensor) -> Tensor:
        """The masks of instances (N,) of images (N,) in boxes (N, 4): (N, *mask_size) float."""
        settings = self.train_cfg.rcnn
        size = nn.modules.utils._pair(settings.mask_size)
        number = image * truth.masks.shape[1] + instance
        rois = torch.cat([number[:, None].to(boxes), boxes], 1)
        cropped = roi_align(truth.masks.flatten(0, 1)[:, None].to(boxes), rois, size, 1.0, 0, "avg", True)[:, 0]
        return cropped if settings.get("soft_mask_target", False) else (cropped >= 0.5).float()


def shapes_stay(tensor: Tensor) -> bool:
    """Whether all that is drawn is computed with, whatever is found: on a GPU, which would be waited for."""
    return tensor.is_cuda


def best_of_levels(boxes: Tensor, scores: Tensor, counts: list[int], iou_threshold: float, most: int) -> Regions:
    """The best boxes of each image that overlap no better one of their level, of all images and levels at once.

    Args:
        boxes: (B, N, 4), level after level.
        scores: (B, N); below 0 there is none.
        counts: how many boxes a level has.
        iou_threshold: above this IoU they overlap.
        most: how many of an image, at most N.
    """
    both = torch.cat([boxes, scores[..., None]], 2)
    longest = max(counts)
    # Filled up with what is none, so that all levels are of one length.
    levels = [functional.pad(each, (0, 0, 0, longest - each.shape[1]), value=-1) for each in both.split(counts, 1)]
    groups = torch.stack(levels, 1).flatten(0, 1)
    groups = take(groups, groups[..., 4].sort(dim=1, descending=True, stable=True).indices)
    kept = best_of_groups(groups[..., :4], iou_threshold)
    left = torch.where(kept, groups[..., 4], -1).view(len(boxes), -1)
    best, index = (each[:, :most] for each in left.sort(dim=1, descending=True, stable=True))
    return Regions(take(groups[..., :4].reshape(len(boxes), -1, 4), index), best >= 0)


def pool_regions(extractor: SingleRoIExtractor, features: Sequence[Tensor], rois: Tensor) -> Tensor:
    """Pool each region from the map of its level, in the regions' own precision.

    Args:
        extractor: holds the layers, one a map.
        features: (B, C, H, W) maps, of high resolution first.
        rois: (N, 5), index of the image, then x1 y1 x2 y2 in its pixels.

    Returns:
        (N, C, *output_size).
    """
    maps = features[: extractor.num_inputs]
    # Of what is undefined there is no level.
    levels = extractor.map_roi_levels(rois, len(maps)).clamp(0, len(maps) - 1)
    kernels = kernels_for(rois, "pooling") if all(map(_has_a_kernel, extractor.roi_layers)) else None
    if kernels is not None:
        strides, size = extractor.featmap_strides[: len(maps)], extractor.roi_layers[0].output_size
        return kernels.pool(maps, rois, levels, strides, size)
    if shapes_stay(rois):
        nowhere = torch.cat([rois[:, :1], torch.full_like(rois[:, 1:], _OUTSIDE)], 1)
        parts = [torch.where((levels == number)[:, None], rois, nowhere) for number in range(len(maps))]
        first, *others = (layer(*each) for layer, *each in zip(extractor.roi_layers, maps, parts, strict=True))
        return sum(others, start=first)
    order = levels.argsort(stable=True)
    counts = levels.bincount(minlength=len(maps)).tolist()
    layers = zip(extractor.roi_layers, maps, rois[order].split(counts), strict=True)
    pooled = [layer(level, part) for layer, level, part in layers if len(part)]
    # The regions' order has to come back; without a region there is still a shape.
    return torch.cat(pooled)[order.argsort()] if pooled else extractor.roi_layers[0](maps[0], rois)


def _has_a_kernel(layer: nn.Module) -> bool:
    return type(layer) is RoIAlign and layer.pool_mode == "avg" and layer.aligned and layer.sampling_ratio <= 0


def _choose(drawn: Tensor, positive: Tensor, most_positive: int) -> tuple[Tensor, Tensor]:
    """Which of drawn regions (B, S) to compute with, (N,) int64, and which of these may be positive, (P,) int64.

    The positive ones of an image come first.
    """
    if shapes_stay(drawn):
        every = torch.arange(drawn.numel(), device=drawn.device)
        return every, every.view_as(drawn)[:, :most_positive].flatten()
    chosen = drawn.flatten().nonzero()[:, 0]
    return chosen, positive.flatten()[chosen].nonzero()[:, 0]


@kept(4)
def _grid_anchors(generator: AnchorGenerator, sizes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """Anchors (N, 4) of maps of these sizes, level after level."""
    return torch.cat(generator.grid_priors(sizes, device=device))


def _deltas(coder: DeltaXYWHBBoxCoder, boxes: Tensor, targets: Tensor) -> Tensor:
    return encode(boxes, targets, coder.means, coder.stds)


def _assign(rules: MaxIoUAssigner, boxes: Tensor, usable: Tensor, truth: Truth) -> Tensor:
    least = rules.min_pos_iou if rules.match_low_quality else None
    return assign(boxes, usable, truth, rules.pos_iou_thr, rules.neg_iou_thr, least)


def _is_usual_assigner(rules: Any) -> bool:
    return (
        type(rules) is MaxIoUAssigner
        and type(rules.iou_calculator) is BboxOverlaps2D
        and rules.iou_calculator.dtype is None
        and isinstance(rules.neg_iou_thr, float)
        and rules.gt_max_assign_all
        and rules.ignore_iof_thr <= 0
        and rules.perm_repeat_gt_cfg is None
    )


def _is_usual_coder(coder: Any) -> bool:
    return type(coder) is DeltaXYWHBBoxCoder and not coder.add_ctr_clamp
