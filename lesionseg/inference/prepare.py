"""Image -> input of a network, in numpy and OpenCV alone.

This is what MMSegmentation and MMDetection do, step by step; tests hold it to them.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from lesionseg.errors import DataError
from lesionseg.inference.runtimes.model_card import INTERPOLATIONS, ModelCard

_INTERPOLATIONS = dict(
    zip(
        INTERPOLATIONS,
        (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_NEAREST, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4),
        strict=True,
    )
)


@dataclass(frozen=True)
class Prepared:
    """An image as a model takes it.

    Attributes:
        tensor: (3, H, W) float32, normalised, padded with zeros below and to the right.
        content: (height, width) of the image in the tensor, without padding.
        original: (height, width) of the image before it was resized.
    """

    tensor: np.ndarray
    content: tuple[int, int]
    original: tuple[int, int]


def resized_size(height: int, width: int, card: ModelCard) -> tuple[int, int]:
    """The (height, width) that an image is resized to, MMCV's `rescale_size`.

    Raises:
        DataError: nothing would be left of the shorter edge.
    """
    if card.input_size:
        factor = min(card.input_size[0] / height, card.input_size[1] / width)
    else:
        factor = min(max(card.scale) / max(height, width), min(card.scale) / min(height, width))
    size = int(height * factor + 0.5), int(width * factor + 0.5)
    if min(size) < 1:
        raise DataError(
            f"{width}x{height} pixels: nothing is left of the shorter edge at the model's {size[1]}x{size[0]}, "
            "expected an image of a photograph's shape. Crop it."
        )
    return size


def padded_size(height: int, width: int, card: ModelCard) -> tuple[int, int]:
    """The (height, width) of the input that a resized image is padded to."""
    divisor = card.size_divisor
    return card.input_size or (-(-height // divisor) * divisor, -(-width // divisor) * divisor)


def prepare(image: np.ndarray, card: ModelCard) -> Prepared:
    """Resize, normalise and pad an image.

    Args:
        image: (H, W, 3) uint8 BGR, of any size.
        card: of the model.

    Raises:
        DataError: see `resized_size`.
    """
    height, width = resized_size(image.shape[0], image.shape[1], card)
    tensor = np.zeros((3, *padded_size(height, width, card)), np.float32)
    resized = cv2.resize(image, (width, height), interpolation=_INTERPOLATIONS[card.interpolation])
    if card.channel_order == "RGB":
        resized = resized[..., ::-1]
    normalised = (resized.astype(np.float32) - np.array(card.mean, np.float32)) / np.array(card.std, np.float32)
    tensor[:, :height, :width] = normalised.transpose(2, 0, 1)
    return Prepared(tensor, (height, width), image.shape[:2])
