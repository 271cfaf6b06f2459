"""Masks in compact form: COCO's compressed RLE, a few kB even at ten megapixels."""

import numpy as np
from pycocotools import mask as coco_mask


def pack_mask(lesion: np.ndarray) -> dict:
    """Compress a mask.

    Args:
        lesion: (H, W) bool, True = lesion.

    Returns:
        COCO's compressed RLE, `size` [H, W] and `counts` bytes.
    """
    return coco_mask.encode(np.asfortranarray(lesion, np.uint8))


def unpack_mask(rle: dict) -> np.ndarray:
    """Undo `pack_mask`: (H, W) bool, True = lesion."""
    return coco_mask.decode(rle).astype(bool)
