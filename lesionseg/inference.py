"""One class, one call: an image in, its lesion out, by PyTorch or by an exported model alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from lesionseg.deploy.engines import Model, is_onnx, open_model
from lesionseg.deploy.pipeline import (
    MASK_THRESHOLD,
    Prepared,
    above_half,
    class_shares,
    lesion_detections,
    lesion_map,
    margin,
    original_scores,
    prepare,
    probability_of_margin,
)
from lesionseg.engine.families import SEMANTIC
from lesionseg.errors import DataError
from lesionseg.files import write_bytes
from lesionseg.pixels.masks import encode_mask
from lesionseg.pixels.pictures import read_image
from lesionseg.postprocess import PostProcessing

# Beside the image as it is, those of the configs' tta_pipeline: by the axes of (H, W) that are turned around.
_FLIPS = ((1,), (0,), (0, 1))


@dataclass(frozen=True)
class Prediction:
    """What was found in one image, on its original pixels.

    Attributes:
        mask: (H, W) bool, True = lesion.
        probability: (H, W) float32, 0..1, how sure the model is, not calibrated. Above 0.5 it is the mask as it was
            before post-processing.
        boxes: (K, 4) float32, left, top, right, bottom of the instances that make up the mask, the best-scored
            first; None from semantic segmentation.
        scores: (K,) float32, 0..1, theirs; None from semantic segmentation.
    """

    mask: np.ndarray
    probability: np.ndarray
    boxes: np.ndarray | None = None
    scores: np.ndarray | None = None


class Segmenter:
    """Finds the lesion in images.

    `Segmenter("model.onnx")` needs numpy, OpenCV and onnxruntime only, and may be called from several threads at
    once; `Segmenter("config.py", "checkpoint.pth")` runs PyTorch.

    Args:
        model: an ONNX file of `tools/export.py`, the folder that it wrote, a config, or what is opened already.
        checkpoint: a `.pth` file, for a config.
        tta: average over the image and its three flipped copies.
        postprocess: what is done to masks; by default nothing.
        min_score: for Mask R-CNN, the least score of an instance, 0..1; None takes what the model was tested with.
        instances: for Mask R-CNN, `union` or `top1`; None takes what the model was tested with.
        engine: what runs an ONNX file, see `lesionseg.deploy.engines.ENGINES`.
        device: for PyTorch, such as `cpu`; None takes the GPU where there is one.
        threads: CPU threads; None lets the engine choose.

    Raises:
        DataError: the model cannot be used.
    """

    def __init__(
        self,
        model: str | PathLike | Model,
        checkpoint: str | PathLike | None = None,
        *,
        tta: bool = False,
        postprocess: PostProcessing | None = None,
        min_score: float | None = None,
        instances: str | None = None,
        engine: str = "onnxruntime",
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        is_path = isinstance(model, (str, PathLike))
        self.model = _open(model, checkpoint, engine, device, threads) if is_path else model
        card = self.model.card
        if card.task == SEMANTIC and (min_score is not None or instances is not None):
            raise DataError(f"{model}: has no instances to choose from, expected a Mask R-CNN. Leave the choice out.")
        self.card = replace(
            card,
            min_score=card.min_score if min_score is None else min_score,
            score_rule=instances or card.score_rule,
        )
        self.tta = tta
        self.postprocess = postprocess or PostProcessing()

    def predict(self, image: str | PathLike | np.ndarray) -> Prediction:
        """Find the lesion in one image.

        Args:
            image: a picture file of any type, or (H, W, 3) uint8 with the channels blue, green, red, as
                `cv2.imread` gives them.

        Raises:
            DataError: the file cannot be read, or the array is no such image.
        """
        return self.predict_batch([image])[0]

    def predict_mask(self, image_path: str | PathLike, output_path: str | PathLike | None = None) -> np.ndarray:
        """Find the lesion in a picture file, as a mask file has it.

        Args:
            image_path: a picture file.
            output_path: where to write the mask, a PNG in the image's size.

        Returns:
            (H, W) uint8 gray, 0 = skin and 255 = lesion.

        Raises:
            DataError: the file cannot be read.
        """
        mask = self.predict(image_path).mask
        if output_path is not None:
            write_bytes(output_path, encode_mask(mask))
        return np.where(mask, np.uint8(255), np.uint8(0))

    def predict_batch(self, images: Sequence[str | PathLike | np.ndarray]) -> list[Prediction]:
        """Find the lesions in several images, in one run of the model if they are of one size; see `predict`."""
        arrays = [as_image(image) for image in images]
        if len({array.shape for array in arrays}) > 1:
            return [self.predict(array) for array in arrays]
        views = [self._outputs(arrays)]
        if self.tta:
            for axes in _FLIPS:
                views.append(self._outputs([np.ascontiguousarray(np.flip(array, axes)) for array in arrays]))
        join = self._join_semantic if self.card.task == SEMANTIC else self._join_instances
        found = [join([view[number] for view in views]) for number in range(len(arrays))]
        return [replace(one, mask=self.postprocess.apply(one.mask)) for one in found]

    def _outputs(self, images: Sequence[np.ndarray]) -> list[tuple[Prepared, list[np.ndarray]]]:
        """Run the model on images of one size: for each, how it went in, and what came out."""
        prepared = [prepare(image, self.card) for image in images]
        outputs = self.model.run(np.stack([image.tensor for image in prepared]))
        return [(image, [output[number] for output in outputs]) for number, image in enumerate(prepared)]

    def _join_semantic(self, views: Sequence[tuple[Prepared, list[np.ndarray]]]) -> Prediction:
        # One after another, and in place: these maps have the size of the original image.
        maps = (original_scores(outputs[0], image) for image, outputs in views)
        scores = next(maps)
        if len(views) > 1:
            # MMSegmentation's way to join them (SegTTAModel).
            scores = class_shares(scores)
            for axes in _FLIPS:
                scores += np.flip(class_shares(next(maps)), [axis + 1 for axis in axes])
            np.log(scores, out=scores)
        lead = margin(scores)
        del scores
        return Prediction(lead > 0, probability_of_margin(lead, self.card.score_rule))

    def _join_instances(self, views: Sequence[tuple[Prepared, list[np.ndarray]]]) -> Prediction:
        (first, outputs), *flipped = views
        # The boxes are those of the image as it is.
        detections = lesion_detections(*outputs, first, self.card)
        soft = lesion_map(detections, first)
        for (image, outputs), axes in zip(flipped, _FLIPS, strict=False):
            soft += np.flip(lesion_map(lesion_detections(*outputs, image, self.card), image), axes)
        soft /= len(views)
        mask = soft >= MASK_THRESHOLD
        return Prediction(mask, above_half(soft, mask), detections.boxes, detections.scores)


def as_image(image: str | PathLike | np.ndarray) -> np.ndarray:
    """Read a picture file, or check an array: (H, W, 3) uint8 BGR.

    Raises:
        DataError: the file cannot be read, or the array is no such image.
    """
    if isinstance(image, (str, PathLike)):
        return read_image(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise DataError(
            f"image: an array of shape {image.shape} and type {image.dtype}, expected (H, W, 3) uint8, blue, green, "
            "red. Read it with cv2.imread."
        )
    return image


def _open(
    model: str | PathLike, checkpoint: str | PathLike | None, engine: str, device: str | None, threads: int | None
) -> Model:
    if is_onnx(model) or Path(model).suffix != ".py":
        if checkpoint is not None:
            raise DataError(f"{model}: an exported model needs no checkpoint, but there is {checkpoint}. Leave it out.")
        return open_model(model, engine, threads)
    if checkpoint is None:
        raise DataError(f"{model}: a config alone has no weights, expected a checkpoint, too. Add the .pth file.")
    import torch

    from lesionseg.deploy.torch_model import TorchModel
    from lesionseg.engine.config import Options

    if threads:
        torch.set_num_threads(threads)
    if device is not None:
        _check_device(device)
    return TorchModel(Options(str(model)), checkpoint, device)


def _check_device(device: str) -> None:
    """Raise DataError for a device that torch does not know, or that is not there."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{device}: no such device here ({reason}), expected cpu or cuda. Choose another.") from error
