"""A batch on its way to the model, as one tensor and not image by image.

Upstream takes the images of a batch one by one, which waits for the GPU several times an image. Results are upstream's,
to the bit.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS as DETECTORS
from mmengine.model import ImgDataPreprocessor
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional

from lesionseg.models.transfer import on_device, padded_on_device, stacked_on_device


@MODELS.register_module()
class BatchSegDataPreProcessor(SegDataPreProcessor):
    """Copies, normalises and pads the images of a training's batch together.

    Images of different sizes, and what is not trained on, are upstream's matter.
    """

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Bring a batch to the model's device and into its range.

        Args:
            data: `inputs`, uint8 or float (3, H, W) each; `data_samples`, whose `gt_sem_seg` is (1, H, W) int64, of
                0..255.
            training: whether it is trained on.

        Returns:
            `inputs`, (N, 3, H, W) float32, and `data_samples`.
        """
        images, samples = data["inputs"], data.get("data_samples")
        if not training or not samples or not self._is_uniform(images, samples):
            return super().forward(data, training)
        inputs = _normalised(self, stacked_on_device(images, self.device))
        # Classes fit into bytes, of which there are an eighth as many to copy.
        labels = stacked_on_device([sample.gt_sem_seg.data.byte() for sample in samples], self.device).long()
        size = inputs.shape[2:]
        padding = self._padding(*size)
        if any(padding):
            inputs = functional.pad(inputs, padding, value=self.pad_val)
            labels = functional.pad(labels, padding, value=self.seg_pad_val)
        told = dict(img_shape=size, pad_shape=labels.shape[2:], padding_size=padding)
        return dict(inputs=inputs, data_samples=labelled(samples, labels, **told))

    def _is_uniform(self, images: list[Tensor], samples: list[SegDataSample]) -> bool:
        """Whether a batch is of one size, and labelled by classes alone."""
        shapes = {tuple(image.shape) for image in images}
        return (
            len(shapes) == len({image.dtype for image in images}) == 1
            and self.batch_augments is None
            and all(sample.keys() == ["gt_sem_seg"] for sample in samples)
            and {tuple(sample.gt_sem_seg.data.shape[1:]) for sample in samples} == {shape[1:] for shape in shapes}
        )

    def _padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """How much is added to the left, to the right, at the top and at the bottom."""
        if self.size is not None:
            return 0, max(self.size[1] - width, 0), 0, max(self.size[0] - height, 0)
        return 0, -width % self.size_divisor, 0, -height % self.size_divisor


def labelled(samples: Sequence[SegDataSample], labels: Tensor, **told: Any) -> list[SegDataSample]:
    """Samples with other labels, (N, 1, H, W) int64, and with what is told of them besides what they tell."""
    return [
        SegDataSample(metainfo=sample.metainfo | told, gt_sem_seg=PixelData(data=label))
        for sample, label in zip(samples, labels, strict=True)
    ]


class _BatchImages(ImgDataPreprocessor):
    """Copies, normalises and pads images of any sizes together, each to the size of the largest."""

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        images = data["inputs"]
        if not training or len({image.dtype for image in images}) > 1:
            return super().forward(data, training)
        sizes = torch.tensor([image.shape[1:] for image in images])
        height, width = (-(-edge // self.pad_size_divisor) * self.pad_size_divisor for edge in sizes.amax(0).tolist())
        inputs = _normalised(self, padded_on_device(images, height, width, self.device))
        beyond = _beyond(on_device(sizes, self.device), height, width)
        inputs = inputs.masked_fill(beyond[:, None], self.pad_value)
        return dict(inputs=inputs, data_samples=self.cast_data(data["data_samples"]))


@DETECTORS.register_module()
class BatchDetDataPreprocessor(DetDataPreprocessor, _BatchImages):
    """Treats the images of a training's batch together, where MMDetection's calls its parent class for that.

    Args:
        non_blocking: whether the host goes on while the true boxes are still being copied.
        kwargs: as of MMDetection's.
    """

    def __init__(self, non_blocking: bool = True, **kwargs: Any) -> None:
        super().__init__(non_blocking=non_blocking, **kwargs)


def _normalised(preprocessor: ImgDataPreprocessor, images: Tensor) -> Tensor:
    """Bring the channels of images (N, C, H, W) into the model's order and range, float32."""
    if preprocessor._channel_conversion and images.shape[1] == 3:
        images = images.flip(1)
    images = images.float()
    return (images - preprocessor.mean) / preprocessor.std if preprocessor._enable_normalize else images


def _beyond(sizes: Tensor, height: int, width: int) -> Tensor:
    """Which pixels of a batch lie beyond their image: `sizes` (N, 2), heights and widths, -> (N, H, W) bool."""
    rows, columns = (torch.arange(edge, device=sizes.device) for edge in (height, width))
    return (rows >= sizes[:, :1])[:, :, None] | (columns >= sizes[:, 1:])[:, None]
