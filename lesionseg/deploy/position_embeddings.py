"""Position embeddings of vision transformers that a traced graph resamples for images of any size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from lesionseg.models.vision_transformer import TIMMVisionTransformer


@contextmanager
def traced_position_embeddings(model: nn.Module) -> Iterator[None]:
    """Let a model's ViT, if it has one, resample its position embeddings by matrices while it is exported.

    timm does so by an antialiased bicubic interpolation, which the exporter does not know, and not at all for the size
    that is traced, which would then be the only one (timm 1.0.31, torch 2.13). The matrices give the same.
    """
    if not isinstance(model.backbone, TIMMVisionTransformer):
        yield
        return
    with mock.patch("timm.models.vision_transformer.resample_abs_pos_embed", resample):
        yield


def resample(posemb: Tensor, new_size: Sequence[int], old_size: Sequence[int], num_prefix_tokens: int) -> Tensor:
    """Resample position embeddings.

    Args:
        posemb: (1, prefix + old height x old width, C) float32; first the tokens that have no place.
        new_size: (height, width) in patches.
        old_size: theirs.
        num_prefix_tokens: how many have no place.

    Returns:
        (1, prefix + height x width, C) float32.
    """
    prefix, grid = posemb[:, :num_prefix_tokens], posemb[0, num_prefix_tokens:].unflatten(0, tuple(old_size))
    rows, columns = (_bicubic(old, new) for old, new in zip(old_size, new_size, strict=True))
    grid = torch.matmul(rows, grid.flatten(1)).unflatten(1, grid.shape[1:])
    return torch.cat([prefix, torch.matmul(columns, grid).flatten(0, 1)[None]], 1)


def _bicubic(old: int, new: Any) -> Tensor:
    """What each of `old` places gives to each of `new` ones, (new, old), as torch's antialiased bicubic interpolation.

    The kernel is Keys' cubic convolution with a = -0.5, stretched where there are fewer new places.
    """
    # With their type everywhere: the exporter takes numbers without one for float64.
    scale = old / torch.as_tensor(new, dtype=torch.float32)
    centres = (torch.arange(new, dtype=torch.float32) + 0.5) * scale
    distances = (torch.arange(old, dtype=torch.float32) + 0.5 - centres[:, None]).abs() / scale.clamp(min=1)
    near = (1.5 * distances - 2.5) * distances**2 + 1
    far = ((-0.5 * distances + 2.5) * distances - 4) * distances + 2
    weights = torch.where(distances < 1, near, far * (distances < 2))
    return weights / weights.sum(1, keepdim=True)
