"""Draws the masks and data samples that the tests of this folder share."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

HEIGHT, WIDTH = 24, 36


def draw_pair(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a truth and a prediction, (24, 36) bool: empty, full, at the border, with a hole, in two parts."""
    rng = np.random.default_rng(index)
    truth, prediction = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    if index % 9 != 0:  # every ninth truth is empty
        cv2.ellipse(truth, (int(rng.integers(WIDTH)), 12), (12, 8), 0, 0, 360, 1, -1)
        cv2.circle(truth, (18, 12), 2, 0, -1)
        cv2.circle(truth, (30, 3), 2, 1, -1)
    if index % 7 != 0:  # every seventh prediction too
        prediction = np.roll(truth, int(rng.integers(5)), axis=1) ^ (rng.random(truth.shape) < 0.05)
    if index % 11 == 5:
        truth[:] = 1
    return truth.astype(bool), prediction.astype(bool)


def make_sample(
    image, mask, truth: np.ndarray, prediction: np.ndarray, ori_shape=(HEIGHT, WIDTH), id: str | None = None
) -> SegDataSample:
    """Make what a model of MMSegmentation returns for one image, whose id is its name unless another is given."""
    return SegDataSample(
        metainfo=dict(
            image_id=id or Path(image).stem, img_path=str(image), seg_map_path=str(mask), ori_shape=ori_shape
        ),
        gt_sem_seg=PixelData(data=torch.from_numpy(truth[None].astype(np.int64))),
        pred_sem_seg=PixelData(data=torch.from_numpy(prediction[None].astype(np.int64))),
    )
