"""Segmentation of several findings, and its losses, held to values that were computed by hand."""

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.structures import SegDataSample
from test_flip_tta import DIRECTIONS, drawn_image, views

from lesionseg.models.flip_tta import FlipTTAModel
from lesionseg.models.losses import MultiLabelDiceLoss, MultiLabelFocalLoss
from lesionseg.models.multi_label import MultiLabelEncoderDecoder, codes_of, multi_label_targets

# A lesion of one pixel of 256.
SPECK = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
SPECK[0, 0, 3, 5] = 1
EMPTY = torch.zeros_like(SPECK)
IGNORED = torch.full_like(SPECK, 255)
SURE = 20.0


def logits_of(targets):
    return torch.where(targets == 1, SURE, -SURE)


@pytest.mark.parametrize(
    ("logits", "targets", "focal", "dice"),
    [
        (logits_of(SPECK), SPECK, 0, 0),
        # As sure as it is wrong: -log(sigmoid(-20)) = 20 at every pixel; no overlap of 255 + 1 pixels, smoothed by 1.
        (-logits_of(SPECK), SPECK, 20, 1 - 1 / 257),
        # (1 / 2)^2 log 2 at every pixel; 2 x 1 / 2 of overlap, 128 + 1 pixels in all.
        (torch.zeros(SPECK.shape), SPECK, 0.25 * np.log(2), 1 - 2 / 130),
        (logits_of(EMPTY), EMPTY, 0, 0),
        (-logits_of(EMPTY), EMPTY, 20, 1 - 1 / 257),
        (-logits_of(EMPTY), IGNORED, 0, 0),
    ],
    ids=["perfect", "opposite", "undecided", "empty", "empty, opposite", "ignored"],
)
def test_losses_of_one_finding(logits, targets, focal, dice):
    assert MultiLabelFocalLoss()(logits, targets).item() == pytest.approx(focal, abs=1e-5)
    assert MultiLabelDiceLoss()(logits, targets).item() == pytest.approx(dice, abs=1e-5)


@pytest.mark.parametrize("loss", [MultiLabelFocalLoss(), MultiLabelDiceLoss()], ids=lambda loss: loss.loss_name)
def test_each_finding_of_each_image_counts_alike_and_ignored_pixels_do_not(loss):
    logits = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    targets = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)) > 0.7).to(torch.uint8)
    targets[1, 2] = 255
    targets[0, 1, 2:] = 255
    alone = []
    for image, finding in np.ndindex(2, 3):
        known = targets[image, finding] != 255
        if known.any():
            # Laid out as a row: only their number and values count.
            row = (each[image, finding][known][None, None, None] for each in (logits, targets))
            alone.append(loss(*row).item())
    assert len(alone) == 5
    assert loss(logits, targets).item() == pytest.approx(np.mean(alone), abs=1e-6)


def test_a_finding_that_is_nowhere_pulls_at_what_is_predicted():
    logits = torch.zeros(EMPTY.shape, requires_grad=True)
    MultiLabelDiceLoss()(logits, EMPTY).backward()
    assert (logits.grad > 0).all()


def sample_of(codes, **metainfo):
    return SegDataSample(metainfo=metainfo, gt_sem_seg=PixelData(data=torch.tensor(codes)[None]))


def test_targets_are_a_channel_for_each_finding():
    both = dict(acne="a.png", hemo="b.png")
    samples = [
        sample_of([[0, 1, 2], [3, 3, 255]], findings=("acne", "hemo"), mask_paths=both),
        sample_of([[0, 2, 2], [0, 0, 255]], findings=("acne", "hemo"), mask_paths=dict(hemo="b.png")),
    ]
    targets = multi_label_targets(samples, 2)
    assert targets.dtype == torch.uint8
    assert targets[0].tolist() == [[[0, 1, 0], [1, 1, 255]], [[0, 0, 1], [1, 1, 255]]]
    # Acne was not looked for in the second image.
    assert targets[1].tolist() == [[[255] * 3] * 2, [[0, 1, 1], [0, 0, 255]]]
    # Class indices of a single lesion, as of a data set with a mask an image.
    assert multi_label_targets([sample_of([[0, 1, 255]])], 1).tolist() == [[[[0, 1, 255]]]]


class SeesColours(MultiLabelEncoderDecoder):
    """Sees the first finding where blue is above 100, the second where red is; `bias` as in `SeesBrightness`."""

    out_channels = 2

    def __init__(self, bias=0.0):
        BaseSegmentor.__init__(self, SegDataPreProcessor())
        self.bias, self.align_corners = bias, False

    def predict(self, inputs, data_samples=None):
        logits = (inputs[:, [0, 2]].float() - 100) / 10
        logits[..., 0, 0] += self.bias
        return self.postprocess_result(logits, data_samples)


def test_each_finding_is_decided_for_itself_and_copies_are_averaged():
    image = drawn_image()
    image[:3, :2, 0] = 0
    truth = (image[..., 0] > 100) + 2 * (image[..., 2] > 100)
    assert {0, 2, 3} <= set(truth.flat)
    model = SeesColours()
    averaged = FlipTTAModel(module=model)
    for directions in ([], DIRECTIONS):
        [sample] = averaged.test_step(views(image, directions))
        assert np.array_equal(sample.pred_sem_seg.data[0].numpy(), truth)
        assert sample.seg_logits.data.shape == (2, *truth.shape)
    # A copy that is wrong about a corner is outweighed by the three others.
    model.bias = -15.0
    [alone] = averaged.test_step(views(image, []))
    assert alone.pred_sem_seg.data[0, 0, 0] == 0
    assert truth[0, 0] == 2
    [sample] = averaged.test_step(views(image, DIRECTIONS))
    assert np.array_equal(sample.pred_sem_seg.data[0].numpy(), truth)


def test_a_single_finding_gives_class_indices():
    assert codes_of(torch.tensor([[[-1.0, 0.0, 0.1]]])).tolist() == [[[0, 0, 1]]]
    # Upstream would take a probability of 0.3 for enough.
    model = SeesColours()
    [sample] = model.postprocess_result(torch.tensor([[[[-0.5, 0.5]]]]))
    assert sample.pred_sem_seg.data.tolist() == [[[0, 1]]]
