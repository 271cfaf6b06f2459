"""Resampled images, whose percentiles bound what is measured over images (Efron 1979)."""

from collections.abc import Iterator

import numpy as np

CONFIDENCE = 0.95
# Resamples of fewer images are too much alike to say anything of other images; those of one image are all the same.
FEWEST = 10
# Of 10,000, intervals of what is no mean differ from these in the third digit.
_RESAMPLES = 2_000
_DRAWN_AT_ONCE = 2**22


def times_drawn(images: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Draw as many images as there are, with replacement, again and again.

    Yields:
        (R, images) int64, how often each is drawn; as many rows as fit into memory, 2,000 in all.
    """
    random = np.random.default_rng(seed)
    rows = max(1, _DRAWN_AT_ONCE // images)
    for start in range(0, _RESAMPLES, rows):
        yield random.multinomial(images, np.full(images, 1 / images), min(rows, _RESAMPLES - start))


def resampled_means(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """The mean of each resample, (images,) float64 -> (2000,) float64."""
    return np.concatenate([drawn @ values for drawn in times_drawn(len(values), seed)]) / len(values)


def interval(values: np.ndarray, images: int) -> tuple[float, float] | tuple[None, None]:
    """Bound the middle `CONFIDENCE` of resampled values.

    Args:
        values: (resamples,) float64; NaN among them are left out.
        images: how many were resampled; where they are of several kinds, those of the rarest.

    Returns:
        both bounds; None of fewer than `FEWEST` images.
    """
    if images < FEWEST:
        return None, None
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)


def interval_text(low: float | None, high: float | None, form: str) -> str:
    """An interval in a table, its bounds in a form such as `+.3f`; a dash where there is none."""
    return "-" if low is None else f"{low:{form}} to {high:{form}}"


def rounded(number: float | None) -> float | None:
    """A number for a file, rounded so that two processors, which may add in another order, write the same."""
    return None if number is None else round(number, 6)
