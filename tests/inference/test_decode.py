"""Holds the pipeline of exported models to what MMCV, MMSegmentation, MMDetection and torch do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_models import CARD
from helpers import draw_pair
from mmcv.transforms import Resize
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from mmdet.structures import DetDataSample
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample

from lesionseg.engine.families import INSTANCES
from lesionseg.errors import DataError
from lesionseg.inference.decode import lesion_detections, lesion_map, original_scores, paste, probability_of_margin
from lesionseg.inference.prepare import Prepared, prepare
from lesionseg.inference.runtimes.model_card import LOGITS, MASK_SCORES

# (height, width): odd, landscape, portrait, smaller and much larger than the scale, and square.
SIZES = [(77, 131), (131, 77), (33, 47), (601, 899), (899, 601), (72, 96), (101, 101), (40, 400)]
INTERPOLATIONS = ["area", "bilinear", "nearest", "bicubic", "lanczos"]
DETECTOR = replace(CARD, task=INSTANCES, classes=("lesion",), score_rule="union", min_score=0.5)


@pytest.fixture(scope="module", params=[SegDataPreProcessor, DetDataPreprocessor], ids=["mmseg", "mmdet"])
def preprocess(request):
    """(3, H, W) uint8 BGR -> (3, H, W) float32, by one of both families."""
    common = dict(mean=list(CARD.mean), std=list(CARD.std), bgr_to_rgb=True)
    if request.param is SegDataPreProcessor:
        module = SegDataPreProcessor(**common, test_cfg=dict(size_divisor=CARD.size_divisor))
        sample = SegDataSample
    else:
        module = DetDataPreprocessor(**common, pad_size_divisor=CARD.size_divisor)
        sample = DetDataSample

    def run(image: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        entry = sample(metainfo=dict(img_shape=image.shape[:2]))
        return module(dict(inputs=[pixels], data_samples=[entry]), training=False)["inputs"][0].numpy()

    return run


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_prepare_equals_openmmlab_to_the_bit(size, interpolation, preprocess):
    image = draw_pair(1, *size)[0]
    resized = Resize(scale=CARD.scale, keep_ratio=True, interpolation=interpolation)(dict(img=image))["img"]
    prepared = prepare(image, replace(CARD, interpolation=interpolation))
    assert prepared.content == resized.shape[:2]
    assert prepared.original == size
    np.testing.assert_array_equal(prepared.tensor, preprocess(resized))


def test_prepare_pads_below_and_to_the_right_with_zeros():
    prepared = prepare(draw_pair(1, 77, 131)[0], CARD)
    height, width = prepared.content
    assert prepared.tensor.shape == (3, 64, 96)
    assert (height, width) == (56, 96)
    assert not prepared.tensor[:, height:].any()
    assert prepared.tensor[:, height - 1, :width].any()


@pytest.mark.parametrize(("size", "content"), [((100, 300), (32, 96)), ((300, 100), (64, 21)), ((20, 30), (64, 96))])
def test_a_fixed_input_holds_any_image(size, content):
    prepared = prepare(draw_pair(1, *size)[0], replace(CARD, input_size=(64, 96)))
    assert prepared.tensor.shape == (3, 64, 96)
    assert prepared.content == content


def test_channel_order_bgr_is_kept():
    image = np.zeros((72, 96, 3), np.uint8)
    image[..., 0] = 200
    plain = replace(CARD, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert prepare(image, replace(plain, channel_order="BGR")).tensor[:, 5, 5].tolist() == [200, 0, 0]
    assert prepare(image, plain).tensor[:, 5, 5].tolist() == [0, 0, 200]


def test_an_image_of_which_nothing_is_left_is_refused():
    with pytest.raises(DataError, match="1000x1 pixels: nothing is left of the shorter edge"):
        prepare(np.zeros((1, 1000, 3), np.uint8), CARD)


@pytest.mark.parametrize("original", [(33, 47), (601, 899), (899, 601), (1, 1), (57, 95)], ids=str)
def test_original_scores_equal_torch(original):
    scores = np.random.default_rng(0).normal(size=(3, 64, 96)).astype(np.float32)
    prepared = Prepared(np.zeros((3, 64, 96), np.float32), (57, 95), original)
    # In double precision: in single, torch itself is off by 3e-5.
    content = torch.from_numpy(scores[None, :, :57, :95]).double()
    expected = torch.nn.functional.interpolate(content, size=original, mode="bilinear", align_corners=False)[0].numpy()
    np.testing.assert_allclose(original_scores(scores, prepared), expected, atol=1e-5)


@pytest.mark.parametrize(
    "box",
    [
        (10.3, 5.7, 60.2, 40.9),
        (0, 0, 96, 72),
        (-20.5, -10.2, 30.1, 25.3),
        (70.4, 50.6, 130.2, 90.8),
        (40.2, 30.3, 40.9, 31.1),
        (40.5, 30.5, 40.51, 30.52),
        (12.5, 0.5, 13.5, 71.5),
    ],
    ids=["inside", "whole", "left and top", "right and bottom", "tiny", "tinier", "thin"],
)
@pytest.mark.parametrize("cells", [(28, 28), (14, 28), (1, 1)], ids=str)
def test_paste_equals_mmdetection(box, cells):
    mask = np.random.default_rng(0).uniform(size=cells).astype(np.float32)
    box = np.float32(box)
    whole = np.zeros((72, 96), np.float32)
    rows, columns, values = paste(mask, box, 72, 96)
    whole[rows, columns] = values
    # As on a CPU. On a GPU, it also gives the values that lie farther outside the box, all below one half.
    values, window = _do_paste_mask(
        torch.from_numpy(mask)[None, None], torch.from_numpy(box)[None], 72, 96, skip_empty=True
    )
    expected = np.zeros((72, 96), np.float32)
    expected[window] = values[0].numpy()
    np.testing.assert_allclose(whole, expected, atol=1e-4)
    assert np.array_equal(whole >= 0.5, expected >= 0.5)


@pytest.mark.parametrize("box", [(200, 10, 260, 40), (-60, -50, -10, -5), (30, 20, 30, 40)], ids=str)
def test_paste_outside_the_image_or_of_no_width_is_empty(box):
    rows, columns, values = paste(np.ones((28, 28), np.float32), np.float32(box), 72, 96)
    whole = np.zeros((72, 96), np.float32)
    whole[rows, columns] = values
    assert not whole.any()


def _detections(scores: list[float], labels: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes = [[8 * n, 0, 8 * n + 8, 16] for n in range(len(scores))]
    dets = np.float32([[*box, score] for box, score in zip(boxes, scores, strict=True)]).reshape(-1, 5)
    return dets, np.int64(labels), np.ones((len(scores), 28, 28), np.float32)


INPUT = Prepared(np.zeros((3, 64, 96), np.float32), (48, 96), (96, 192))


def test_union_takes_lesions_of_enough_score_the_best_first():
    found = lesion_detections(*_detections([0.6, 0.5, 0.49, 0.9, 0.99], [0, 0, 0, 0, 1]), INPUT, DETECTOR)
    np.testing.assert_array_equal(found.scores, np.float32([0.9, 0.6, 0.5]))
    # Original pixels are half as large.
    np.testing.assert_array_equal(found.boxes, [[48, 0, 64, 32], [0, 0, 16, 32], [16, 0, 32, 32]])
    assert not found.pasted


def test_top1_takes_the_best_lesion_whatever_its_score():
    card = replace(DETECTOR, score_rule="top1")
    found = lesion_detections(*_detections([0.1, 0.3, 0.99], [0, 0, 1]), INPUT, card)
    np.testing.assert_array_equal(found.scores, np.float32([0.3]))


@pytest.mark.parametrize("rule", ["union", "top1"])
@pytest.mark.parametrize("scores", [[], [0.0, 0.0]], ids=["none", "unused places"])
def test_nothing_found_is_an_empty_map(rule, scores):
    card = replace(DETECTOR, score_rule=rule, min_score=0.0)
    found = lesion_detections(*_detections(scores, [0] * len(scores)), INPUT, card)
    assert len(found.scores) == len(found.boxes) == 0
    soft = lesion_map(found, INPUT)
    assert soft.shape == (96, 192)
    assert not soft.any()


def test_pasted_masks_lose_their_padding():
    dets, labels, _ = _detections([0.9], [0])
    mask = np.zeros((1, 64, 96), np.float32)
    mask[0, 48:] = 1
    mask[0, :48, 90:] = 1
    found = lesion_detections(dets, labels, mask, INPUT, DETECTOR)
    assert found.pasted
    soft = lesion_map(found, INPUT)
    assert soft.shape == (96, 192)
    np.testing.assert_array_equal((soft >= 0.5).sum(1), np.full(96, 12))


@pytest.mark.parametrize("rule", [LOGITS, MASK_SCORES])
def test_probability_is_above_half_exactly_in_the_lesion(rule):
    lead = np.float32([[-1e9, -3, -1, -1e-12, -0.0], [0, 1e-12, 1e-3, 1, 1e9]])
    probability = probability_of_margin(lead.copy(), rule)
    np.testing.assert_array_equal(probability > 0.5, lead > 0)
    assert probability.min() >= 0
    assert probability.max() <= 1
    # Otherwise the step at one half would be all.
    assert np.all(np.diff(probability.ravel()) >= 0)


def test_probability_of_logits_is_the_softmax_of_two_classes():
    scores = torch.tensor([[-1.5, 0.25], [2.0, -0.5]])
    expected = scores.softmax(0)[1].numpy()
    lead = (scores[1] - scores[0]).numpy()
    np.testing.assert_allclose(probability_of_margin(lead, LOGITS), expected, atol=1e-6)
