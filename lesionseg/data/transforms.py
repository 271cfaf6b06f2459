"""Loading and augmentation that MMCV and MMSegmentation lack."""

import random
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import InfiniteSampler
from mmengine.registry import DATA_SAMPLERS, TRANSFORMS
from mmseg.datasets.transforms import Albu

from lesionseg.data.images import picture_size
from lesionseg.data.masks import decode_picture, lesion_pixels, read_mask
from lesionseg.errors import DataError

_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


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
        data = Path(path).read_bytes()
        height, width = picture_size(BytesIO(data), path)
        reduction = self._reduction(min(height, width))
        image = decode_picture(data, path, _REDUCED.get(reduction, cv2.IMREAD_COLOR))
        results.update(img=image, img_shape=image.shape[:2], ori_shape=(height, width), decode_reduction=reduction)
        return results

    def _reduction(self, short_edge: int) -> int:
        if self.min_short_edge is None:
            return 1
        return next((scale for scale in (8, 4, 2) if short_edge // scale >= self.min_short_edge), 1)


@TRANSFORMS.register_module()
class LoadLesionMask(BaseTransform):
    """Read a gray mask and make it class indices: `gt_seg_map` (H, W) uint8, 0 = background, 1 = lesion.

    Where `LoadLesionImage` decoded at a reduced scale, the mask takes the image's size.

    Raises:
        DataError: see `lesionseg.data.masks.read_mask`; or the mask's size is not the image's.
    """

    def transform(self, results: dict) -> dict:
        mask = read_mask(results["seg_map_path"])
        if "ori_shape" in results and mask.shape != tuple(results["ori_shape"][:2]):
            (height, width), (image_height, image_width) = mask.shape, results["ori_shape"][:2]
            raise DataError(
                f"{results['seg_map_path']}: {width}x{height} pixels, expected the {image_width}x{image_height} "
                f"of {results['img_path']}. Put the matching mask there."
            )
        if results.get("decode_reduction", 1) > 1:
            height, width = results["img_shape"]
            # Plain nearest takes the top left pixel of each block, which shifts the mask by up to half a block.
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        results["gt_seg_map"] = lesion_pixels(mask).view(np.uint8)
        results.setdefault("seg_fields", []).append("gt_seg_map")
        return results


@TRANSFORMS.register_module()
class LesionAlbu(Albu):
    """Albumentations whose randomness follows numpy's seed, as that of all other transforms does.

    Albumentations keeps a generator of its own, seeded from the operating system, so that a seeded
    run is not repeatable with upstream's `Albu`.
    """

    def transform(self, results: dict) -> dict:
        self.aug.set_random_seed(int(np.random.randint(2**31)))
        return super().transform(results)


class SeededIndex(int):
    """The index of a sample together with the seed of this one draw of it."""

    seed: int

    def __new__(cls, index: int, seed: int) -> "SeededIndex":
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __reduce__(self):
        return SeededIndex, (int(self), self.seed)


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """MMEngine's infinite sampler that also seeds every draw, for the transform `SeedSample`.

    Loader processes otherwise draw from streams of their own, which start anew when a training is
    resumed, and which depend on the number of processes.
    """

    def _indices_of_rank(self):
        seeds = torch.Generator()
        seeds.manual_seed(self.seed + 1 + self.rank)
        for index in super()._indices_of_rank():
            yield SeededIndex(index, int(torch.randint(2**31, (), generator=seeds)))


@TRANSFORMS.register_module()
class SeedSample(BaseTransform):
    """Seed numpy and Python for one draw of a sample, before the first random transform.

    Does nothing where the sampler gives no seed (validation and test).
    """

    def transform(self, results: dict) -> dict:
        seed = getattr(results.get("sample_idx"), "seed", None)
        if seed is not None:
            np.random.seed(seed)
            random.seed(seed)
        return results
