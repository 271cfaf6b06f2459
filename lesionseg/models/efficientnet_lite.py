"""EfficientNet-Lite0 as a backbone, which starts from ImageNet weights that come as a Python package."""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from mmdet.models.backbones import EfficientNet
from mmengine.registry import MODELS
from torch import Tensor, nn

from lesionseg.errors import DataError
from lesionseg.models.fit import misfits
from lesionseg.models.imagenet import imagenet_weights


# In MMEngine's root registry, where the configs of MMSegmentation and of MMDetection both find it.
@MODELS.register_module()
class SamePaddingConv2d(Conv2dAdaptivePadding):
    """A convolution with TensorFlow's padding "same", which pads as it convolves where both sides get as much.

    MMCV's makes a padded copy of every map first, and its export takes the size of the traced map for that of all. With
    a stride, the padding depends on what is left of an edge divided by it: an export has to keep to multiples.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._spans = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        if self.stride == (1, 1):
            self.padding = tuple(span // 2 for span in self._spans)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        if self.stride != (1, 1):
            sides: list[int] = []
            for edge, span, stride in zip(x.shape[2:], self._spans, self.stride, strict=True):
                padding = max(span - (int(edge) % stride or stride), 0)
                sides = [padding // 2, padding - padding // 2, *sides]
            x = nn.functional.pad(x, sides)
        return nn.Conv2d.forward(self, x)


@MODELS.register_module()
class EfficientNetLite0(EfficientNet):
    """EfficientNet-Lite0: B0 without attention to channels, and with ReLU6 for Swish; so it can be quantised.

    Of Tan and Le 2019 (arXiv 1905.11946) and TensorFlow's
    [Lite variants](https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). Images are RGB
    with mean and standard deviation 127.5.

    Args:
        out_indices: the stages, 1 to 6, that give a map (N, C, H / stride, W / stride): C is 16, 24, 40, 112, 320, 1280
            and the stride 2, 4, 8, 16, 32, 32. What is above the last of them is left out.
        imagenet_weights: begin a training with weights that have learned ImageNet's classes, of the extra `pretrained`.
            Nothing else reads them.
        settings: MMDetection's others, such as `drop_path_rate`.
    """

    layer_settings = {  # noqa: RUF012  Upstream's, read only.
        "b": [
            [[kernel, channels, 0, stride, expansion, kind] for kernel, channels, _, stride, expansion, kind in stage]
            for stage in EfficientNet.layer_settings["b"]
        ]
    }

    def __init__(
        self, out_indices: Sequence[int] = (2, 3, 4, 5), imagenet_weights: bool = False, **settings: Any
    ) -> None:
        conv, activation = dict(type="SamePaddingConv2d"), dict(type="ReLU6")
        super().__init__("b0", out_indices=tuple(out_indices), conv_cfg=conv, act_cfg=activation, **settings)
        self.imagenet_weights = imagenet_weights

    def init_weights(self) -> None:
        """Begin with ImageNet weights, where they are asked for, or as MMDetection begins.

        Raises:
            DataError: the package with the weights is not installed, or holds others.
        """
        if not self.imagenet_weights:
            super().init_weights()
            return
        self._is_init = True
        path, wanted = imagenet_weights(), self.state_dict()
        # The file has other names, and the same order: its hash says so.
        weights = dict(zip(wanted, torch.load(path, weights_only=True).values(), strict=False))
        if faults := misfits(wanted, weights):
            raise DataError(
                f"{path}: does not fit this EfficientNetLite0: {', '.join(faults)}, expected its layers unchanged. "
                "Remove what changes them from the config's backbone, or set imagenet_weights=False."
            )
        self.load_state_dict(weights)
