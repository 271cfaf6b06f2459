"""Weights and a threshold are found that join soft masks best."""

import numpy as np
import pytest

from lesionseg.evaluation.ensembling import EDGE, Mix, MixSearch, shrink


@pytest.fixture(scope="module")
def drawn():
    """Six true masks, each half of the picture; models that find them, find noise, and find them timidly."""
    truth = np.zeros((6, 20, 20), bool)
    truth[:, :, :10] = True
    rng = np.random.default_rng(0)
    right = np.where(truth, 220, 20)
    noise = rng.integers(0, 256, truth.shape)
    timid = np.where(truth, 70, 10)
    return tuple(each.reshape(6, -1) for each in (truth, *(part.astype(np.uint8) for part in (right, noise, timid))))


def test_a_model_of_noise_has_no_say(drawn):
    truth, right, noise, _ = drawn
    mix = MixSearch(truth, np.stack([noise, right])).best()
    assert mix.weights[1] > 0.5
    assert all(np.array_equal(mix.lesion([a, b]), c) for a, b, c in zip(noise, right, truth, strict=True))


def test_the_threshold_is_where_the_lesions_are_found(drawn):
    truth, *_, timid = drawn
    mix = MixSearch(truth, timid[None]).best()
    assert mix.weights == (1.0,)
    assert 10 / 255 < mix.threshold < 70 / 255


def test_the_best_of_some_images_is_theirs_alone(drawn):
    truth, right, _, _ = drawn
    # The other models find the first images, and the last ones, and are wrong elsewhere.
    half = np.arange(6) < 3
    first = np.where(half[:, None], right, 255 - right)
    last = np.where(half[:, None], 255 - right, right)
    search = MixSearch(truth, np.stack([first, last]))
    assert search.best(half).weights[0] > 0.5 > search.best(~half).weights[0]


def test_weights_that_are_rounded_to_more_than_1_count_every_pixel(drawn):
    truth, *_ = drawn
    surely = np.where(truth, 255, 0).astype(np.uint8)
    # The seventh has no say, and leaves every pixel open.
    search = MixSearch(truth, np.stack([*[surely] * 6, np.full_like(surely, 128)]))
    assert search._scores((*[0.167] * 6, 0.0)).min() == 1


def test_what_joins_is_the_weighted_mean_above_the_threshold():
    soft = [np.array([[100, 200]], np.uint8), np.array([[20, 40]], np.uint8)]
    # 0.75 * 100 + 0.25 * 20 = 80; 0.75 * 200 + 0.25 * 40 = 160
    assert Mix((0.75, 0.25), 100 / 255).lesion(soft).tolist() == [[False, True]]
    assert Mix((0.75, 0.25), 160 / 255).lesion(soft).tolist() == [[False, False]]


def test_a_copy_keeps_shares_of_the_area():
    gray = np.zeros((128, 256), np.uint8)
    gray[:, :64] = 255
    assert shrink(gray).shape == (EDGE * EDGE,)
    assert np.mean(shrink(gray) == 255) == 1 / 4
