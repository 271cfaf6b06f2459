"""One class, one call: an image in, its lesion out, by PyTorch, by an exported model alone, or by another method."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lesionseg.data.names import image_id
from lesionseg.errors import DataError
from lesionseg.files import write_bytes
from lesionseg.inference.finder import Finder, Image, Prediction
from lesionseg.inference.network import Network
from lesionseg.inference.opening import ONNXRUNTIME, open_finder
from lesionseg.inference.postprocess import PostProcessing
from lesionseg.inference.runtimes.model import Model
from lesionseg.inference.runtimes.model_card import LESION
from lesionseg.pixels.masks import encode_mask
from lesionseg.pixels.pictures import MAX_PIXELS, read_image
from lesionseg.system_errors import describe_system_error

if TYPE_CHECKING:
    import PIL.Image


class Segmenter:
    """Finds the lesion in images.

    `Segmenter("model.onnx")` needs numpy, OpenCV and onnxruntime only, and may be called from several threads at
    once; `Segmenter("config.py", "checkpoint.pth")` runs PyTorch.

    Args:
        model: an ONNX file of `tools/export.py`, the folder that it wrote, a config, `otsu-blue`, or what is opened
            already.
        checkpoint: a `.pth` file, for a config.
        tta: average over the image and its three flipped copies.
        postprocess: what is done to masks; by default nothing.
        min_score: for Mask R-CNN, the least score of an instance, 0..1; None takes what the model was tested with.
        instances: for Mask R-CNN, `union` or `top1`; None takes what the model was tested with.
        engine: what runs an ONNX file, one of `lesionseg.inference.opening.ENGINES`.
        device: for PyTorch, such as `cpu`; None takes the GPU where there is one.
        threads: CPU threads; None lets the engine choose.

    Raises:
        DataError: the model cannot be used.

    Example:
        >>> segmenter = Segmenter("model.onnx", postprocess=PostProcessing(largest=True))
        >>> segmenter.predict("a.jpg").mask.shape  # (H, W) bool
        (72, 96)
    """

    def __init__(
        self,
        model: str | PathLike | Model | Finder,
        checkpoint: str | PathLike | None = None,
        *,
        tta: bool = False,
        postprocess: PostProcessing | None = None,
        min_score: float | None = None,
        instances: str | None = None,
        engine: str = ONNXRUNTIME,
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        if isinstance(model, (str, PathLike)):
            model = open_finder(
                model,
                checkpoint,
                tta=tta,
                min_score=min_score,
                instances=instances,
                engine=engine,
                device=device,
                threads=threads,
            )
        elif not isinstance(model, Finder):
            model = Network(model, tta=tta, min_score=min_score, instances=instances)
        self.finder = model
        self.postprocess = postprocess or PostProcessing()

    @property
    def findings(self) -> tuple[str, ...]:
        """What is told apart in an image, see `Prediction`; none where that is but the lesion."""
        card = getattr(self.finder, "card", None)
        return card.findings if card else ()

    @property
    def lesion_name(self) -> str:
        """What is found, in the words of the model's classes, such as `nail`."""
        card = getattr(self.finder, "card", None)
        return card.lesion_name if card else LESION

    def settings(self) -> dict[str, object]:
        """What decides what is found, by name and as JSON can hold it: those of a run that is taken up again."""
        card = getattr(self.finder, "card", None)
        model = card.properties() if card else str(getattr(self.finder, "folder", type(self.finder).__name__))
        return dict(model=model, tta=getattr(self.finder, "tta", False), masks=asdict(self.postprocess))

    def predict(self, image: "str | PathLike | np.ndarray | PIL.Image.Image") -> Prediction:
        """Find the lesion in one image.

        Args:
            image: a picture file of any type; (H, W, 3) uint8 with the channels blue, green, red, as `cv2.imread`
                gives them; or a picture of Pillow.

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

    def predict_batch(
        self, images: "Sequence[str | PathLike | np.ndarray | PIL.Image.Image | Image]"
    ) -> list[Prediction]:
        """Find the lesions in several images, in one run of the model if they are of one size; see `predict`.

        Of no images, it finds nothing: an empty list.
        """
        if not len(images):
            return []
        return [self._processed(found) for found in self.finder.find([as_image(image) for image in images])]

    def _processed(self, found: Prediction) -> Prediction:
        if not found.findings:
            return replace(found, mask=self.postprocess.apply(found.mask))
        findings = {name: self._processed(part) for name, part in found.findings.items()}
        return replace(found, mask=np.any([part.mask for part in findings.values()], axis=0), findings=findings)


def as_image(image: "str | PathLike | np.ndarray | PIL.Image.Image | Image") -> Image:
    """Read a picture file, turn a picture of Pillow upright, or check an array of (H, W, 3) uint8 BGR.

    Raises:
        DataError: the file cannot be read, or the array is no such image.
    """
    if isinstance(image, Image):
        return image
    if isinstance(image, (str, PathLike)):
        try:
            return Image(read_image(image, MAX_PIXELS), image_id(Path(image).name))
        except OSError as error:
            raise DataError(describe_system_error(error)) from error
    # Who has such a picture has loaded Pillow, which is not needed otherwise.
    if "PIL.Image" in sys.modules and isinstance(image, sys.modules["PIL.Image"].Image):
        from PIL import ImageOps

        return Image(np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[..., ::-1].copy())
    if not isinstance(image, np.ndarray):
        raise DataError(
            f"image: {type(image).__name__}, expected a path, an array or a picture of Pillow. cv2.imread gives None "
            "for what it cannot read: give the path in its place, and what is wrong with the file is told."
        )
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise DataError(
            f"image: an array of shape {image.shape} and type {image.dtype}, expected (H, W, 3) uint8, blue, green, "
            "red. Read it with cv2.imread."
        )
    return Image(image)
