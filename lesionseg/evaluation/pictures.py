"""The pictures of a report: outlines on images, a contact sheet, the spread of the Jaccard index."""

import re
import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lesionseg.cli import one_line
from lesionseg.errors import DataError
from lesionseg.evaluation.results import ImageResult
from lesionseg.evaluation.scores import JACCARD_THRESHOLD
from lesionseg.pixels.legends import add_legend
from lesionseg.pixels.outlines import PREDICTION_COLOUR, TRUTH_COLOUR, outline_picture
from lesionseg.pixels.pictures import read_image
from lesionseg.pixels.rle import unpack_mask

_THUMBNAIL = 720  # pixels of the longer edge
_PER_GROUP = 4
_PER_LINE = 8  # tests in one line of box plots
_CAPTION = 35  # characters that have place below a picture
_GRAYS = np.array([64, 112], np.uint8)  # of skin and lesion, in the place of an image
INK, MUTED, ACCENT = "#222222", "#767676", "#D55E00"
_FILL = np.array(PREDICTION_COLOUR) / 255
_BOX: dict[str, Any] = dict(
    widths=0.5,
    patch_artist=True,
    boxprops=dict(facecolor=(*_FILL, 0.35), edgecolor=INK),
    flierprops=dict(marker="o", markersize=4, markerfacecolor=MUTED, markeredgewidth=0),
)


def outlined(row: ImageResult) -> np.ndarray:
    """Draw one measured image in its own size with both outlines, (H, W, 3) uint8 BGR.

    Raises:
        DataError: the image or the mask cannot be read, or does not have the size that was measured.
    """
    return outline_picture(*_read(row))


def captioned(row: ImageResult) -> np.ndarray:
    """Draw one measured image as `outlined` does, with a legend and its scores below: (H + h, W, 3) uint8 BGR.

    Raises:
        DataError: as from `outlined`.
    """
    scores = f"Jaccard {row.scores['jaccard']:.3f}, Dice {row.scores['dice']:.3f}"
    texts = [scores, row.remark] if row.remark else [scores]
    keys = [("truth", TRUTH_COLOUR), ("prediction", PREDICTION_COLOUR)]
    return add_legend(outlined(row), [*keys, *((text, None) for text in texts)])


def contact_sheet(table: Sequence[ImageResult]) -> bytes:
    """Show the best, the median and the worst images with both outlines.

    Args:
        table: at least one measured image; the pictures and true masks are read from disk.

    Returns:
        A JPEG file.

    Raises:
        DataError: an image or a mask cannot be read, or does not have the size that was measured.
    """
    return _sheet({name: [(_short(row.id), row) for row in rows] for name, rows in choose_examples(table).items()})


def difference_sheet(systems: Mapping[str, Sequence[ImageResult]]) -> bytes:
    """Show the images on which systems differ most in their Jaccard, with every system's outlines in a line.

    Where there are more than four systems, the best and the worst of each image are shown.

    Args:
        systems: by the name to print, two or more, the same images in the same order.

    Returns:
        A JPEG file.

    Raises:
        DataError: as from `contact_sheet`.
    """
    columns = most_different(list(systems.values()))
    if len(systems) <= _PER_GROUP:
        lines = zip(systems, zip(*columns, strict=True), strict=True)
        return _sheet({name: [(_short(row.id), row) for row in rows] for name, rows in lines})
    extremes: dict[str, list[tuple[str, ImageResult]]] = {"best system": [], "worst system": []}
    for rows in columns:
        ranked = sorted(zip(systems, rows, strict=True), key=lambda pair: -pair[1].scores["jaccard"])
        for line, (name, row) in zip(extremes.values(), (ranked[0], ranked[-1]), strict=True):
            line.append((f"{_short(row.id)}\n{broken(name)}", row))
    return _sheet(extremes)


def most_different(tables: Sequence[Sequence[ImageResult]]) -> list[tuple[ImageResult, ...]]:
    """Pick up to four images whose Jaccards are furthest apart, each as a row of every table."""

    def spread(rows: tuple[ImageResult, ...]) -> float:
        jaccards = [row.scores["jaccard"] for row in rows]
        return max(jaccards) - min(jaccards)

    return sorted(zip(*tables, strict=True), key=lambda rows: (-spread(rows), rows[0].id))[:_PER_GROUP]


