"""Where the configs and tools are that come with this package: beside it in a checkout, inside of it elsewhere."""

import os
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(folder: str) -> Path:
    """One of the folders `configs` and `tools`."""
    inside = _PACKAGE / "shipped" / folder
    return inside if inside.is_dir() else _PACKAGE.parent / folder


def find_config(given: str) -> str:
    """The path of a config that is given by path or, where it comes with this package, by name.

    Args:
        given: a path; or one of this package's configs, as `name`, `name.py` or `configs/.../name.py`.

    Returns:
        `given` itself where there is such a file, or no config that is called so.

    Example:
        >>> Path(find_config("mask-rcnn_r50_fpn_1xb8-amp-10k_isic2018-512x512")).parent.name
        'mask_rcnn'
    """
    if os.path.exists(given):
        return given
    path = Path(given)
    ours = config_paths().get(path.name.removesuffix(".py"))
    if ours and (len(path.parts) == 1 or path.parts == ("configs", *ours.relative_to(shipped("configs")).parts)):
        return str(ours)
    return given


@cache
def config_paths() -> dict[str, Path]:
    """The configs of models that come with this package, by name, in the order of their folders."""
    folder = shipped("configs")
    # What begins with an underscore is for other configs to inherit from; a deploy config is of no model.
    found = (path for path in sorted(folder.glob("*/*.py")) if path.parent.name not in ("_base_", "deploy"))
    return {path.stem: path for path in found}
