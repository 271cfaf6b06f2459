"""Whether two images show the same thing: places that look alike, and one similarity that moves most of them.

Local features and the ratio test are Lowe's (2004, 10.1023/B:VISI.0000029664.99615.94), the robust fit is RANSAC's
(Fischler and Bolles 1981, 10.1145/358669.358692), both as OpenCV has them. Thresholds were found on dermoscopic images,
see `tools/benchmark.py audit`.
"""

from typing import NamedTuple

import cv2
import numpy as np

from lesionseg.pixels.shrink import shrink_image

EDGE = 256  # pixels of the longer edge that features are looked for at
# Of features that agree on one similarity. Copies have 76 and more, other photographs of a lesion mostly 26 and more,
# different lesions seldom more than 10: rulers are what they share.
LEAST_INLIERS = 20

# Skin has little contrast: without the local stretching, and with SIFT's usual threshold of 0.04, half of the images
# have fewer than 26 features.
_CLIP, _TILES = 2.0, (8, 8)
_CONTRAST, _MOST = 0.01, 500
# The strongest features are tried first, and few pairs that are none get past: it takes an eighth of the time.
_STRONGEST, _LEAST_OF_STRONGEST = 128, 8
_RATIO = 0.8
_FAR = 3.0  # pixels that a feature may be off
# Beyond it, all features have fallen into a few points.
_LARGEST_SCALE = 3.0
# A descriptor is 4 x 4 cells of 8 directions, turned so that the main direction is 0: in a mirror, cells change sides
# across that direction, and directions their sign.
_MIRRORED = np.arange(128).reshape(4, 4, 8)[::-1][:, :, -np.arange(8) % 8].ravel()


class Features(NamedTuple):
    """What is looked for in other images, the strongest first: 64 kB.

    Attributes:
        points: (N, 2) float32, x and y.
        descriptors: (N, 128) uint8, as SIFT rounds them.
        width: of the image, in the unit of the points.
    """

    points: np.ndarray
    descriptors: np.ndarray
    width: int


class Similarity(NamedTuple):
    """How an image lies in another.

    Attributes:
        inliers: how many features say so.
        degrees: by which it is turned, in (-180, 180], clockwise as it is seen.
        scale: by which it is larger there.
        mirrored: whether it is flipped left to right before it is turned.
    """

    inliers: int
    degrees: float
    scale: float
    mirrored: bool


def find_features(image: np.ndarray) -> Features:
    """Find features in (H, W, 3) uint8 BGR."""
    scale = min(1, EDGE / max(image.shape[:2]))
    width, height = (max(1, round(edge * scale)) for edge in image.shape[1::-1])
    gray = cv2.cvtColor(shrink_image(image, (width, height)), cv2.COLOR_BGR2GRAY)
    gray = cv2.createCLAHE(_CLIP, _TILES).apply(gray)
    found, descriptors = cv2.SIFT.create(nfeatures=_MOST, contrastThreshold=_CONTRAST).detectAndCompute(gray, None)
    if not found:
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8), width)
    # OpenCV gives some more where several are as strong.
    order = np.argsort([-point.response for point in found], kind="stable")[:_MOST]
    points = np.array([found[number].pt for number in order], np.float32)
    return Features(points, descriptors[order].astype(np.uint8), width)


def mirror(features: Features) -> Features:
    """The features of the same image flipped left to right, but for rounding."""
    points = features.points.copy()
    points[:, 0] = features.width - 1 - points[:, 0]
    return Features(points, features.descriptors[:, _MIRRORED], features.width)


def find_similarity(one: Features, other: Features) -> Similarity | None:
    """Find out how an image, or its mirror image, lies in another; None where it does not.

    Example:
        >>> image = cv2.imread("ISIC_0000000.jpg")
        >>> find_similarity(find_features(image), find_features(image[::-1])).mirrored
        True
    """
    best = None
    for mirrored in (False, True):
        likely = _fit(_strongest(one), _strongest(other), mirrored)
        if likely is None or likely.inliers < _LEAST_OF_STRONGEST:
            continue
        fitted = _fit(one, other, mirrored)
        if fitted and fitted.inliers >= LEAST_INLIERS and (best is None or fitted.inliers > best.inliers):
            best = fitted
    return best


def _strongest(features: Features) -> Features:
    return Features(features.points[:_STRONGEST], features.descriptors[:_STRONGEST], features.width)


def _fit(one: Features, other: Features, mirrored: bool) -> Similarity | None:
    if min(len(one.points), len(other.points)) < 2:
        return None
    if mirrored:
        one = mirror(one)
    likeness = _units(one.descriptors) @ _units(other.descriptors).T
    rows = np.arange(len(likeness))
    nearest = likeness.argmax(1)
    first = likeness[rows, nearest]
    likeness[rows, nearest] = -1
    # Of unit vectors, the squared distance is 2 - 2 cos.
    kept = 1 - first < _RATIO**2 * (1 - likeness.max(1))
    nearest = nearest[kept]
    if len(np.unique(nearest)) < _LEAST_OF_STRONGEST:
        return None
    moved, inliers = cv2.estimateAffinePartial2D(
        one.points[kept], other.points[nearest], method=cv2.RANSAC, ransacReprojThreshold=_FAR
    )
    if moved is None:
        return None
    scale = float(np.hypot(moved[0, 0], moved[1, 0]))
    if not 1 / _LARGEST_SCALE < scale < _LARGEST_SCALE:
        return None
    # Many features that fall onto one say no more than one.
    count = len(np.unique(nearest[inliers.ravel() > 0]))
    return Similarity(count, float(np.degrees(np.arctan2(moved[1, 0], moved[0, 0]))), scale, mirrored)


def _units(descriptors: np.ndarray) -> np.ndarray:
    """(N, 128) uint8 -> float32 of length 1."""
    floats = descriptors.astype(np.float32)
    return floats / np.maximum(np.linalg.norm(floats, axis=1, keepdims=True), 1)