def _sheet(lines: Mapping[str, Sequence[tuple[str, ImageResult]]]) -> bytes:
    """Set measured images under their names in named lines; a JPEG file."""
    thumbnails = {name: [_thumbnail(row) for _, row in cells] for name, cells in lines.items()}
    columns = max(map(len, lines.values()))
    tallest = max(picture.shape[0] / picture.shape[1] for line in thumbnails.values() for picture in line)
    figure = Figure(figsize=(3 * columns + 0.4, (3 * tallest + 0.4) * len(lines) + 0.4), layout="constrained")
    axes = figure.subplots(len(lines), columns, squeeze=False)
    for line, (name, cells) in zip(axes, lines.items(), strict=True):
        for axis in line:
            axis.set(xticks=[], yticks=[], frame_on=False)
        for axis, (label, row), picture in zip(line, cells, thumbnails[name], strict=False):
            axis.imshow(picture[..., ::-1])
            caption = f"{label}\nJaccard {row.scores['jaccard']:.3f}" + f"\n{row.remark}" * bool(row.remark)
            axis.set_xlabel(caption, fontsize=10, color=INK, parse_math=False)
        line[0].set_ylabel(broken(name, 26), fontsize=13, color=INK, parse_math=False)
    figure.legend(handles=_legend(), loc="outside upper center", ncols=2, frameon=False, fontsize=11)
    return encode_figure(figure, "jpeg", dpi=130)


