"""Mask2Former's head, fit for mixed precision, and quicker to train."""

import torch
from mmcv.ops import point_sample
from mmengine.structures import InstanceData
from mmseg.models.decode_heads import Mask2FormerHead
from mmseg.registry import MODELS
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@MODELS.register_module()
class LesionMask2FormerHead(Mask2FormerHead):
    """Computes its losses in float32 whatever the network's precision, and matches the queries of a batch at once.

    Under float16, upstream divides the mask loss by images x classes x 12,544 points in float16, where five such
    masks are infinity: the loss is 0 or NaN, and the masks learn nothing from it
    (https://github.com/open-mmlab/mmdetection/issues/10909).

    Upstream computes the costs of a matching for one image after the other, some 50 small operations and, on a GPU,
    a wait each; here they are computed once for all images of a decoder layer, with upstream's own cost functions.
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

    @torch.no_grad()
    def get_targets(
        self,
        cls_scores_list: list[Tensor],
        mask_preds_list: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor], int]:
        """Match the queries of a decoder layer with the true masks, and say what each query should give.

        Args:
            cls_scores_list: a tensor per image, (queries, classes + 1) logits.
            mask_preds_list: a tensor per image, (queries, h, w) logits.
            batch_gt_instances: as in `loss_by_feat`; every image's masks have the same (H, W).
            batch_img_metas: not used; upstream's cost functions do not look at it either.

        Returns:
            lists with an entry per image: classes of the queries, (queries,) int64, where the number of classes
            stands for "nothing"; weights of their classification, ones; true masks, (matched, H, W), in the order of
            the queries that they belong to; weights of the masks, (queries,), 1 where matched, else 0. Last, the
            number of matched queries in the batch.
        """
        matches = self._match(cls_scores_list, mask_preds_list, batch_gt_instances)
        labels, mask_targets, mask_weights = [], [], []
        for scores, truth, (queries, masks) in zip(cls_scores_list, batch_gt_instances, matches, strict=True):
            labels.append(truth.labels.new_full((len(scores),), self.num_classes))
            labels[-1][queries] = truth.labels[masks]
            mask_targets.append(truth.masks[masks])
            mask_weights.append(scores.new_zeros(len(scores)))
            mask_weights[-1][queries] = 1.0
        label_weights = [torch.ones_like(each) for each in labels]
        return labels, label_weights, mask_targets, mask_weights, sum(len(queries) for queries, _ in matches)

    def _match(
        self, cls_scores: list[Tensor], mask_preds: list[Tensor], truths: list[InstanceData]
    ) -> list[tuple[Tensor, Tensor]]:
        """Per image, the matched queries in ascending order and the true masks that belong to them."""
        device = cls_scores[0].device
        # The masks as channels of one picture, so that all of them are sampled at the same random points.
        points = torch.rand((1, self.num_points, 2), device=device)
        predictions = InstanceData(
            scores=torch.cat(cls_scores), masks=point_sample(torch.cat(mask_preds)[None], points)[0]
        )
        truth = InstanceData(
            labels=torch.cat([each.labels for each in truths]),
            masks=point_sample(torch.cat([each.masks for each in truths])[None].float(), points)[0],
        )
        # (queries, true masks) of the whole batch; those of different images are a few numbers that nobody reads.
        cost = sum(match_cost(predictions, truth) for match_cost in self.assigner.match_costs).cpu()
        if not torch.isfinite(cost).all():
            raise FloatingPointError("predictions are not finite")
        columns = cost.unflatten(0, (len(truths), -1)).split([len(each.labels) for each in truths], dim=2)
        return [
            (torch.from_numpy(queries).to(device), torch.from_numpy(masks).to(device))
            for queries, masks in (linear_sum_assignment(column[image]) for image, column in enumerate(columns))
        ]
