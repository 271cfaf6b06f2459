"""Finds masks that were changed after the instances of their COCO file had been made of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lesionseg.data.coco.convert import Style
from lesionseg.data.coco.made import remake_command, style_of
from lesionseg.data.coco.segmentation import decode_segmentation, split_instances
from lesionseg.data.datasets.instances import LesionCocoDataset
from lesionseg.data.datasets.mask_cache import packed_mask
from lesionseg.errors import first_names
from lesionseg.pixels.masks import lesion_pixels, read_mask
from lesionseg.workers import map_files


def note_edited_masks(dataset: LesionCocoDataset, samples: Sequence[Mapping[str, Any]]) -> str | None:
    """Compare the masks that scores are measured against with the instances that average precisions are.

    Args:
        dataset: with its masks.
        samples: of all its images.

    Returns:
        what to tell, in one line; None where all agree, or cannot be compared: only `tools/masks2coco.py` says in
        its files what it made of masks, and its polygons have no holes.

    Raises:
        DataError: a mask cannot be read.
    """
    style = style_of(dataset.info)
    if style is None:
        return None
    results = map_files(lambda sample: _agrees(sample, style), samples)
    edited = [sample["image_id"] for sample, agrees in zip(samples, results, strict=True) if not agrees]
    if not edited:
        return None
    command = remake_command(dataset.data_root, style, dataset.metainfo["classes"][0])
    return (
        f"{dataset.ann_file}: the masks of {len(edited)} of {len(samples)} images have changed since its instances "
        f"were made of them ({first_names(edited)}), expected the same: the scores of masks and the average precisions "
        f"are measured against different lesions. Run {command}."
    )


def _agrees(sample: Mapping[str, Any], style: Style) -> bool:
    path, (height, width) = sample["seg_map_path"], (sample["height"], sample["width"])
    packed = packed_mask(path)
    lesion = lesion_pixels(read_mask(path)) if packed is None else packed.unpack(packed.shape).astype(bool)
    expected = [each for each in split_instances(lesion, style.instances) if np.count_nonzero(each) >= style.min_area]
    drawn = [decode_segmentation(each["mask"], height, width, path) for each in sample["instances"]]
    return np.array_equal(_union(expected, (height, width)), _union(drawn, (height, width)))


def _union(masks: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    return np.logical_or.reduce(masks) if masks else np.zeros(shape, bool)
