"""What several annotators agree on, as one mask."""

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

MAJORITY, STAPLE = "majority", "STAPLE"


def majority(masks: Sequence[np.ndarray]) -> np.ndarray:
    """What more than half of them have: (H, W) bool each -> (H, W) bool."""
    return 2 * np.sum(masks, axis=0, dtype=np.int64) > len(masks)


def has_staple() -> bool:
    """Whether SimpleITK is there, which computes it."""
    return find_spec("SimpleITK") is not None


def staple(masks: Sequence[np.ndarray]) -> np.ndarray:
    """The truth that makes the annotators most likely, each weighted by how reliable that lets him or her be.

    It is STAPLE (Warfield, Zou, Wells 2004, IEEE Transactions on Medical Imaging 23), by SimpleITK.

    Args:
        masks: (H, W) bool each.

    Returns:
        (H, W) bool, where its probability is above one half.
    """
    # Of what all agree on it has nothing to learn, and of a lesion that nobody sees, or that is everywhere, no answer.
    if len({mask.tobytes() for mask in masks}) == 1:
        return masks[0].copy()
    import SimpleITK

    pictures = [SimpleITK.GetImageFromArray(mask.view(np.uint8)) for mask in masks]
    return SimpleITK.GetArrayFromImage(SimpleITK.STAPLE(pictures, 1.0)) > 0.5


CONSENSUS = {MAJORITY: majority, STAPLE: staple}
