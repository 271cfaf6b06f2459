"""Which of many images may be alike: all against all, in blocks of products of matrices."""

from collections.abc import Sequence

import numpy as np

from lesionseg.data.twins.fingerprints import HASH_BITS

# Neither is enough, and both together say too much: of dermoscopic images, a dark spot in the middle, one pair in 300
# is as near as this; geometry decides. Hashes alone miss crops, embeddings alone strongly compressed copies.
MOST_BITS = 10
LEAST_COSINE = 0.84

_BLOCK = 512  # rows at once: 40 MB for 20,000 images


def near_looks(looks: np.ndarray, most: int = MOST_BITS) -> np.ndarray:
    """Find images whose perceptual hashes are near in any orientation.

    Args:
        looks: (N, 8, 64) bool, see `lesionseg.data.twins.fingerprints.Fingerprint`.
        most: bits that may differ.

    Returns:
        (P, 2) int64, numbers of images, the smaller first.
    """
    signs = looks.astype(np.float32) * 2 - 1
    # The scalar product of signs is equal bits less different ones.
    return _near([signs[:, number] for number in range(looks.shape[1])], signs[:, 0], HASH_BITS - 2 * most)


def near_embeddings(embeddings: np.ndarray, least: float = LEAST_COSINE) -> np.ndarray:
    """Find images whose embeddings, (N, D) float32 of length 1, have at least this cosine: (P, 2) int64."""
    return _near([embeddings], embeddings, least)


def bits_apart(looks: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The fewest bits by which the images of pairs differ in any orientation: (P,) int64."""
    return (looks[pairs[:, 0]] != looks[pairs[:, 1], :1]).sum(2).min(1)


def cosines(embeddings: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The cosines of pairs of embeddings: (P,) float32."""
    return np.einsum("nd,nd->n", embeddings[pairs[:, 0]], embeddings[pairs[:, 1]])


def _near(variants: Sequence[np.ndarray], fixed: np.ndarray, least: float) -> np.ndarray:
    found = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(fixed), _BLOCK):
        others = fixed[start:].T
        products = variants[0][start : start + _BLOCK] @ others
        for variant in variants[1:]:
            np.maximum(products, variant[start : start + _BLOCK] @ others, out=products)
        # Each pair once, and no image with itself.
        found.append(np.argwhere(np.triu(products >= least, 1)) + start)
    return np.concatenate(found)
