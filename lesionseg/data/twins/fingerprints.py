"""What is kept of an image to find its like: hashes of the file, the pixels and the look, and local features."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike

import cv2
import imagehash
import numpy as np
from PIL import Image

from lesionseg.data.twins.geometry import Features, find_features
from lesionseg.files import read_file
from lesionseg.pixels.pictures import decode_image
from lesionseg.pixels.shrink import shrink_image

HASH_BITS = 64
ORIENTATIONS = 8
PICTURE_EDGE = 160  # pixels that a network sees; at 224 it tells as much, and takes 2.5 times as long
# imagehash computes a hash from a picture of this edge.
_HASHED_EDGE = 32


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of an image.

    Attributes:
        file: hash of the file's bytes.
        pixels: hash of size and pixels, upright.
        looks: (8, 64) bool, the perceptual hashes of the image in its eight orientations; the first is as it is.
        features: for `lesionseg.data.twins.geometry.find_similarity`.
    """

    file: bytes
    pixels: bytes
    looks: np.ndarray
    features: Features


def take_fingerprint(path: str | PathLike) -> tuple[Fingerprint, np.ndarray]:
    """Read an image.

    Returns:
        its fingerprint, and (160, 160, 3) uint8 BGR for a network.

    Raises:
        DataError, OSError: as from `lesionseg.pixels.pictures.read_image`.
    """
    data = read_file(path)
    image = decode_image(data, path)
    pixels = hashlib.sha256(repr(image.shape).encode())
    pixels.update(image.tobytes())
    looks = [
        imagehash.phash(Image.fromarray(gray)).hash.ravel() for gray in _orientations(_resize(image, _HASHED_EDGE))
    ]
    fingerprint = Fingerprint(hashlib.sha256(data).digest(), pixels.digest(), np.array(looks), find_features(image))
    return fingerprint, _resize(image, PICTURE_EDGE)


def _resize(image: np.ndarray, edge: int) -> np.ndarray:
    if min(image.shape[:2]) < edge:
        return cv2.resize(image, (edge, edge), interpolation=cv2.INTER_LINEAR)
    return shrink_image(image, (edge, edge))


def _orientations(image: np.ndarray) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 BGR -> gray, four times turned, and each of them flipped."""
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    for turns in range(4):
        turned = np.rot90(gray, turns)
        yield np.ascontiguousarray(turned)
        yield np.ascontiguousarray(turned[:, ::-1])
