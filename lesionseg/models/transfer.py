"""From the host to a GPU without waiting for what the GPU still has to do."""

from collections.abc import Sequence

import torch
from torch import Tensor


def on_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy a tensor to a device; to a GPU out of pinned memory, so that the host may go on at once."""
    if not _goes_to_gpu(tensor, device):
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def stacked_on_device(tensors: Sequence[Tensor], device: torch.device | str) -> Tensor:
    """Stack tensors of one shape, and copy them to a device as `on_device` does."""
    if not _goes_to_gpu(tensors[0], device):
        return torch.stack(list(tensors)).to(device)
    pinned = torch.empty((len(tensors), *tensors[0].shape), dtype=tensors[0].dtype, pin_memory=True)
    return torch.stack(list(tensors), out=pinned).to(device, non_blocking=True)


def padded_on_device(images: Sequence[Tensor], height: int, width: int, device: torch.device | str) -> Tensor:
    """Stack images (C, H, W) of one dtype below and to the right of which is room, and copy them as `on_device` does.

    What lies in the room is not said.
    """
    pinned = _goes_to_gpu(images[0], device)
    stacked = images[0].new_empty(len(images), len(images[0]), height, width, pin_memory=pinned)
    for place, image in zip(stacked, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return stacked.to(device, non_blocking=pinned)


def _goes_to_gpu(tensor: Tensor, device: torch.device | str) -> bool:
    return torch.device(device).type == "cuda" and not tensor.is_cuda
