"""Shrinking of images, and of masks in step with them; and the way back for masks."""

import cv2
import numpy as np


def shrunk_size(width: int, height: int, short_edge: int) -> tuple[int, int]:
    """The (width, height) that brings the shorter edge down to `short_edge`; nothing is ever enlarged."""
    scale = min(1, short_edge / min(width, height))
    return round(width * scale), round(height * scale)


def shrink_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrink (H, W, 3) uint8 to `size`, (width, height), by area interpolation.

    OpenCV averages areas of 2 x 2 pixels several times faster than any other, and shrinking takes as long as
    decoding. So images are halved while they stay at least as large as `size`, without an odd last row or column;
    against one step, that changes ISIC images by about half a gray level, and moves no pixel by a whole one.
    """
    width, height = size
    while image.shape[0] // 2 >= height and image.shape[1] // 2 >= width:
        half_height, half_width = image.shape[0] // 2, image.shape[1] // 2
        even = image[: 2 * half_height, : 2 * half_width]
        image = cv2.resize(even, (half_width, half_height), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def shrink_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrink (H, W) uint8 to `size`, (width, height), by the nearest pixel, so that no new values appear.

    cv2.INTER_NEAREST takes the corner of each area in place of its middle, which moves the mask by half
    a pixel of the result against its image (https://github.com/opencv/opencv/issues/9096).
    """
    return cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)


def enlarge_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge (H, W) bool to `size`, (width, height); between the middles of pixels, the edge runs straight."""
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
