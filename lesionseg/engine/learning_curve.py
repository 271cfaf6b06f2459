"""The picture of a training."""

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from lesionseg.files import write_aside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Its name in a work_dir.
LEARNING_CURVE = "learning_curve.png"
_COLOURS = {"dice": "#0072B2", "jaccard": "#D55E00", "threshold_jaccard": "#999999"}


def draw_learning_curve(path: str | PathLike, losses: np.ndarray, validations: list[dict[str, float]]) -> None:
    """Draw training and validation loss, and the validation's per-image scores where there are any, against iterations.

    Args:
        path: where the PNG goes.
        losses: (N,) training loss of every iteration.
        validations: one dict a validation: `step` in iterations, `loss` where it was measured, and
            scores in 0..1 named as LesionMetric names them.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    scored = any(f"lesion/{score}" in point for point in validations for score in _COLOURS)
    figure = Figure(figsize=(11 if scored else 6, 4), layout="constrained")
    loss_axes, *score_axes = figure.subplots(1, 2 if scored else 1, squeeze=False)[0]
    _draw_losses(loss_axes, losses, validations)
    for axes in score_axes:
        _draw_scores(axes, validations)
    # All from the beginning to the end, also where there is but one validation, which alone has no range.
    last = max([len(losses), *(point["step"] for point in validations)])
    for axes in figure.axes:
        axes.set_xlim(0, 1.03 * max(1, last))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    with write_aside(path) as aside:
        figure.savefig(aside, dpi=120)


def _draw_scores(axes: "Axes", validations: list[dict[str, float]]) -> None:
    steps = [point["step"] for point in validations]
    for score, colour in _COLOURS.items():
        name = f"lesion/{score}"
        if any(name in point for point in validations):
            values = [point.get(name, np.nan) for point in validations]
            axes.plot(steps, values, "o-", markersize=3, color=colour, label=score.replace("_", " "))
            best = int(np.nanargmax(values))
            axes.annotate(
                f"{values[best]:.3f}", (steps[best], values[best]), color=colour, fontsize=8, ha="right", va="bottom"
            )
    axes.set(xlabel="iteration", ylabel="mean over the validation images", title="Validation scores per image")
    if len(steps) == 1:
        axes.set_ylim(-0.02, 1.02)


def _draw_losses(axes: "Axes", losses: np.ndarray, validations: list[dict[str, float]]) -> None:
    steps = np.arange(1, len(losses) + 1)
    if len(losses):
        axes.plot(steps, losses, color="#0072B2", alpha=0.2, linewidth=0.7)
        window = max(1, len(losses) // 50)
        smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
        axes.plot(steps[window - 1 :], smooth, color="#0072B2", label=f"training, mean of {window}")
    measured = [point for point in validations if "loss" in point]
    if measured:
        axes.plot(
            [p["step"] for p in measured], [p["loss"] for p in measured], "o-", color="#D55E00", label="validation"
        )
    axes.set(xlabel="iteration", ylabel="loss", title="Loss")
    if len(losses) and np.min(losses) > 0:
        axes.set_yscale("log")
