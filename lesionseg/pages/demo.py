"""What one or two models find in a photograph, and how a page shows it."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import cv2
import numpy as np

from lesionseg.data.names import OVERLAY, image_id, mask_file
from lesionseg.errors import DataError
from lesionseg.evaluation.scores import JACCARD_THRESHOLD, Confusion, dice, jaccard
from lesionseg.inference.finder import Image, Prediction
from lesionseg.inference.opening import MODEL_FILE
from lesionseg.inference.postprocess import PostProcessing
from lesionseg.inference.segmenter import Segmenter
from lesionseg.pages import LESION
from lesionseg.pages.photographs import jpeg_url, read_photograph, working_size
from lesionseg.pixels.masks import count_components, encode_mask, lesion_pixels, read_mask
from lesionseg.pixels.outlines import PREDICTION_COLOUR, find_outlines, outline_picture
from lesionseg.pixels.pictures import data_url, encode_jpeg
from lesionseg.pixels.shrink import shrink_image, shrink_mask

_LETTERS = "AB"


@dataclass(frozen=True)
class Seen:
    """A photograph and what was found in it.

    Attributes:
        path: of the photograph.
        image: (H, W, 3) uint8 BGR.
        found: of each model, predictions by finding, not post-processed.
        truth: (H, W) bool, the true mask, or None.
    """

    path: str
    image: np.ndarray
    found: Sequence[Mapping[str, Prediction]]
    truth: np.ndarray | None

    @property
    def id(self) -> str:
        return image_id(Path(self.path).name)

    @property
    def findings(self) -> list[str]:
        """What any of the models looks for, in the order of the first one."""
        return list(dict.fromkeys(name for each in self.found for name in each))


def look(
    segmenters: Sequence[Segmenter], path: str, truth_path: str | None = None, earlier: Seen | None = None
) -> Seen:
    """Let models look at a photograph.

    Args:
        segmenters: the models; what they do to masks afterwards is left to `view`.
        path: of the photograph.
        truth_path: of its true mask, a gray picture of the same size.
        earlier: what was seen before; where it is of this photograph, no model looks again.

    Raises:
        DataError: one of the files is no such picture, both differ in size, or a model fails.
        OSError: a file cannot be read.
    """
    if earlier is None or earlier.path != path:
        image = read_photograph(path)
        predictions = [
            segmenter.predict_batch([Image(image, image_id(Path(path).name))])[0] for segmenter in segmenters
        ]
        earlier = Seen(path, image, [each.findings or {LESION: each} for each in predictions], None)
    truth = lesion_pixels(read_mask(truth_path)) if truth_path else None
    (height, width), size = earlier.image.shape[:2], truth.shape if truth is not None else None
    if size not in (None, (height, width)):
        assert size is not None
        raise DataError(
            f"{truth_path}: {size[1]}x{size[0]} pixels, expected the {width}x{height} of the photograph. Give the mask "
            "of this photograph."
        )
    return Seen(path, earlier.image, earlier.found, truth)


def masks(seen: Seen, finding: str, postprocess: PostProcessing) -> list[np.ndarray | None]:
    """The post-processed mask of each model, (H, W) bool; None of a model that does not look for the finding."""
    return [postprocess.apply(found[finding].mask) if finding in found else None for found in seen.found]


def agreement(seen: Seen, found: Sequence[np.ndarray | None]) -> str:
    """Say how far two models agree, as HTML; nothing of one model."""
    both = [mask for mask in found if mask is not None]
    if len(both) < 2:
        return ""
    counts = Confusion.from_masks(*both)
    return f"Dice between A and B <b>{dice(counts):.3f}</b>, Jaccard <b>{jaccard(counts):.3f}</b>"


def view(seen: Seen, number: int, name: str, finding: str, mask: np.ndarray | None) -> str:
    """Show what a model found, as HTML: outlines on the photograph, the soft mask over it, and figures below.

    Args:
        seen: the photograph.
        number: of the model.
        name: of the model.
        finding: that is shown.
        mask: (H, W) bool, of that finding; None where the model does not look for it.
    """
    size = working_size(*seen.image.shape[:2])
    layers = _layer(jpeg_url(shrink_image(seen.image, size)), "photograph")
    if mask is None:
        facts = [("", f"This model does not look for {finding}.")]
    else:
        soft = cv2.resize(seen.found[number][finding].probability, size, interpolation=cv2.INTER_AREA)
        layers += _layer(data_url(_soft_layer(soft), "image/png"), "soft")
        facts = _facts(seen, mask, seen.found[number][finding].expected_jaccard)
    layers += _outlines({"truth": seen.truth, "prediction": mask}, size)
    rows = "".join(f"<div><dt>{html.escape(term)}</dt><dd>{html.escape(fact)}</dd></div>" for term, fact in facts)
    letter = f"<b>{_LETTERS[number]}</b> " if len(seen.found) > 1 else ""
    return (
        f'<figure class="view"><figcaption>{letter}{html.escape(name)}</figcaption>'
        f'<div class="layers">{layers}</div><dl>{rows}</dl></figure>'
    )


def downloads(seen: Seen, mask: np.ndarray) -> dict[str, bytes]:
    """The files of a mask by their names: as `tools/predict.py` writes mask and overlay."""
    overlay = outline_picture(seen.image, prediction=mask)
    return {mask_file(seen.id): encode_mask(mask), f"{seen.id}{OVERLAY}": encode_jpeg(overlay)}


def model_name(path: str | PathLike) -> str:
    """What a model is called in a page: its file without suffix, or the folder that the exported one lies in.

    Example:
        >>> model_name("work_dirs/export/model.onnx"), model_name("best.onnx")
        ('export', 'best')
    """
    path = Path(path)
    if path.name == MODEL_FILE and path.resolve().parent.name:
        return path.resolve().parent.name
    return path.resolve().name if path.is_dir() else path.stem


def _outlines(named: Mapping[str, np.ndarray | None], size: tuple[int, int]) -> str:
    """Masks as paths of `size`, (width, height), which stay sharp at every zoom; demo.css says how each looks."""
    paths = ""
    for name, mask in named.items():
        if mask is not None:
            # From the middle of a pixel to that of the next.
            lines = [
                "M" + " ".join(f"{x + 0.5},{y + 0.5}" for x, y in outline[:, 0].tolist()) + "z"
                for outline in find_outlines(shrink_mask(mask.view(np.uint8), size) > 0)
            ]
            paths += f'<path class="{name}" d="{"".join(lines)}"/>'
    return f'<svg viewBox="0 0 {size[0]} {size[1]}">{paths}</svg>'


def _layer(url: str, name: str) -> str:
    return f'<img class="{name}" alt="{name}" src="{url}">'


def _soft_layer(probability: np.ndarray) -> bytes:
    """A PNG in the colour of predictions, as opaque as (h, w) float32 in 0..1 is sure."""
    picture = np.empty((*probability.shape, 4), np.uint8)
    picture[..., :3] = PREDICTION_COLOUR[::-1]
    picture[..., 3] = cv2.convertScaleAbs(probability, alpha=255)
    done, data = cv2.imencode(".png", picture)
    assert done
    return data.tobytes()


def _facts(seen: Seen, mask: np.ndarray, expected: float | None) -> list[tuple[str, str]]:
    pixels = int(np.count_nonzero(mask))
    facts = [
        ("Area", f"{pixels / mask.size:.2%} of the photograph, {pixels:,} pixels"),
        ("Parts", str(count_components(mask.astype(np.uint8)))),
    ]
    if expected is not None:
        doubt = f", below {JACCARD_THRESHOLD}: look at it with care" if expected < JACCARD_THRESHOLD else ""
        facts.append(("Expected Jaccard", f"{expected:.2f}{doubt}"))
    if seen.truth is not None:
        counts = Confusion.from_masks(seen.truth, mask)
        facts.append(("Against the truth", f"Dice {dice(counts):.3f}, Jaccard {jaccard(counts):.3f}"))
    return facts
