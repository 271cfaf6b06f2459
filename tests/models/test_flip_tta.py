"""Averaging over flipped copies of an image."""

import numpy as np
import pytest
import torch
from mmcv import transforms
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.models import SegDataPreProcessor
from mmseg.models.segmentors.base import BaseSegmentor

from lesionseg.models.flip_tta import FlipTTAModel

HEIGHT, WIDTH = 6, 10


class SeesBrightness(BaseSegmentor):
    """A pixel is lesion where it is bright; `bias` is added to the scores of the upper left corner of what it sees."""

    out_channels = 2

    def __init__(self, bias=0.0):
        super().__init__(SegDataPreProcessor())
        self.bias, self.align_corners = bias, False

    def predict(self, inputs, data_samples=None):
        lesion = inputs[:, :1] - 100
        lesion[..., 0, 0] += self.bias
        return self.postprocess_result(torch.cat([-lesion, lesion], 1) / 10, data_samples)

    encode_decode = extract_feat = loss = _forward = None


def views(image, directions):
    init_default_scope("mmseg")
    flips = [dict(type="RandomFlip", prob=0.0, direction="horizontal")]
    flips += [dict(type="RandomFlip", prob=1.0, direction=direction) for direction in directions]
    augment = transforms.TestTimeAug([flips, [dict(type="PackSegInputs")]])
    shape = image.shape[:2]
    results = dict(img=image, img_shape=shape, ori_shape=shape, img_path="a.png", seg_fields=[], sample_idx=0)
    return pseudo_collate([augment.transform(results)])


def drawn_image():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:2, :3] = image[4, 7:] = 200
    return image


DIRECTIONS = ["horizontal", "vertical", "diagonal"]


@pytest.mark.parametrize("directions", [DIRECTIONS[2:], DIRECTIONS], ids=len)
def test_every_copy_is_turned_back(directions):
    image = drawn_image()
    [sample] = FlipTTAModel(module=SeesBrightness()).test_step(views(image, directions))
    assert np.array_equal(sample.pred_sem_seg.data.squeeze().numpy(), image[..., 0] > 100)


def test_copies_are_averaged():
    image = np.full((HEIGHT, WIDTH, 3), 101, np.uint8)
    # Each copy has the biased pixel in another corner, and there is too little of it to outweigh three others.
    model = FlipTTAModel(module=SeesBrightness(bias=-2.5))
    [sample] = model.test_step(views(image, DIRECTIONS))
    assert sample.pred_sem_seg.data.all()
    [alone] = model.test_step(views(image, []))
    assert np.argwhere(alone.pred_sem_seg.data.squeeze().numpy() == 0).tolist() == [[0, 0]]
    model.module.bias = -9.0
    [sample] = model.test_step(views(image, DIRECTIONS))
    corners = [[0, 0], [0, WIDTH - 1], [HEIGHT - 1, 0], [HEIGHT - 1, WIDTH - 1]]
    assert np.argwhere(sample.pred_sem_seg.data.squeeze().numpy() == 0).tolist() == corners
