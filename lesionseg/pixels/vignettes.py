"""The dark border of a dermatoscope's round view."""

import cv2
import numpy as np

# Gray levels. Where no channel reaches it, in one piece with a corner, is the border of a dermatoscope's round view;
# lesions are hardly ever so dark in red.
_VIGNETTE_BELOW = 60
# How far that border's shade reaches into the view, as a share of the shorter edge.
_SHADE = 1 / 64


def find_vignette(image: np.ndarray) -> np.ndarray:
    """Find the dark corners around a dermatoscope's round view.

    Args:
        image: (H, W, 3) uint8 BGR.

    Returns:
        (H, W) bool, True = vignette.
    """
    dark = (image.max(axis=2) < _VIGNETTE_BELOW).view(np.uint8)
    _, labels = cv2.connectedComponents(dark, connectivity=8)
    corners = labels[[0, 0, -1, -1], [0, -1, 0, -1]]
    vignette = np.isin(labels, corners[corners > 0])
    edge = 2 * round(_SHADE * min(vignette.shape)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge))
    return cv2.dilate(vignette.view(np.uint8), disc).view(bool)
