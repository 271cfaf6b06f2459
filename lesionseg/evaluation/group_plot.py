"""The picture of scores by groups."""

from matplotlib.figure import Figure

from lesionseg.evaluation.groups import Groups
from lesionseg.evaluation.pictures import ACCENT, INK, MUTED, broken, encode_figure

_INCHES_A_GROUP = 0.32


def group_plot(groups: Groups, mean: float) -> bytes:
    """Plot the mean Jaccard of every group with its interval.

    Args:
        groups: those that are too small are named without a mark.
        mean: over all images.

    Returns:
        A PNG file.
    """
    heights = [len(of_kind) for of_kind in groups.values()]
    figure = Figure(figsize=(8, 0.6 + sum(_INCHES_A_GROUP * height + 0.5 for height in heights)), layout="constrained")
    axes = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=[height + 1 for height in heights])
    for axis, (kind, of_kind) in zip(axes[:, 0], groups.items(), strict=True):
        for place, group in enumerate(of_kind.values()):
            if "jaccard" in group.means:
                own = group.means["jaccard"]
                axis.plot([own.low, own.high], [place, place], color=INK, linewidth=1.4)
                axis.plot([own.mean], [place], "o", color=ACCENT, markersize=5)
        names = [broken(f"{name} ({group.images})", 40) for name, group in of_kind.items()]
        axis.set_yticks(range(len(names)), names, fontsize=9, color=INK, parse_math=False)
        axis.set(ylim=(len(names) - 0.4, -0.6))
        axis.set_title(kind, fontsize=10, loc="left", color=INK, parse_math=False)
        axis.axvline(mean, color=MUTED, linestyle=":")
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("mean Jaccard index with its interval; dotted: of all images")
    return encode_figure(figure, "png", dpi=130)
