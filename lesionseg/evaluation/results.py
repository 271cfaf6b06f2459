"""What is kept of every measured image: counts and the prediction in compact form, never pixels."""

from dataclasses import dataclass

from lesionseg.evaluation.scores import Confusion, per_image_scores, precision


@dataclass(frozen=True)
class ImageResult:
    """One measured image.

    Attributes:
        id: of the image, see `lesionseg.data.names.image_id`.
        image: path of the image; None where masks alone were given.
        truth: path of its true mask.
        counts: pixels of the original image.
        prediction: the predicted mask as COCO's compressed RLE, a few kB even at ten megapixels.
    """

    id: str
    image: str | None
    truth: str
    counts: Confusion
    prediction: dict

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
        )
