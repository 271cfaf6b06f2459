"""Mask2Former's pixel decoder without what it computes anew in every step."""

from collections.abc import Sequence

import torch
from mmdet.models.layers import MSDeformAttnPixelDecoder, SinePositionalEncoding
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from lesionseg.ops.attention import deformable_attention
from lesionseg.ops.kept import kept


# In MMEngine's root registry, where the heads of MMSegmentation and of MMDetection both find it.
@MODELS.register_module()
class LesionPixelDecoder(MSDeformAttnPixelDecoder):
    """Keeps encoded positions and reference points of the sizes that were used last, and counts sizes on the host.

    Upstream computes them for each image of each batch, from sizes that it copies to the device and reads back, which
    waits for the device. Weights and results are upstream's.
    """

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Run the decoder.

        Args:
            feats: (images, channels, H, W) each, from high resolution to low.

        Returns:
            (images, C, H, W) features of masks, at the size of `feats[0]`; (images, C, h, w) each, from low resolution
            to high, what queries attend to.
        """
        levels = [feats[-1 - number] for number in range(self.num_encoder_levels)]
        sizes = tuple(tuple(level.shape[-2:]) for level in levels)
        cells = [height * width for height, width in sizes]
        positions = positions_by_level(self.postional_encoding, sizes, feats[0].device)
        encoded = zip(self.level_encoding.weight, positions, strict=True)
        query_pos = torch.cat([level + each for level, each in encoded], 1)
        query = torch.cat([conv(level).flatten(2).mT for conv, level in zip(self.input_convs, levels, strict=True)], 1)
        centres, scale = reference_points(sizes, query.device)
        edges = [edge for size in sizes for edge in size]
        for layer in self.encoder.layers:
            query = layer.norms[0](_attend(layer.self_attn, query, query_pos, edges, centres, scale))
            query = layer.norms[1](layer.ffn(query))
        outs = [part.mT.unflatten(2, size) for part, size in zip(query.split(cells, 1), sizes, strict=True)]
        # Of what is left, from low resolution to high.
        for number in reversed(range(self.num_input_levels - self.num_encoder_levels)):
            lateral = self.lateral_convs[number](feats[number])
            larger = functional.interpolate(outs[-1], lateral.shape[-2:], mode="bilinear", align_corners=False)
            outs.append(self.output_convs[number](lateral + larger))
        return self.mask_feature(outs[-1]), outs[: self.num_outs]


def _attend(
    attention: nn.Module,
    query: Tensor,
    query_pos: Tensor,
    sizes: list[int],
    centres: Tensor,
    scale: Tensor,
) -> Tensor:
    """What mmcv's MultiScaleDeformableAttention does with a query that attends to itself."""
    images, queries, _ = query.shape
    heads, shape = attention.num_heads, (attention.num_levels, attention.num_points)
    placed = query + query_pos
    value = attention.value_proj(query).view(images, queries, heads, -1)
    offsets = attention.sampling_offsets(placed).view(images, queries, heads, *shape, 2)
    weights = attention.attention_weights(placed).view(images, queries, heads, -1).softmax(-1)
    found = deformable_attention(value, sizes, centres + offsets / scale, weights.unflatten(3, shape))
    return attention.dropout(attention.output_proj(found)) + query


@kept(8)
def positions_by_level(
    encoding: SinePositionalEncoding, sizes: tuple[tuple[int, ...], ...], device: torch.device
) -> list[Tensor]:
    """The encoded positions of maps without padding, (1, height x width, C) float32 each; those used last are kept."""
    # What is made while a model predicts may be used when it trains.
    with torch.inference_mode(False), torch.no_grad():
        masks = [torch.zeros((1, *size), dtype=torch.bool, device=device) for size in sizes]
        return [encoding(mask).flatten(2).mT.contiguous() for mask in masks]


@kept(8)
def reference_points(sizes: tuple[tuple[int, ...], ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """The centres of all cells of all levels, and what turns cells into shares of a level.

    Returns:
        (1, cells, 1, 1, 1, 2) float32, x y, 0..1 over the level; (levels, 1, 2) float32, widths and heights.
    """
    with torch.inference_mode(False), torch.no_grad():
        centres = []
        for height, width in sizes:
            y, x = ((torch.arange(edge, device=device) + 0.5) / edge for edge in (height, width))
            centres.append(torch.stack([x.repeat(height), y.repeat_interleave(width)], 1))
        scale = torch.tensor([[width, height] for height, width in sizes], dtype=torch.float32, device=device)
        return torch.cat(centres)[None, :, None, None, None], scale[:, None]
