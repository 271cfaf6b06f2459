"""Mask2Former's head, fit for mixed precision."""

import torch
from mmengine.structures import InstanceData
from mmseg.models.decode_heads import Mask2FormerHead
from mmseg.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class Float32LossMask2FormerHead(Mask2FormerHead):
    """Computes its losses and the matching of queries in float32, whatever the precision of the network.

    Under float16, upstream divides the mask loss by images x classes x 12,544 points in float16, where five such
    masks are infinity: the loss is 0 or NaN, and the masks learn nothing from it
    (https://github.com/open-mmlab/mmdetection/issues/10909).
    """

    def loss_by_feat(
        self,
        all_cls_scores: list[Tensor],
        all_mask_preds: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
    ) -> dict[str, Tensor]:
        """Compute the losses of all decoder layers.

        Args:
            all_cls_scores: a tensor per layer, (batch, queries, classes + 1) logits.
            all_mask_preds: a tensor per layer, (batch, queries, H, W) logits.
            batch_gt_instances: per image, `labels` (classes in it,) int64 and `masks` (classes in it, H, W).
            batch_img_metas: per image, what the data sample says of it.

        Returns:
            the losses by name, float32 scalars.
        """
        with torch.autocast(all_cls_scores[0].device.type, enabled=False):
            return super().loss_by_feat(
                [scores.float() for scores in all_cls_scores],
                [masks.float() for masks in all_mask_preds],
                batch_gt_instances,
                batch_img_metas,
            )
