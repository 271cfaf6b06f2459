"""Outlines of masks on images, by OpenCV alone."""

import cv2
import numpy as np

# RGB. Yellow and blue differ for people with red-green blindness too, and both stand out on skin and lesions.
TRUTH_COLOUR = (240, 228, 66)
PREDICTION_COLOUR = (0, 140, 255)


def outline_picture(
    image: np.ndarray, truth: np.ndarray | None = None, prediction: np.ndarray | None = None
) -> np.ndarray:
    """Draw the outlines of masks on an image, the prediction's thinner, so that both show where they agree.

    Args:
        image: (H, W, 3) uint8 BGR. It is not changed.
        truth: (H, W) bool, True = lesion; outlined in yellow.
        prediction: (H, W) bool, True = lesion; outlined in blue.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    picture = image.copy()
    line = max(1, round(max(image.shape[:2]) / 240))
    for mask, colour, width in ((truth, TRUTH_COLOUR, 2 * line + 1), (prediction, PREDICTION_COLOUR, line)):
        if mask is not None:
            # Two levels, so that holes are outlined too.
            contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(picture, contours, -1, colour[::-1], width, cv2.LINE_AA)
    return picture
