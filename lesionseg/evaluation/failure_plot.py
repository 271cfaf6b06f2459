"""The picture of how well a method knows when it fails."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lesionseg.evaluation.failures import EXPECTED, numbers_of_all, risks
from lesionseg.evaluation.meanings import words
from lesionseg.evaluation.pictures import ACCENT, INK, MUTED, encode_figure
from lesionseg.evaluation.results import ImageResult
from lesionseg.evaluation.scores import JACCARD_THRESHOLD

_COLOURS = ("#0072B2", "#009E73", ACCENT, "#CC79A7")


def failure_plot(table: Sequence[ImageResult]) -> bytes:
    """Plot the risk-coverage curve of every number, and the last of them against the Jaccard of each image.

    Args:
        table: measured images that have numbers.

    Returns:
        A PNG file.
    """
    names = numbers_of_all(table)
    jaccard = np.array([row.scores["jaccard"] for row in table])
    values = {name: np.array([row.numbers[name] for row in table]) for name in names}
    coverage = np.arange(1, len(table) + 1) / len(table)
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    curves, scatter = figure.subplots(1, 2)
    for number, name in enumerate(names):
        curves.plot(coverage, risks(values[name], jaccard), color=_COLOURS[number % len(_COLOURS)], label=words(name))
    curves.plot(coverage, risks(jaccard, jaccard), color=INK, linestyle="--", label="at best")
    curves.axhline(1 - jaccard.mean(), color=MUTED, linestyle=":", label="by chance")
    curves.set(xlabel="share of the images that are kept, the surest first", ylabel="1 - mean Jaccard of them")
    curves.set(xlim=(0, 1), ylim=(0, None))
    curves.legend(frameon=False)
    shown = names[-1]
    scatter.scatter(
        values[shown], jaccard, s=14, color=_COLOURS[(len(names) - 1) % len(_COLOURS)], alpha=0.6, linewidths=0
    )
    if shown == EXPECTED:
        scatter.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1)
    scatter.axhline(JACCARD_THRESHOLD, color=MUTED, linestyle=":")
    scatter.set(xlabel=f"{words(shown)} of an image", ylabel="its Jaccard index", ylim=(-0.02, 1.02))
    for axis in (curves, scatter):
        axis.spines[["top", "right"]].set_visible(False)
    return encode_figure(figure, "png", dpi=130)
