"""How far people and a model agree, as files: two tables, a picture and a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lesionseg.documents.page import facts, page, picture, remarks, section, table
from lesionseg.evaluation.agreement import Comparison
from lesionseg.evaluation.meanings import MEANINGS
from lesionseg.evaluation.pictures import ACCENT, INK, broken, encode_figure
from lesionseg.evaluation.resampling import rounded
from lesionseg.tables import Grid, csv_text

_SCORES = ("jaccard", "dice")


def agreement_csv(comparisons: Sequence[Comparison]) -> str:
    """Write one line a comparison: means over images with the bounds of their intervals, if there are some."""
    lines = []
    for each in comparisons:
        line: dict[str, object] = dict(compared=each.kind, one=each.one, other=each.other)
        for score in _SCORES:
            own = each.estimate(score)
            line |= {score: own.mean, f"{score}_low": rounded(own.low), f"{score}_high": rounded(own.high)}
        lines.append(line)
    return csv_text(list(lines[0]), lines)


def per_image_csv(comparisons: Sequence[Comparison], ids: Sequence[str]) -> str:
    """Write one line an image and comparison, without those of means."""
    lines = [
        dict(id=id, compared=each.kind, one=each.one, other=each.other)
        | {score: float(each.scores[score][number]) for score in _SCORES}
        for number, id in enumerate(ids)
        for each in comparisons
        if each.other
    ]
    return csv_text(list(lines[0]), lines)


def agreement_plot(comparisons: Sequence[Comparison]) -> bytes:
    """Plot the mean Jaccard of every comparison with its interval, a PNG file."""
    figure = Figure(figsize=(8, 0.8 + 0.34 * len(comparisons)), layout="constrained")
    axis = figure.subplots()
    for place, each in enumerate(comparisons):
        own = each.estimate("jaccard")
        colour = ACCENT if each.kind.startswith("model") else INK
        if own.low is not None and own.high is not None:
            axis.plot([own.low, own.high], [place, place], color=colour, linewidth=2.4 if each.one == "mean" else 1.2)
        axis.plot([own.mean], [place], "o", color=colour, markersize=7 if each.one == "mean" else 4)
    names = [broken(each.kind if each.one == "mean" else f"{each.one} and {each.other}", 46) for each in comparisons]
    axis.set_yticks(np.arange(len(names)), names, fontsize=9, color=INK, parse_math=False)
    axis.set(
        ylim=(len(names) - 0.4, -0.6),
        xlabel="mean Jaccard index, and its interval if there is one; large: mean of its kind",
    )
    axis.spines[["top", "right"]].set_visible(False)
    return encode_figure(figure, "png", dpi=130)


def agreement_page(told: str, grids: Sequence[Grid], plot: bytes, files: Mapping[Path, Sequence[Path]]) -> str:
    """Make the page.

    Args:
        told: where the model stands.
        grids: what was measured, and what others have published.
        plot: a PNG file.
        files: folder -> the masks in it that were compared.
    """
    images = len(next(iter(files.values())))
    return page(
        "Agreement of annotators",
        f"{images:,} images, {len(files)} folders of masks",
        remarks([told]),
        section("Agreement", *(table(grid, MEANINGS) for grid in grids)),
        section("Means and intervals", picture(plot, "image/png", "Mean Jaccard of every comparison")),
        section("What was compared", facts((str(number), folder) for number, folder in enumerate(files, 1))),
    )
