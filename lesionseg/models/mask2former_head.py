"""Mask2Former's head, fit for mixed precision, and quicker to train."""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.ops import point_sample
from mmdet.models.utils import get_uncertain_point_coords_with_randomness
from mmdet.utils import reduce_mean
from mmseg.models.decode_heads import Mask2FormerHead
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional

from lesionseg.models.mask2former_matching import MatchingCost, assign
from lesionseg.models.pixel_decoder import positions_by_level
from lesionseg.models.query_attention import attend


@MODELS.register_module()
class LesionMask2FormerHead(Mask2FormerHead):
    """Computes the losses of all decoder layers at once, in float32 whatever the network's precision.

    Under float16, upstream divides the mask loss by images x classes x 12,544 points in float16, where five such
    masks are infinity: the loss is 0 or NaN, and the masks learn nothing from it
    (https://github.com/open-mmlab/mmdetection/issues/10909).

    Upstream makes a full mask of every query after every layer. Resizing masks, taking points from them and
    multiplying queries with features are linear, so they may change places: what a query attends to is its product
    with features that were resized first, and its cost in the matching is that with features at the points. Full
    masks are made of the matched queries alone. Losses, their names and weights are upstream's.

    Args:
        num_classes: of the masks, the background included.
        ignore_index: label of pixels that belong to no mask.
        kwargs: as for the head of MMSegmentation.

    Raises:
        DataError: `train_cfg` has another matching than Mask2Former's.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255, **kwargs: Any) -> None:
        super().__init__(num_classes, ignore_index=ignore_index, **kwargs)
        # Lists would be copied to the device in every step, which waits for it. Checkpoints have none of this.
        labels = [label for label in range(num_classes) if label != ignore_index]
        self.register_buffer("_labels", torch.tensor(labels), persistent=False)
        self.register_buffer("_class_weights", torch.tensor(self.class_weight, dtype=torch.float32), persistent=False)
        if self.train_cfg:
            self._cost = MatchingCost.of(self.assigner.match_costs)

    def forward(
        self, x: Sequence[Tensor], batch_data_samples: Sequence[SegDataSample]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Predict classes and masks, by the last decoder layer alone: nothing else is looked at outside training.

        Args:
            x: features, (images, channels, H, W) each, from high resolution to low.
            batch_data_samples: not used.

        Returns:
            [(images, queries, classes + 1) logits] and [(images, queries, h, w) logits].
        """
        queries, features = self._decode(x)
        last = queries[-1]
        return [self.cls_embed(last)], [torch.einsum("bqc,bchw->bqhw", self.mask_embed(last), features)]

    def loss(
        self, x: Sequence[Tensor], batch_data_samples: Sequence[SegDataSample], train_cfg: dict
    ) -> dict[str, Tensor]:
        """Compute the losses of all decoder layers.

        Args:
            x: features, (images, channels, H, W) each, from high resolution to low.
            batch_data_samples: `gt_sem_seg` of each is (1, H, W) of class indices.
            train_cfg: not used; the head has its own.

        Returns:
            the losses by upstream's names, float32 scalars.
        """
        queries, features = self._decode(x)
        scores, embeddings = self.cls_embed(queries), self.mask_embed(queries)
        labels = torch.stack([sample.gt_sem_seg.data[0] for sample in batch_data_samples])
        with torch.autocast(scores.device.type, enabled=False):
            by_name = self._losses(scores.float(), embeddings.to(features.dtype), features, labels)
        per_layer = zip(*(losses.unbind() for losses in by_name.values()), strict=True)
        named = [dict(zip(by_name, losses, strict=True)) for losses in per_layer]
        return named[-1] | {f"d{i}.{name}": loss for i, layer in enumerate(named[:-1]) for name, loss in layer.items()}

    def _decode(self, x: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Run the transformer decoder.

        Returns:
            (layers + 1, images, queries, C), normalised, as they come and after each layer; (images, C, h, w), what
            their masks are multiplied from.
        """
        features, memories = self.pixel_decoder(x)
        sizes = tuple(tuple(memory.shape[-2:]) for memory in memories)
        positions = positions_by_level(self.decoder_positional_encoding, sizes, features.device)
        levels = []
        for number, (memory, size) in enumerate(zip(memories, sizes, strict=True)):
            keys = self.decoder_input_projs[number](memory).flatten(2).mT + self.level_embed.weight[number]
            small = functional.interpolate(features.detach(), size, mode="bilinear", align_corners=False).flatten(2)
            levels.append((keys, positions[number], small))
        query = self.query_feat.weight.expand(len(features), -1, -1)
        query_pos = self.query_embed.weight.expand(len(features), -1, -1)
        queries = [query]
        for number, layer in enumerate(self.transformer_decoder.layers):
            keys, key_pos, small = levels[number % len(levels)]
            seen = self._embedding(query).detach() @ small >= 0
            # A query that would look at nothing looks at everything.
            seen |= ~seen.any(-1, keepdim=True)
            query = layer.norms[0](attend(layer.cross_attn, query, query_pos, keys, key_pos, seen))
            query = layer.norms[1](attend(layer.self_attn, query, query_pos, query, query_pos))
            query = layer.norms[2](layer.ffn(query))
            queries.append(query)
        return self.transformer_decoder.post_norm(torch.stack(queries)), features

    def _embedding(self, query: Tensor) -> Tensor:
        return self.mask_embed(self.transformer_decoder.post_norm(query))

    def _losses(self, scores: Tensor, embeddings: Tensor, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Match queries with true masks and compute the losses.

        Args:
            scores: (layers, images, queries, classes + 1) float32 logits.
            embeddings: (layers, images, queries, C).
            features: (images, C, h, w) of the same type; their products are logits of the masks.
            labels: (images, H, W) class indices.

        Returns:
            (layers,) float32 by name.
        """
        classes = self._labels
        if len(classes) > 2:
            classes = classes[torch.isin(classes, labels)]
        truths = (labels[:, None] == classes[:, None, None]).float()
        queries, matched = self._match(scores, embeddings, features, classes, truths)
        # To upstream, an image without masks has one.
        count = reduce_mean(matched.sum(2).clamp(min=1).sum(1).float())
        masks, targets = self._points(embeddings, features, truths, queries)
        by_name = {"loss_cls": self._class_loss(scores, torch.where(matched, classes, self.num_classes), queries)}
        entropy = self.loss_mask(masks, targets, reduction_override="none").mean(1)
        dice = self.loss_dice(masks, targets, reduction_override="none")
        for name, losses in (("loss_mask", entropy), ("loss_dice", dice)):
            by_name[name] = (losses.view(matched.shape) * matched).sum((1, 2)) / count
        return by_name

    @torch.no_grad()
    def _match(
        self, scores: Tensor, embeddings: Tensor, features: Tensor, classes: Tensor, truths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `assign`."""
        layers = len(scores)
        points = torch.rand((1, self.num_points, 2), device=features.device).expand(len(features), -1, -1)
        # Of each image the queries of all layers at once. In this order pixels are sampled much faster on a CPU.
        scores, embeddings = (each.transpose(0, 1).flatten(1, 2) for each in (scores, embeddings))
        masks = embeddings @ point_sample(features.float().contiguous(), points).to(embeddings.dtype)
        costs = self._cost(scores, masks.float(), classes, point_sample(truths, points))
        costs = costs.unflatten(1, (layers, -1)).transpose(0, 1)
        return assign(costs, present=truths.flatten(2).any(2))

    def _points(self, embeddings: Tensor, features: Tensor, truths: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Take points from the masks of the matched queries, most where these are undecided, and from the true masks.

        Returns:
            (layers x images x classes, points) float32 logits and 0..1.
        """
        layers, images, classes = queries.shape
        matched = embeddings.gather(2, queries[..., None].expand(-1, -1, -1, embeddings.shape[3]))
        # One product for each image, of the queries of all layers.
        masks = matched.transpose(0, 1).flatten(1, 2) @ features.flatten(2)
        masks = masks.float().view(images, layers, classes, *features.shape[2:]).transpose(0, 1).flatten(0, 2)[:, None]
        with torch.no_grad():
            points = get_uncertain_point_coords_with_randomness(
                masks, None, self.num_points, self.oversample_ratio, self.importance_sample_ratio
            )
            planes = truths.flatten(0, 1)[:, None]
            grid = points.view(layers, images * classes, self.num_points, 2).transpose(0, 1)
            targets = functional.grid_sample(planes, 2 * grid - 1, align_corners=False)[:, 0].transpose(0, 1)
        return point_sample(masks, points)[:, 0], targets.flatten(0, 1)

    def _class_loss(self, scores: Tensor, classes: Tensor, queries: Tensor) -> Tensor:
        """(layers,), the weighted mean over all queries; those that are not matched should find nothing."""
        nothing = queries.new_full(scores.shape[:3], self.num_classes)
        # What is not matched has the highest number, and leaves the query of another mask as it is.
        labels = nothing.scatter_reduce(2, queries, classes, "amin").flatten()
        weights = self._class_weights
        losses = functional.cross_entropy(scores.flatten(0, 2), labels, weight=weights, reduction="none")
        losses, weights = (each.view(len(scores), -1).sum(1) for each in (losses, weights[labels]))
        return self.loss_cls.loss_weight * losses / weights
