"""Random draws of samples that depend on the seed alone, however many processes load them."""

import random
from collections.abc import Iterator

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import InfiniteSampler
from mmengine.registry import DATA_SAMPLERS, TRANSFORMS


class SeededIndex(int):
    """The index of a sample together with the seed of this one draw of it."""

    seed: int

    def __new__(cls, index: int, seed: int) -> "SeededIndex":
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __reduce__(self) -> tuple[type, tuple[int, int]]:
        return SeededIndex, (int(self), self.seed)


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """MMEngine's infinite sampler that also seeds every draw, for the transform `SeedSample`.

    Loader processes otherwise draw from streams of their own, which start anew when a training is
    resumed, and which depend on the number of processes.
    """

    def _indices_of_rank(self) -> Iterator[SeededIndex]:
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
