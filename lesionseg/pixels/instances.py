"""How the instances that a detector found become one lesion."""

import numpy as np

UNION, TOP1, BEST = RULES = ("union", "top1", "best")


def choose_instances(scores: np.ndarray, rule: str, min_score: float, overlaps: np.ndarray | None = None) -> np.ndarray:
    """Choose the instances of which the lesion is the union.

    Args:
        scores: (N,) float, 0..1; 0 is no instance.
        rule: `union`, all with at least `min_score`; `top1`, the best-scored one; `best`, the one that overlaps the
            truth most.
        min_score: 0..1, for `union`.
        overlaps: (N,) float, each instance's Jaccard index with the truth, for `best`.

    Returns:
        (K,) int64, their indices, the best-scored first, among equals in the order given.

    Example:
        >>> choose_instances(np.array([0.3, 0.9, 0.6]), "union", 0.5)
        array([1, 2])
    """
    assert rule in RULES, rule
    if rule == BEST:
        assert overlaps is not None
        return np.array([overlaps.argmax()]) if len(overlaps) else np.empty(0, np.int64)
    order = np.argsort(-scores, kind="stable")
    found = order[scores[order] > 0]
    return found[:1] if rule == TOP1 else found[scores[found] >= min_score]
