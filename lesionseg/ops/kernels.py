"""torchvision, whose wheels hold compiled operators for every torch; they stand in `torch.ops.torchvision` then."""

import torch

from lesionseg.errors import DataError

try:
    import torchvision
except (ImportError, RuntimeError) as error:
    said = " ".join(str(error).split())
    raise DataError(
        f"torchvision: does not load beside torch {torch.__version__} ({said}), expected a build for it. "
        "tools/check_env.py tells how to get it."
    ) from error

__all__ = ["torchvision"]