def choose_examples(table: Sequence[ImageResult]) -> dict[str, list[ImageResult]]:
    """Pick up to four images each with the highest, the median and the lowest Jaccard, none twice."""
    ranked = sorted(table, key=lambda row: (-row.scores["jaccard"], row.id))
    count = min(_PER_GROUP, max(1, len(ranked) // 3))
    best, rest = ranked[:count], ranked[count:]
    worst, middle = rest[::-1][:count], rest[:-count]
    start = (len(middle) - count) // 2
    groups = {"best": best, "median": middle[start:][:count], "worst": worst}
    return {name: rows for name, rows in groups.items() if rows}


def jaccard_plot(table: Sequence[ImageResult]) -> bytes:
    """Plot how the Jaccard index spreads over the images: a box plot and a histogram on one axis.

    Returns:
        A PNG file.
    """
    values = np.array([row.scores["jaccard"] for row in table])
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    box, histogram = figure.subplots(1, 2, sharey=True, width_ratios=[1, 3])
    box.boxplot(values, medianprops=dict(visible=False), **_BOX)
    histogram.hist(values, bins=np.linspace(0, 1, 21), orientation="horizontal", color=(*_FILL, 0.6), edgecolor="white")
    marks = (
        ("mean", np.mean(values), ACCENT, "-"),
        ("median", np.median(values), INK, "--"),
        ("threshold", JACCARD_THRESHOLD, MUTED, ":"),
    )
    for axis in (box, histogram):
        for name, value, colour, style in marks:
            axis.axhline(value, color=colour, linewidth=1.6, linestyle=style, label=f"{name} {value:.3f}")
        axis.spines[["top", "right"]].set_visible(False)
    box.set(ylabel="Jaccard index of an image", ylim=(-0.02, 1.02), xticks=[])
    failed = int(np.count_nonzero(values < JACCARD_THRESHOLD))
    histogram.set(xlabel="images", title=f"{len(values)} images, {failed} below {JACCARD_THRESHOLD}")
    histogram.xaxis.set_major_locator(MaxNLocator(integer=True))
    histogram.legend(frameon=False)
    return encode_figure(figure, "png", dpi=130)


def jaccard_boxes(tests: Mapping[str, np.ndarray]) -> bytes:
    """Plot side by side how the Jaccard index spreads over the same images in several tests, many of them in lines.

    Args:
        tests: by the name to print, (N,) float64 in 0..1, the Jaccard of every image. What all names begin and end with
            is printed once.

    Returns:
        A PNG file.
    """
    beginning, names, end = cut_names(list(tests))
    count = -(-len(tests) // _PER_LINE)
    columns = -(-len(tests) // count)
    figure = Figure(figsize=(max(5, 0.8 + 1.55 * columns), 0.6 + 4.6 * count), layout="constrained")
    mean, median, threshold = (_stroke(*line) for line in ((ACCENT, "-"), (INK, "--"), (MUTED, ":")))
    named = list(zip(names, tests.values(), strict=True))
    for line, axis in enumerate(figure.subplots(count, 1, squeeze=False)[:, 0]):
        shown = dict(named[columns * line :][:columns])
        axis.boxplot(list(shown.values()), showmeans=True, meanline=True, meanprops=mean, medianprops=median, **_BOX)
        axis.axhline(JACCARD_THRESHOLD, **threshold)
        axis.set_xticks(range(1, len(shown) + 1), _box_labels(shown), fontsize=9, color=INK, parse_math=False)
        axis.set(ylabel="Jaccard index of an image", ylim=(-0.02, 1.02), xlim=(0.5, columns + 0.5))
        axis.spines[["top", "right"]].set_visible(False)
    lines = [
        Line2D([], [], **style, label=label)
        for style, label in ((mean, "mean"), (median, "median"), (threshold, f"threshold {JACCARD_THRESHOLD}"))
    ]
    images = len(next(iter(tests.values())))
    title = one_line(f"{beginning}\N{HORIZONTAL ELLIPSIS}{end}" * bool(beginning or end))
    legend = figure.legend(handles=lines, loc="outside upper center", ncols=3, frameon=False)
    legend.set_title(f"{title}\n{images} images" if title else f"{images} images")
    legend.get_title().set(parse_math=False, multialignment="center")
    return encode_figure(figure, "png", dpi=130)


def cut_names(names: Sequence[str]) -> tuple[str, list[str], str]:
    """Take off what all of several names begin and end with, as far as whole parts go.

    Example:
        >>> cut_names(["unet_r18_isic2018", "unet_r50-amp_isic2018"])
        ('unet_', ['r18', 'r50-amp'], '_isic2018')
    """
    parts = [re.findall("[-_/ ]|[^-_/ ]+", name) for name in names]

    def alike(columns: list[tuple[str, ...]]) -> int:
        return next((number for number, column in enumerate(columns) if len(set(column)) > 1), len(columns))

    # Something is left of the shortest.
    most = min(map(len, parts)) - 1 if len(names) > 1 else 0
    first = alike(list(zip(*parts, strict=False))[:most])
    last = alike(list(zip(*(each[::-1] for each in parts), strict=False))[: most - first])
    cut = ["".join(each[first : len(each) - last]) for each in parts]
    return "".join(parts[0][:first]), cut, "".join(parts[0][len(parts[0]) - last :])


def _box_labels(tests: Mapping[str, np.ndarray]) -> list[str]:
    """Set name, mean and median below each other, the numbers of all tests on one height."""
    names = [broken(name).split("\n") for name in tests]
    height = max(map(len, names))
    labels = []
    for lines, values in zip(names, tests.values(), strict=True):
        numbers = [f"mean {np.mean(values):.3f}", f"median {np.median(values):.3f}"]
        labels.append("\n".join([*lines, *[""] * (height - len(lines)), *numbers]))
    return labels


def _short(id: str) -> str:
    """An id that fits under its picture: of a long one, the middle is left out."""
    id = one_line(id)
    kept = (_CAPTION - 1) // 2
    return id if len(id) <= _CAPTION else f"{id[:kept]}\N{HORIZONTAL ELLIPSIS}{id[-kept:]}"


def broken(name: str, most: int = 18) -> str:
    """Break a name into lines of so many characters, where its parts meet if that is possible."""
    return "\n".join(re.findall(rf".{{1,{most - 1}}}(?:[-_/ ]|$)|.{{1,{most}}}", one_line(name)))


def _thumbnail(row: ImageResult) -> np.ndarray:
    """Draw one measured image small, (H, W, 3) uint8 BGR; shrunk first, so that lines stay visible."""
    image, *masks = _read(row)
    height, width = image.shape[:2]
    scale = _THUMBNAIL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = [cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for mask in masks]
    return outline_picture(cv2.resize(image, size, interpolation=cv2.INTER_AREA), *small)


def gray_ground(truth: np.ndarray) -> np.ndarray:
    """What stands in the place of an image that there is none of: (H, W) bool -> (H, W, 3) uint8 BGR."""
    return np.repeat(_GRAYS[truth.view(np.uint8), None], 3, 2)


def _read(row: ImageResult) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the image (H, W, 3) uint8 BGR, and the true and the predicted mask (H, W) bool.

    In the place of an image that there is none of stands the true mask, in two grays on which both outlines show.
    """
    truth, prediction = row.true_mask(), unpack_mask(row.prediction)
    image = gray_ground(truth) if row.image is None else read_image(row.image)
    if not image.shape[:2] == truth.shape == prediction.shape:
        raise DataError(
            f"{row.image or row.truth}: the image or its mask has changed since it was measured. Measure again."
        )
    return image, truth, prediction


def _stroke(colour: str, style: str) -> dict[str, Any]:
    return dict(color=colour, linewidth=1.6, linestyle=style)


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], color=(np.array(TRUTH_COLOUR) / 255).tolist(), linewidth=5, label="truth"),
        Line2D([], [], color=(np.array(PREDICTION_COLOUR) / 255).tolist(), linewidth=2, label="prediction"),
    ]


def encode_figure(figure: Figure, kind: str, dpi: int) -> bytes:
    """Make a file of a figure, of a kind such as `png` or `jpeg`."""
    # Without pyplot, which would keep every figure and may ask for a display.
    file = BytesIO()
    with warnings.catch_warnings():
        # Signs of other scripts become boxes, which nobody who has these names can help.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format=kind, dpi=dpi)
    return file.getvalue()
