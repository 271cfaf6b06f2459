"""What an ImageNet network makes of images, for comparing them with each other."""

from collections.abc import Sequence

import numpy as np
import torch

from lesionseg.models.efficientnet_lite import EfficientNetLite0

_LAST = 6  # stage, of 1,280 channels
_AT_ONCE = 16


class Embedder:
    """EfficientNet-Lite0 without its classes: images that look alike have a cosine near 1.

    Raises:
        DataError: its weights are not installed.
    """

    def __init__(self) -> None:
        self.network = EfficientNetLite0(out_indices=(_LAST,), imagenet_weights=True)
        self.network.init_weights()
        self.network.eval()

    @torch.inference_mode()
    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Embed pictures of one size, (H, W, 3) uint8 BGR each: (N, 1280) float32 of length 1."""
        found = [np.zeros((0, 1280), np.float32)]
        for start in range(0, len(pictures), _AT_ONCE):
            batch = torch.from_numpy(np.stack(pictures[start : start + _AT_ONCE])[..., ::-1].copy())
            (maps,) = self.network((batch.permute(0, 3, 1, 2).float() - 127.5) / 127.5)
            found.append(torch.nn.functional.normalize(maps.mean((2, 3))).numpy())
        return np.concatenate(found)
