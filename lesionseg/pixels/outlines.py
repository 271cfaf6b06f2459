"""Outlines of masks on images, by OpenCV alone."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from lesionseg.pixels.parts import Region

# RGB. Yellow and blue differ for people with red-green blindness too, and both stand out on skin and lesions.
TRUTH_COLOUR = (240, 228, 66)
PREDICTION_COLOUR = (0, 140, 255)
# RGB, of several findings or instances; Okabe and Ito's, which people with any colour blindness tell apart.
FINDING_COLOURS = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (0, 114, 178), (213, 94, 0), (240, 228, 66)),
)
# Of lines, as a share of the picture's longer edge; between both, a share of the edge of a square as large as what is
# outlined.
_THINNEST, _THICKEST, _OF_OBJECT = 1 / 480, 1 / 240, 1 / 40
# Where OpenCV's letters have the size 1, they are 22 pixels high; below this one, nobody reads them.
_SMALLEST_LETTERS = 0.35


def outline_picture(
    image: np.ndarray, truth: np.ndarray | None = None, prediction: np.ndarray | None = None
) -> np.ndarray:
    """Draw the outlines of masks on an image, the prediction's thinner, so that both show where they agree.

    Around what is small, lines are thin.

    Args:
        image: (H, W, 3) uint8 BGR. It is not changed.
        truth: (H, W) bool, True = lesion; outlined in yellow.
        prediction: (H, W) bool, True = lesion; outlined in blue.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    picture = image.copy()
    outlines = [() if mask is None else find_outlines(mask) for mask in (truth, prediction)]
    line = _line_width(image, [*outlines[0], *outlines[1]])
    for each, colour, width in zip(outlines, (TRUTH_COLOUR, PREDICTION_COLOUR), (2 * line + 1, line), strict=True):
        _draw(picture, each, colour, width)
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
    line = _THICKEST * max(image.shape[:2])
    size = max(image.shape[:2]) / 1000
    stroke = max(1, round(line) // 2)
    for number, (name, mask) in enumerate(masks.items()):
        colour = FINDING_COLOURS[number % len(FINDING_COLOURS)]
        _draw(picture, find_outlines(mask), colour, line)
        _write(picture, name, (round(12 * size), round(36 * size * (number + 1))), colour, size, stroke)
    return picture


def outline_instances(image: np.ndarray, instances: Sequence[tuple[Region, float]], name: str) -> np.ndarray:
    """Draw the outlines of instances on an image, each in a colour and with its number and score.

    Args:
        image: (H, W, 3) uint8 BGR. It is not changed.
        instances: where each is, and its score, 0..1; numbered from 1 in this order.
        name: of what they are; how many there are stands in the left upper corner.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    picture = image.copy()
    outlines = [find_outlines(region.mask) for region, _ in instances]
    # Pale colours are hardly seen in lines of one pixel.
    line = 1.5 * _line_width(image, [outline for each in outlines for outline in each])
    size = letter_size(image)
    stroke = max(1, round(2 * size))
    colours = [FINDING_COLOURS[number % len(FINDING_COLOURS)] for number in range(len(instances))]
    for (region, _), each, colour in zip(instances, outlines, colours, strict=True):
        _draw(picture, each, colour, line, (region.left, region.top))
    # After all lines, so that none crosses a number.
    written: list[tuple[int, int, int]] = []
    for number, ((region, score), colour) in enumerate(zip(instances, colours, strict=True), 1):
        text = f"{number}: {score:.2f}"
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, stroke)
        left = max(0, min(region.left, image.shape[1] - width))
        bottom = max(height + 2, region.top - round(2 * line))
        # Below those that are written there already.
        while any(
            abs(bottom - other) < height + stroke and left < end and start < left + width
            for start, end, other in written
        ):
            bottom += height + 2 * stroke
        written.append((left, left + width, bottom))
        _write(picture, text, (left, bottom), colour, size, stroke)
    title = f"{name}: {len(instances)} found" if instances else f"{name}: none found"
    _write(picture, title, (round(12 * size), round(36 * size)), (255, 255, 255), size, stroke)
    return picture


def _line_width(image: np.ndarray, outlines: Sequence[np.ndarray]) -> float:
    """How thick lines are, in pixels: thinner around what is small."""
    edge = max(image.shape[:2])
    sizes = [cv2.contourArea(outline) ** 0.5 for outline in outlines] or [edge]
    return float(np.clip(_OF_OBJECT * np.median(sizes), _THINNEST * edge, _THICKEST * edge))


def _draw(
    picture: np.ndarray,
    outlines: Sequence[np.ndarray],
    colour: tuple[int, int, int],
    width: float,
    offset: tuple[int, int] = (0, 0),
) -> None:
    thickness = max(1, round(width))
    cv2.drawContours(picture, outlines, -1, colour[::-1], thickness, cv2.LINE_AA, offset=offset)


def _write(
    picture: np.ndarray, text: str, place: tuple[int, int], colour: tuple[int, int, int], size: float, stroke: int
) -> None:
    """Write a line with a dark rim, which shows on any ground; `place` is its left lower corner."""
    text = plain_letters(text)
    for ink, width in (((0, 0, 0), 3 * stroke), (colour[::-1], stroke)):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, width, cv2.LINE_AA)


def letter_size(picture: np.ndarray) -> float:
    """How large OpenCV's letters have to be to be read on a picture, see `_SMALLEST_LETTERS`."""
    return max(_SMALLEST_LETTERS, max(picture.shape[:2]) / 1400)


def plain_letters(text: str) -> str:
    """A text in the letters that OpenCV has, which are ASCII's."""
    return text.encode("ascii", "replace").decode()


def find_outlines(mask: np.ndarray) -> Sequence[np.ndarray]:
    """The closed outlines of (H, W) bool, those of holes too: of each, the (N, 1, 2) int32 x and y of its pixels."""
    # Two levels, so that holes are outlined too.
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return contours


def edge_polygons(instance: np.ndarray) -> list[np.ndarray]:
    """The outer outlines of an instance, along the edges of its pixels.

    pycocotools fills such polygons to the very pixels, holes apart. Polygons through the middles of the border
    pixels, as `cv2.findContours` gives them, change 0.8 % of the lesion pixels of ISIC masks at 512 px and 5 % of
    those of nails; shifted by half a pixel, which puts them where the pixels' middles are, 0.8 % and 3 %.

    Args:
        instance: (H, W) uint8 in {0, 1}.

    Returns:
        The corners of each, (N, 2) int, x in [0, W] and y in [0, H].
    """
    left, top, width, height = cv2.boundingRect(instance)
    box = instance[top : top + height, left : left + width]
    # In a picture of twice the size, the border pixels 2n - 1 and 2n lie on either side of the corner n.
    doubled = cv2.resize(box, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(2 * left, 2 * top))
    polygons = []
    for contour in contours:
        corners = (contour[:, 0] + 1) // 2
        moved = np.any(corners != np.roll(corners, 1, axis=0), axis=1)
        polygons.append(corners[moved])
    return polygons
