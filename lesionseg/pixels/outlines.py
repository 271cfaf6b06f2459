"""Outlines of masks on images, by OpenCV alone."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

# RGB. Yellow and blue differ for people with red-green blindness too, and both stand out on skin and lesions.
TRUTH_COLOUR = (240, 228, 66)
PREDICTION_COLOUR = (0, 140, 255)
# RGB, of several findings; Okabe and Ito's, which people with any colour blindness tell apart.
FINDING_COLOURS = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (0, 114, 178), (213, 94, 0), (240, 228, 66)),
)


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
    line = _line_width(image)
    for mask, colour, width in ((truth, TRUTH_COLOUR, 2 * line + 1), (prediction, PREDICTION_COLOUR, line)):
        if mask is not None:
            _draw(picture, mask, colour, width)
    return picture


def outline_findings(image: np.ndarray, masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """Draw the outlines of several findings on an image, each in its colour, with their names in the left upper corner.

    Args:
        image: (H, W, 3) uint8 BGR. It is not changed.
        masks: by name, (H, W) bool each.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    picture = image.copy()
    line = _line_width(image)
    size = max(image.shape[:2]) / 1000
    stroke = max(1, line // 2)
    for number, (name, mask) in enumerate(masks.items()):
        colour = FINDING_COLOURS[number % len(FINDING_COLOURS)]
        _draw(picture, mask, colour, line)
        place = (round(12 * size), round(36 * size * (number + 1)))
        for ink, width in (((0, 0, 0), 3 * stroke), (colour[::-1], stroke)):
            # OpenCV's letters are ASCII.
            text = name.encode("ascii", "replace").decode()
            cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, width, cv2.LINE_AA)
    return picture


def _line_width(image: np.ndarray) -> int:
    return max(1, round(max(image.shape[:2]) / 240))


def _draw(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], width: int) -> None:
    cv2.drawContours(picture, find_outlines(mask), -1, colour[::-1], width, cv2.LINE_AA)


def find_outlines(mask: np.ndarray) -> Sequence[np.ndarray]:
    """The closed outlines of (H, W) bool, those of holes too: of each, the (N, 1, 2) int32 x and y of its pixels."""
    # Two levels, so that holes are outlined too.
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return contours
