"""What is kept of every measured image: counts and the prediction in compact form, never pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lesionseg.evaluation.scores import Confusion, mean_scores, per_image_scores, precision
from lesionseg.pixels.findings import Label, read_finding


@dataclass(frozen=True)
class ImageResult:
    """One measured image, or one finding in it.

    Attributes:
        id: of the image, see `lesionseg.data.names.image_id`; of one of several findings, `<finding>/<id>`.
        image: path of the image; None where masks alone were given.
        truth: path of its true mask.
        counts: pixels of the original image.
        prediction: the predicted mask as COCO's compressed RLE, a few kB even at ten megapixels.
        finding: which one, where there are several; else empty.
        label: of the finding, where the true mask is a labelled file.
        remark: why the prediction is what it is, for a caption; empty where there is nothing to say.
        numbers: how sure the method is of its mask, and the Jaccard that was expected of it, by name, 0..1; see
            `lesionseg.evaluation.failures`.
    """

    id: str
    image: str | None
    truth: str
    counts: Confusion
    prediction: dict
    finding: str = ""
    label: Label | None = None
    remark: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    def true_mask(self) -> np.ndarray:
        """Read the true mask again: (H, W) bool, True = lesion.

        Raises:
            DataError: its file cannot be read.
        """
        return read_finding(self.truth, self.label)

    @property
    def image_id(self) -> str:
        """The id of the image, whatever was found in it."""
        return self.id.removeprefix(f"{self.finding}/") if self.finding else self.id

    @property
    def scores(self) -> dict[str, float]:
        return per_image_scores(self.counts)

    def row(self) -> dict[str, str | int | float | None]:
        """List everything but the mask, as a line of a table."""
        counts = self.counts
        return dict(
            id=self.id,
            image=self.image,
            truth=self.truth,
            **self.scores,
            precision=precision(counts),
            tp=counts.tp,
            tn=counts.tn,
            fp=counts.fp,
            fn=counts.fn,
            truth_share=(counts.tp + counts.fn) / counts.pixels,
            prediction_share=(counts.tp + counts.fp) / counts.pixels,
            **self.numbers,
        )


def by_finding(table: Sequence[ImageResult]) -> dict[str, list[ImageResult]]:
    """The rows of each finding, in the order of their names; where there is but one kind, under an empty name."""
    names = sorted({row.finding for row in table})
    return {name: [row for row in table if row.finding == name] for name in names}


def finding_means(table: Sequence[ImageResult]) -> dict[str, dict[str, float]]:
    """The mean scores over images of each finding, by its name; none where there is but one kind."""
    return {name: mean_scores([row.scores for row in rows]) for name, rows in by_finding(table).items() if name}


def means(table: Sequence[ImageResult]) -> dict[str, float]:
    """The mean scores over images; of several findings, each counts as much as another, however many have it."""
    findings = finding_means(table)
    return mean_scores(list(findings.values()) or [row.scores for row in table])
