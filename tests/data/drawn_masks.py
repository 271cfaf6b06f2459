"""Draws data set folders of everything that a mask can be."""

import cv2
import numpy as np
import pytest
from helpers import draw_pair

from lesionseg.data.coco.convert import Style, masks_to_coco
from lesionseg.errors import DataError
from lesionseg.pixels.masks import encode_mask

HEIGHT, WIDTH = 30, 43
WHOLE, COMPONENTS = Style(), Style("components")


def drawn_masks() -> dict[str, np.ndarray]:
    """(H, W) uint8 in {0, 1} of everything that a mask can be."""
    masks = {
        name: np.zeros((HEIGHT, WIDTH), np.uint8) for name in ("border", "corner", "empty", "hole", "pixel", "two")
    }
    masks["border"][:, :9] = 1
    masks["border"][25:, 20:] = 1
    masks["corner"][29, 42] = masks["corner"][28, 41] = 1
    masks["hole"][5:20, 10:30] = 1
    masks["hole"][8:15, 15:22] = 0
    masks["hole"][10:12, 17:19] = 1
    masks["pixel"][17, 5] = 1
    masks["two"][2:4, 30:33] = 1
    masks["two"][20:28, 1:8] = 1
    return masks | {"full": np.ones((HEIGHT, WIDTH), np.uint8), "noise": noise(0)}


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (HEIGHT, WIDTH), np.uint8)


def write_pair(folder, split, name, mask):
    for kind, file, data in (
        ("images", f"{name}.jpg", cv2.imencode(".jpg", draw_pair(0, *mask.shape)[0])[1].tobytes()),
        ("annotations", f"{name}.png", encode_mask(mask)),
    ):
        path = folder / kind / split / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def draw_folder(tmp_path):
    """A data set folder of all drawn masks, in a sub-folder, and another size in validation."""
    folder = tmp_path / "ISIC"
    for name, mask in drawn_masks().items():
        write_pair(folder, "training", f"a/{name}", mask)
    write_pair(folder, "validation", "ISIC_0000001", draw_pair(1, 50, 36)[1])
    return folder


def json_path(folder, split="training"):
    return folder / "annotations" / f"instances_{split}.json"


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(folder, style=WHOLE, **options):
    """Check that nothing is written, and give the lines of the error."""
    before = tree(folder)
    with pytest.raises(DataError) as error:
        masks_to_coco(folder, style, **options)
    assert tree(folder) == before
    return str(error.value).splitlines()
