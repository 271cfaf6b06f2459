"""How a COCO file was made of masks, as it says itself, and how it is made again."""

import shlex
from collections.abc import Mapping
from typing import Any

from lesionseg.data.coco.convert import CATEGORY, Style


def style_of(info: Mapping[str, Any]) -> Style | None:
    """How a COCO file was made of masks; None where it does not say so, or not exactly: polygons have no holes.

    Args:
        info: the entry of that name in the file.
    """
    if not str(info.get("version")).startswith("lesionseg ") or info.get("segmentation") != "RLE":
        return None
    instances, min_area = info.get("instances"), info.get("min_area")
    if instances not in ("whole", "components") or type(min_area) is not int:
        return None
    return Style(str(instances), min_area)


def remake_command(data_root: str, style: Style, category: str) -> str:
    """The command that makes the COCO files of a data set folder again, as a message tells it."""
    arguments = [data_root, "--overwrite"]
    for flag, value, usual in (
        ("--instances", style.instances, Style.instances),
        ("--min-area", str(style.min_area), str(Style.min_area)),
        ("--category", category, CATEGORY),
    ):
        arguments += [] if value == usual else [flag, value]
    return f"tools/masks2coco.py {shlex.join(arguments)}"
