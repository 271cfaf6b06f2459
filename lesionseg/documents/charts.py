"""Histograms as SVG, which follow the page's colours, and are there at once where Matplotlib takes a second to load."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lesionseg.documents.page import text

_WIDTH, _HEIGHT, _FOOT = 320, 120, 18
_BARS = 24


def histogram(title: str, values: Sequence[float], form: str = ".2f", whole: bool = False, note: str = "") -> str:
    """Show how values spread.

    Args:
        title: what they are.
        values: numbers, 0 or more, without NaN; nothing is shown of none.
        form: how one is written, as `format` takes it.
        whole: whether they are whole numbers, a bar each up to 7, where the last is for all that are larger.
        note: a line below.
    """
    if not len(values):
        return ""
    numbers = np.asarray(values, np.float64)
    if whole:
        last = int(min(7, numbers.max()))
        counts = np.bincount(np.minimum(numbers, last).astype(int), minlength=last + 1)
        names = [*map(str, range(last)), f"{last}{'+' if numbers.max() > last else ''}"]
        labels = [((number + 0.5) / len(counts), "middle", name) for number, name in enumerate(names)]
    else:
        counts, edges = np.histogram(numbers, _BARS, (0, float(numbers.max()) or 1.0))
        names = [f"{format(low, form)} to {format(high, form)}" for low, high in pairwise(edges)]
        places = ((0, 0.0, "start"), (_BARS // 2, 0.5, "middle"), (_BARS, 1.0, "end"))
        labels = [(place, anchor, format(edges[number], form)) for number, place, anchor in places]
    step, most = _WIDTH / len(counts), int(counts.max())
    bars = "".join(
        f'<rect x="{number * step + 1:.1f}" y="{_HEIGHT * (1 - count / most):.1f}" width="{step - 2:.1f}" '
        f'height="{_HEIGHT * count / most:.1f}"><title>{text(name)}: {count}</title></rect>'
        for number, (count, name) in enumerate(zip(counts.tolist(), names, strict=True))
        if count
    )
    marks = "".join(
        f'<text x="{place * _WIDTH:.1f}" y="{_HEIGHT + 14}" text-anchor="{anchor}">{text(label)}</text>'
        for place, anchor, label in labels
    )
    about = f"{title}: from {format(numbers.min(), form)} to {format(numbers.max(), form)}, median "
    about += format(float(np.median(numbers)), form)
    below = f"<p>{text(note)}</p>" if note else ""
    return (
        f'<figure class="chart"><figcaption>{text(title)}</figcaption>'
        f'<svg viewBox="0 -14 {_WIDTH} {_HEIGHT + _FOOT + 14}" role="img" aria-label="{text(about)}">{bars}'
        f'<line x1="0" x2="{_WIDTH}" y1="{_HEIGHT}" y2="{_HEIGHT}"/>{marks}'
        f'<text x="{_WIDTH}" y="-4" text-anchor="end">at most {most} a bar</text></svg>{below}</figure>'
    )
