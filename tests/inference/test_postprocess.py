import time

import cv2
import numpy as np
import pytest

from lesionseg.errors import DataError
from lesionseg.inference.postprocess import PostProcessing, smooth


@pytest.mark.parametrize("mask", [np.zeros((5, 8), bool), np.ones((5, 8), bool), np.ones((1, 1), bool)])
def test_smoothing_leaves_nothing_and_everything_as_they_are(mask):
    smoothed = smooth(mask, 1)
    assert smoothed.dtype == bool
    assert np.array_equal(smoothed, mask)


@pytest.mark.parametrize("sigma", [1, 2.5, 6, 200])
def test_smoothing_does_not_move_a_straight_edge(sigma):
    half = np.zeros((20, 300), bool)
    half[:, :137] = True
    assert np.array_equal(smooth(half, sigma), half)
    assert np.array_equal(smooth(half.T, sigma), half.T)


def test_smoothing_does_not_shift():
    mask = np.zeros((80, 110), np.uint8)
    cv2.ellipse(mask, (55, 40), (30, 20), 0, 0, 360, 1, -1)
    rounded = smooth(mask > 0, 3)
    assert np.array_equal(rounded[:, ::-1], smooth(mask[:, ::-1] > 0, 3))
    middle, before = np.argwhere(rounded).mean(0), np.argwhere(mask).mean(0)
    assert np.abs(middle - before).max() < 0.05
    assert abs(np.count_nonzero(rounded) / np.count_nonzero(mask) - 1) < 0.03


def test_smoothing_takes_away_specks_and_teeth_at_any_distance_from_the_border():
    mask = np.zeros((60, 90), bool)
    mask[20:, 10:70] = True
    rough = mask.copy()
    rough[19, 12:68:4] = True
    rough[5, 80] = rough[0, 0] = True
    smoothed = smooth(rough, 2)
    assert not smoothed[:18].any()
    assert np.array_equal(smoothed[40:, 20:60], mask[40:, 20:60])
    assert smoothed[-1, 10:70].all()


def test_wide_smoothing_is_as_any_and_takes_no_minute():
    mask = np.zeros((900, 1200), bool)
    mask[:, :500] = True
    cv2.circle(view := mask.view(np.uint8), (850, 450), 200, 1, -1)
    wide = smooth(mask, 100)
    soft = cv2.GaussianBlur(view.astype(np.float32), (801, 801), 100, borderType=cv2.BORDER_REPLICATE)
    assert np.mean(wide != (soft > 0.5)) < 0.002
    big = np.zeros((3000, 4000), bool)
    big[500:2500, 500:3500] = True
    started = time.monotonic()
    for sigma in (33, 500, 10_000):
        smooth(big, sigma)
    assert time.monotonic() - started < 10
    assert not smooth(big[:, :3990], 10_000)[0].any()
    assert smooth(np.ones((30, 40), bool), 10_000).all()


def test_a_mask_is_left_alone_unless_asked():
    mask = np.eye(4, 6, dtype=bool)
    assert PostProcessing().apply(mask) is mask


def test_steps_follow_one_another_and_leave_their_input_alone():
    mask = np.zeros((40, 60), bool)
    mask[5:25, 5:35] = True
    mask[10:14, 10:14] = False
    mask[30:36, 40:46] = True
    mask[2, 55] = True
    given = mask.copy()
    assert np.count_nonzero(PostProcessing(fill_holes=True).apply(mask)) == 600 + 36 + 1
    assert np.count_nonzero(PostProcessing(fill_holes=True, min_area=2).apply(mask)) == 600 + 36
    assert np.count_nonzero(PostProcessing(fill_holes=True, largest=True).apply(mask)) == 600
    assert not PostProcessing(largest=True, min_area=601).apply(mask).any()
    assert np.array_equal(mask, given)


def test_numbers_below_one_are_shares_of_the_image():
    mask = np.zeros((50, 80), bool)
    mask[10:20, 10:14] = True
    assert PostProcessing(min_area=0.01).apply(mask).any()
    assert not PostProcessing(min_area=0.0101).apply(mask).any()
    assert np.array_equal(PostProcessing(smooth=0.04).apply(mask), smooth(mask, 2))


@pytest.mark.parametrize("wrong", [dict(smooth=-1), dict(min_area=-0.1), dict(min_area=float("nan")), dict(smooth=1e9)])
def test_a_negative_number_is_an_error(wrong):
    with pytest.raises(DataError, match=rf"^{next(iter(wrong))}: .* expected a number from 0"):
        PostProcessing(**wrong)
