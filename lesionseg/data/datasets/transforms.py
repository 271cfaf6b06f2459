"""Loading and augmentation that MMCV and MMSegmentation lack."""

import random
from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import TRANSFORMS
from mmseg.datasets.transforms import Albu

from lesionseg.data.datasets.mask_cache import packed_mask
from lesionseg.errors import DataError
from lesionseg.files import read_file
from lesionseg.pixels.findings import join_findings, read_codes, read_finding
from lesionseg.pixels.pictures import decode_image, encoded_size
from lesionseg.pixels.shrink import shrink_mask


@TRANSFORMS.register_module()
class LoadLesionImage(BaseTransform):
    """Read an image, where possible at the reduced scale that a JPEG decoder gives almost for nothing.

    Adds `img` (H, W, 3) uint8 BGR, `img_shape` and `ori_shape` as (H, W), and `decode_reduction`
    (1, 2, 4 or 8): `ori_shape` is the size of the file's picture, `img_shape` that of `img`.

    Args:
        min_short_edge: the shorter edge in pixels that later transforms need at most. The image is
            decoded at the smallest of full, half, quarter and eighth scale that is no smaller. None
            always decodes at full scale, as testing has to.

    Raises:
        DataError: not a readable picture, or cut off.
    """

    def __init__(self, min_short_edge: int | None = None) -> None:
        self.min_short_edge = min_short_edge

    def transform(self, results: dict) -> dict:
        path = results["img_path"]
        data = read_file(path)
        height, width = encoded_size(data, path)
        reduction = self._reduction(min(height, width))
        image = decode_image(data, path, reduction=reduction)
        results.update(img=image, img_shape=image.shape[:2], ori_shape=(height, width), decode_reduction=reduction)
        return results

    def _reduction(self, short_edge: int) -> int:
        if self.min_short_edge is None:
            return 1
        return next((scale for scale in (8, 4, 2) if short_edge // scale >= self.min_short_edge), 1)


@TRANSFORMS.register_module()
class LoadLesionMask(BaseTransform):
    """Read a gray mask and make it class indices: `gt_seg_map` (H, W) uint8, 0 = background, 1 = lesion.

    Of a sample with several findings, it makes codes, see `lesionseg.pixels.findings`; a finding that was not looked
    for is 0 there, and its absence in `mask_paths` says so.

    Where `LoadLesionImage` decoded at a reduced scale, the mask takes the image's size.

    Args:
        cached: take the mask from what the check before the training has kept of it, as long as the file is the
            same. That is many times faster and gives the same pixels. What is not kept is read from its file.

    Raises:
        DataError: see `lesionseg.pixels.masks.read_mask`; or the mask's size is not the image's.
    """

    def __init__(self, cached: bool = False) -> None:
        self.cached = cached

    def transform(self, results: dict) -> dict:
        if "mask_paths" not in results:
            results["gt_seg_map"] = self._read(results["seg_map_path"], results)
        elif "labels" in results:
            # The same file for all of them.
            path = next(iter(results["mask_paths"].values()))
            results["gt_seg_map"] = self._read(path, results, len(results["findings"]))
        else:
            masks = {finding: self._read(path, results) for finding, path in results["mask_paths"].items()}
            absent = np.zeros_like(next(iter(masks.values())))
            results["gt_seg_map"] = join_findings([masks.get(finding, absent) for finding in results["findings"]])
        results.setdefault("seg_fields", []).append("gt_seg_map")
        return results

    def _read(self, path: str, results: dict, labelled: int = 0) -> np.ndarray:
        """Read a mask for an image as it was loaded: (H, W) uint8, 1 = lesion; codes of a file with so many labels."""
        packed = packed_mask(path) if self.cached and not labelled else None
        if packed:
            height, width = packed.shape
        else:
            lesion = read_codes(path, labelled) if labelled else read_finding(path).view(np.uint8)
            height, width = lesion.shape
        image_height, image_width = results.get("ori_shape", (height, width))[:2]
        if (height, width) != (image_height, image_width):
            raise DataError(
                f"{path}: {width}x{height} pixels, expected the {image_width}x{image_height} "
                f"of {results['img_path']}. Put the matching mask there."
            )
        if results.get("decode_reduction", 1) > 1:
            height, width = results["img_shape"]
        if packed:
            lesion = packed.unpack((height, width))
        elif lesion.shape != (height, width):
            lesion = shrink_mask(lesion, (width, height))
        return lesion


@TRANSFORMS.register_module()
class RandomScaleCrop(BaseTransform):
    """Resize by a random factor that keeps the aspect, and cut out a random window: only the window is resized.

    Gives what MMCV's RandomChoiceResize with MMSegmentation's ResizeShortestEdge, and then its RandomCrop, give with
    the same seed, in less than half the time. The window is cut at whole pixels before it is resized, so it lies
    up to half a pixel, of the picture as loaded, beside theirs.

    Changes `img`, `img_shape`, and the maps named in `seg_fields`. Pictures smaller than the window stay smaller.

    Args:
        scales: lengths in pixels to choose from for the shorter edge.
        max_size: what the longer edge in pixels must not exceed, whatever the shorter one becomes.
        crop_size: (height, width) of the window.
    """

    def __init__(self, scales: Sequence[int], max_size: int, crop_size: tuple[int, int]) -> None:
        self.scales = scales
        self.max_size = max_size
        self.crop_size = crop_size

    def transform(self, results: dict) -> dict:
        shape = results["img"].shape[:2]
        scale = self.scales[np.random.randint(len(self.scales))]
        factor = min(scale / min(shape), self.max_size / max(shape))
        resized = [int(length * factor + 0.5) for length in shape]
        window = tuple(map(min, resized, self.crop_size))
        starts = [np.random.randint(length - size + 1) for length, size in zip(resized, window, strict=True)]
        cut = tuple(
            slice(round(start * length / to), round((start + size) * length / to))
            for start, size, length, to in zip(starts, window, shape, resized, strict=True)
        )
        results["img"] = _resized(results["img"][cut], window, cv2.INTER_LINEAR)
        for key in results.get("seg_fields", []):
            results[key] = _resized(results[key][cut], window, cv2.INTER_NEAREST_EXACT)
        results["img_shape"] = window
        return results


def _resized(picture: np.ndarray, shape: tuple[int, ...], interpolation: int) -> np.ndarray:
    return picture if picture.shape[:2] == shape else cv2.resize(picture, shape[::-1], interpolation=interpolation)


@TRANSFORMS.register_module()
class LesionAlbu(Albu):
    """Albumentations whose randomness follows numpy's seed, as that of all other transforms does.

    Albumentations keeps a generator of its own, seeded from the operating system, so that a seeded
    run is not repeatable with upstream's `Albu`.

    Changes `img`, `img_shape` and `gt_seg_map`; of a sample with instances `gt_masks`, and from them `gt_bboxes`: the
    box of a turned mask is tighter than that of its turned box. Instances that have left the image are dropped.
    """

    def transform(self, results: dict) -> dict:
        seed = int(np.random.randint(2**31))
        # One stream for all steps: by set_random_seed each gets its own, all the same, so that either all act or none.
        self.aug.set_random_state(np.random.default_rng(seed), random.Random(seed))
        masks = results["gt_masks"].to_ndarray() if "gt_masks" in results else ()
        # Albumentations takes no empty stack.
        results = super().transform(dict(results, masks=masks) if len(masks) else results)
        results["img_shape"] = results["img"].shape[:2]
        if "gt_masks" in results:
            _take_instances(results, results.pop("masks", masks))
        return results


def _take_instances(results: dict, masks: np.ndarray) -> None:
    """Put masks (N, H, W) into a sample, their boxes, and of what else it has of its instances, that of those left."""
    kept = masks.any((1, 2))
    results["gt_masks"] = BitmapMasks(masks[kept].reshape(-1, *results["img_shape"]), *results["img_shape"])
    results["gt_bboxes"] = results["gt_masks"].get_bboxes("hbox")
    for key in ("gt_bboxes_labels", "gt_ignore_flags"):
        results[key] = results[key][kept]
