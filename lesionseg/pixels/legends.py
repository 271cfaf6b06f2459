"""What a picture shows, told in a white strip below it, by OpenCV alone."""

from collections.abc import Sequence

import cv2
import numpy as np

from lesionseg.pixels.outlines import letter_size, plain_letters

# RGB.
Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK = (34, 34, 34)
# Of the lines of a legend, in pixels for letters of size 1, which are 22 pixels high.
_LINE, _GAP, _SAMPLE = 44, 28, 44
_BAR = 16
_MAP = cv2.COLORMAP_VIRIDIS
_SCALE_STEPS = ("0", "0.5", "1")


def add_legend(picture: np.ndarray, entries: Sequence[tuple[str, Colour | None]]) -> np.ndarray:
    """Put a legend below a picture, which stays as it is.

    Args:
        picture: (H, W, 3) uint8 BGR.
        entries: each a text and the colour of what it tells, if it has one.

    Returns:
        (H + h, W, 3) uint8 BGR, where h grows with the texts and the size of the picture.
    """
    texts = [plain_letters(text) for text, _ in entries]
    widths = [
        cv2.getTextSize(text, _FONT, 1, 1)[0][0] + _GAP + (_SAMPLE if colour else 0)
        for text, (_, colour) in zip(texts, entries, strict=True)
    ]
    width = picture.shape[1]
    # As large as is easy to read, but no text wider than the picture.
    size = min(letter_size(picture), width / (max(widths) + _GAP))
    places, left, line = [], _GAP, 0
    for needed in widths:
        if left > _GAP and (left + needed) * size > width:
            left, line = _GAP, line + 1
        places.append((left, line))
        left += needed
    strip = np.full((max(1, round((line + 1) * _LINE * size)), width, 3), 255, np.uint8)
    stroke = max(1, round(2 * size))
    for text, (_, colour), (left, line) in zip(texts, entries, places, strict=True):
        if colour:
            middle = round((line + 0.5) * _LINE * size)
            begin, end = ((round(x * size), middle) for x in (left, left + _SAMPLE - 14))
            cv2.line(strip, begin, end, colour[::-1], max(1, round(8 * size)))
            left += _SAMPLE
        _write(strip, text, left * size, (line + 0.5) * _LINE * size, size, stroke)
    return np.concatenate([picture, strip])


def heat_picture(image: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Lay a soft mask in colours over an image in grays, with the scale of colours below.

    Args:
        image: (H, W, 3) uint8 BGR.
        probability: (H, W) float32, 0..1.

    Returns:
        (H + h, W, 3) uint8 BGR.
    """
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    heat = cv2.applyColorMap(cv2.convertScaleAbs(probability, alpha=255), _MAP)
    picture = cv2.addWeighted(gray, 0.5, heat, 0.5, 0)
    width = image.shape[1]
    size = min(letter_size(picture), width / 200)
    bar, line = max(2, round(_BAR * size)), max(2, round(_LINE * size))
    strip = np.full((bar + line, width, 3), 255, np.uint8)
    strip[:bar] = cv2.applyColorMap(np.linspace(0, 255, width, dtype=np.uint8)[None], _MAP)
    for step in _SCALE_STEPS:
        needed = cv2.getTextSize(step, _FONT, size, 1)[0][0]
        left = float(step) * width - needed / 2
        place = min(max(left, _GAP * size / 2), width - needed - _GAP * size / 2)
        _write(strip, step, place, bar + line / 2, size, max(1, round(2 * size)))
    return np.concatenate([picture, strip])


def _write(strip: np.ndarray, text: str, left: float, middle: float, size: float, stroke: int) -> None:
    place = (round(left), round(middle + 11 * size))
    cv2.putText(strip, text, place, _FONT, size, _INK, stroke, cv2.LINE_AA)
