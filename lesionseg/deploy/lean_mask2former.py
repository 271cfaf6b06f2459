"""The arithmetic of Mask2Former with fewer and smaller intermediate results, for engines that run what they are given.

The results are the same up to rounding. In PyTorch these forms gain little; in onnxruntime and OpenVINO, whose large
matrix products and convolutions are as fast as those of PyTorch, they are what is left to gain.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttention
from mmdet.models.dense_heads import Mask2FormerHead
from mmdet.models.layers import MSDeformAttnPixelDecoder
from torch import Tensor
from torch.nn import functional

from lesionseg.models.mask2former_head import LesionMask2FormerHead
from lesionseg.models.pixel_decoder import LesionPixelDecoder


@contextmanager
def lean_mask2former() -> Iterator[None]:
    """Replace parts of Mask2Former while it is exported."""
    attend: Callable[..., Any] = functional.multi_head_attention_forward

    def attend_with_shared_mask(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        embed_dim: int,
        num_heads: int,
        *args: Any,
        attn_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        if attn_mask is not None:
            attn_mask = attn_mask[:, None].expand(-1, num_heads, -1, -1).flatten(0, 1)
        return attend(query, key, value, embed_dim, num_heads, *args, attn_mask=attn_mask, **kwargs)

    with ExitStack() as stack:
        for owner, name, lean in (
            (MultiScaleDeformableAttention, "forward", _attend_to_points),
            # Ours count sizes on the host, where a trace fixes them.
            (LesionPixelDecoder, "forward", MSDeformAttnPixelDecoder.forward),
            (LesionMask2FormerHead, "forward", Mask2FormerHead.forward),
            (Mask2FormerHead, "_forward_head", _forward_head),
            (functional, "multi_head_attention_forward", attend_with_shared_mask),
        ):
            stack.enter_context(mock.patch.object(owner, name, lean))
        yield


def _forward_head(
    self: Mask2FormerHead, decoder_out: Tensor, mask_feature: Tensor, attn_mask_target_size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Predict classes, masks, and which keys each query does not look at.

    Upstream enlarges the product of queries and features to full masks and then shrinks those. Both steps are linear:
    here the features are shrunk first, and the full masks, used after the last layer only, drop out of the graph
    elsewhere. The attention mask is the same for all heads, and is repeated no earlier than it has to be.
    """
    decoder_out = self.transformer_decoder.post_norm(decoder_out)
    embedding = self.mask_embed(decoder_out)
    masks = torch.einsum("bqc,bchw->bqhw", embedding, mask_feature)
    small = functional.interpolate(mask_feature, attn_mask_target_size, mode="bilinear", align_corners=False)
    # The sigmoid is below one half.
    ignored = torch.matmul(embedding, small.flatten(2)) < 0
    return self.cls_embed(decoder_out), masks, ignored


def _attend_to_points(
    self: MultiScaleDeformableAttention,
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    identity: Tensor | None = None,
    query_pos: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    reference_points: Tensor | None = None,
    spatial_shapes: Tensor | None = None,
    **kwargs: Any,
) -> Tensor:
    """Deformable attention, level by level, in the coordinates of GridSample from the start.

    `key_padding_mask` is not looked at: MMDetection's pixel decoder pads nothing.
    """
    assert reference_points is not None
    assert spatial_shapes is not None
    value = query if value is None else value
    identity = query if identity is None else identity
    query = query if query_pos is None else query + query_pos
    images, count, _ = query.shape
    heads, levels, points = self.num_heads, self.num_levels, self.num_points
    values = self.value_proj(value).transpose(1, 2).reshape(images * heads, -1, value.shape[1])
    offsets = self.sampling_offsets(query).view(images, count, heads, levels, points, 2).permute(0, 2, 3, 1, 4, 5)
    weights = self.attention_weights(query).view(images, count, heads, levels * points).softmax(-1)
    weights = weights.transpose(1, 2).reshape(images * heads, 1, count, levels, points)
    centres = 2 * reference_points - 1
    output: Any = 0
    sizes = [(height, width) for height, width in spatial_shapes]
    parts = values.split([height * width for height, width in sizes], 2)
    for level, (height, width) in enumerate(sizes):
        # Pixels to -1..1.
        scale = 2 / spatial_shapes[level].flip(0)
        places = (offsets[:, :, level] * scale + centres[:, None, :, None, level]).flatten(0, 1)
        sampled = functional.grid_sample(parts[level].unflatten(2, (height, width)), places, align_corners=False)
        output = output + (sampled * weights[:, :, :, level]).sum(-1)
    output = output.reshape(images, -1, count).transpose(1, 2)
    return self.dropout(self.output_proj(output)) + identity
