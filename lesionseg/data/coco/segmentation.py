"""What a COCO annotation says about pixels: instances of a mask as RLE or polygons, and back.

The format: https://cocodataset.org/#format-data. Run lengths go down the columns and begin with background; a
coordinate counts from the outer edge of the first pixel, so the middle of that pixel is at 0.5.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_api

from lesionseg.errors import DataError
from lesionseg.pixels.outlines import edge_polygons

# Tools differ in where a pixel begins, and round; what lies further outside belongs to another image.
_TOLERANCE = 1
# Characters of a compressed run: 35 bits are more than an image has pixels.
_LONGEST_RUN = 7


def split_instances(lesion: np.ndarray, instances: str) -> Iterator[np.ndarray]:
    """Give the instances of a mask one by one; none where the mask is empty.

    Args:
        lesion: (H, W) bool.
        instances: "whole" for all lesion pixels as one instance, "components" for each 8-connected component,
            in the order in which their first pixels are met row by row.

    Yields:
        (H, W) uint8 in {0, 1}, in Fortran order as pycocotools wants it.
    """
    assert instances in ("whole", "components"), instances
    if instances == "whole":
        if lesion.any():
            yield np.asfortranarray(lesion).view(np.uint8)
        return
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(lesion.view(np.uint8), connectivity=8)

    def first_pixel(label: int) -> tuple[int, int]:
        # OpenCV labels blocks of 2 x 2 pixels, so its numbers follow the rows only roughly.
        row = boxes[label, cv2.CC_STAT_TOP]
        return row, int(np.argmax(labels[row] == label))

    for label in sorted(range(1, count), key=first_pixel):
        left, top, width, height, _ = boxes[label]
        box = np.s_[top : top + height, left : left + width]
        instance = np.zeros(lesion.shape, np.uint8, order="F")
        instance[box] = labels[box] == label
        yield instance


def describe_instance(instance: np.ndarray, polygons: bool = False) -> dict[str, Any]:
    """Describe one instance as COCO does.

    Args:
        instance: (H, W) uint8 in {0, 1} in Fortran order, not empty.
        polygons: write polygons, which fill the holes, in place of exact RLE.

    Returns:
        segmentation: compressed RLE as dict(size=[H, W], counts=str), or a list of polygons.
        area: pixels of the segmentation.
        bbox: its box [x, y, width, height] in pixels.
        iscrowd: 0.
    """
    segmentation: list[list[int]] | dict[str, Any]
    if polygons:
        segmentation = [corners.ravel().tolist() for corners in edge_polygons(instance)]
        rle = mask_api.merge(mask_api.frPyObjects(segmentation, *instance.shape))
    else:
        rle = mask_api.encode(instance)
        segmentation = dict(size=rle["size"], counts=rle["counts"].decode("ascii"))
    return dict(segmentation=segmentation, area=int(mask_api.area(rle)), bbox=mask_api.toBbox(rle).tolist(), iscrowd=0)


def read_segmentation(segmentation: Any, height: int, width: int, name: str) -> np.ndarray | list[np.ndarray]:
    """Read and check the segmentation of an annotation without drawing it.

    Args:
        segmentation: RLE, compressed or not, or polygons, as read from JSON.
        height: of the image, in pixels.
        width: of the image, in pixels.
        name: what an error calls the annotation.

    Returns:
        Of RLE the run lengths, (N,) int64; of polygons the corners of each, (N, 2) float, x and y in pixels.

    Raises:
        DataError: none of these forms, of another size than the image, or outside of it.
    """
    if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), (str, list)):
        return _read_rle(segmentation, height, width, name)
    if isinstance(segmentation, list) and segmentation:
        return _read_polygons(segmentation, height, width, name)
    raise DataError(f"{name}: it has no segmentation, expected RLE or polygons. Draw its outline, or remove it.")


def box_and_area(parts: np.ndarray | list[np.ndarray], height: int, width: int) -> tuple[list[int], int]:
    """The box [x, y, width, height] and the area of what `read_segmentation` has read, both in pixels."""
    rle = _to_rle(parts, height, width)
    return mask_api.toBbox(rle).astype(int).tolist(), int(mask_api.area(rle))


def decode_segmentation(segmentation: Any, height: int, width: int, name: str) -> np.ndarray:
    """Decode the segmentation of an annotation; the union, where it has several polygons.

    Args and errors are those of `read_segmentation`.

    Returns:
        (H, W) uint8 in {0, 1}.
    """
    parts = read_segmentation(segmentation, height, width, name)
    if isinstance(parts, list):
        return mask_api.decode(_to_rle(parts, height, width))
    values = np.arange(len(parts)) % 2
    return np.repeat(values.astype(np.uint8), parts).reshape(height, width, order="F")


def _to_rle(parts: np.ndarray | list[np.ndarray], height: int, width: int) -> dict[str, Any]:
    if isinstance(parts, list):
        return mask_api.merge(mask_api.frPyObjects([corners.ravel() for corners in parts], height, width))
    return mask_api.frPyObjects(dict(size=[height, width], counts=parts.tolist()), height, width)


def _read_rle(rle: dict[str, Any], height: int, width: int, name: str) -> np.ndarray:
    if rle.get("size") != [height, width]:
        raise DataError(
            f"{name}: its RLE is of the size {rle.get('size')}, expected the image's [height, width], "
            f"[{height}, {width}]. Correct the image's entry or the annotation."
        )
    counts, pixels = rle["counts"], height * width
    if isinstance(counts, str):
        runs = _decompress(counts)
        fits = np.all((runs >= 0) & (runs <= pixels)) and runs.sum() == pixels
    else:
        # pandas and JavaScript write 12.0 for 12.
        fits = all(type(run) in (int, float) and run >= 0 and run % 1 == 0 for run in counts) and sum(counts) == pixels
        runs = np.array(counts if fits else [], np.int64)
    # pycocotools takes runs that end too early, and leaves the pixels after them to what was in memory.
    if not fits:
        raise DataError(
            f"{name}: its RLE counts do not make up the image, expected runs of {pixels} pixels in all. "
            "Export the annotation again."
        )
    return runs


def _decompress(counts: str) -> np.ndarray:
    """The run lengths of COCO's compressed form, (N,) int64; [-1] where it is broken.

    Each character from "0" on holds five bits, lowest first, and whether more follow; the last one's fifth bit is the
    sign. From the fourth on, a run is stored as its difference to the one before the last (maskApi.c, rleToString).
    """
    bits = np.frombuffer(counts.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - ord("0")
    ends = np.flatnonzero(bits & 32 == 0)
    if not bits.size or not np.all((bits >= 0) & (bits < 64)) or bits[-1] & 32:
        return np.array([-1])
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > _LONGEST_RUN:
        return np.array([-1])
    starts = ends + 1 - lengths
    shifts = 5 * (np.arange(bits.size) - np.repeat(starts, lengths))
    runs = np.add.reduceat((bits & 31) << shifts, starts)
    runs -= (bits[ends] >> 4 & 1) << 5 * lengths
    for first in (1, 2):
        runs[first::2] = runs[first::2].cumsum()
    return runs


def _read_polygons(polygons: Sequence[Any], height: int, width: int, name: str) -> list[np.ndarray]:
    try:
        corners = [np.array(polygon, float).reshape(-1, 2) for polygon in polygons]
    except (TypeError, ValueError, OverflowError):
        corners = []
    if not corners:
        raise DataError(
            f"{name}: its segmentation is no list of polygons, expected [[x1, y1, x2, y2, x3, y3, ...], ...]. "
            "Export the annotation again."
        )
    if thin := [number for number, polygon in enumerate(corners, 1) if len(polygon) < 3]:
        few = len(corners[thin[0] - 1])
        raise DataError(
            f"{name}: its polygon {thin[0]} of {len(corners)} has {few} points, expected three or more. Remove that "
            "polygon from its list, or the annotation where it is the only one."
        )
    points = np.concatenate(corners)
    # Written so that NaN is outside; pycocotools ends the program at NaN and at very large numbers.
    if not np.all((points >= -_TOLERANCE) & (points <= np.array([width, height]) + _TOLERANCE)):
        raise DataError(
            f"{name}: its polygon reaches x {points[:, 0].min():g} to {points[:, 0].max():g} and "
            f"y {points[:, 1].min():g} to {points[:, 1].max():g}, expected it inside the image of {width}x{height} "
            "pixels. Correct the image's entry or the annotation."
        )
    return corners
