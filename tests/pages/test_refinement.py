import numpy as np
import pytest
from helpers import draw_pair

from lesionseg.errors import DataError
from lesionseg.pages.refinement import refine


def outline(size, left, top, right, bottom):
    inside = np.zeros(size, bool)
    inside[top:bottom, left:right] = True
    return inside


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("size", [(72, 96), (600, 800)])
def test_the_lesion_in_a_rough_outline_is_found(size):
    image, mask = draw_pair(2, *size)
    truth = mask > 0
    height, width = size
    inside = outline(size, 3, 3, width - 3, height - 3)
    assert iou(inside, truth) < 0.3
    refined = refine(image, inside, np.zeros(size, bool))
    assert iou(refined, truth) > 0.95
    assert np.array_equal(refined, refine(image, inside, np.zeros(size, bool)))


def test_what_was_drawn_outside_of_the_outline_stays():
    image, mask = draw_pair(2)
    inside = outline(mask.shape, 3, 3, 93, 66)
    drawn = outline(mask.shape, 0, 68, 96, 72)
    assert refine(image, inside, drawn)[68:].all()


def test_what_was_drawn_within_says_what_is_meant():
    # Two lesions, one of them drawn roughly.
    image = np.full((60, 100, 3), (150, 170, 220), np.uint8)
    image += np.random.default_rng(0).integers(0, 8, image.shape, np.uint8)
    image[20:40, 10:40] = (40, 40, 90)
    image[20:40, 60:90] = (150, 120, 60)
    drawn = outline((60, 100), 14, 24, 36, 36)
    refined = refine(image, outline((60, 100), 3, 3, 97, 57), drawn)
    assert iou(refined, outline((60, 100), 10, 20, 40, 40)) > 0.95


@pytest.mark.parametrize("box", [(5, 5, 8, 8), (0, 0, 96, 72), (5, 5, 5, 5)])
def test_an_outline_of_nothing_or_of_everything_is_told(box):
    image, _ = draw_pair(2)
    with pytest.raises(DataError, match=r"outline: [09] pixels of lesion or of skin to learn from, expected 25"):
        refine(image, outline((72, 96), *box), np.zeros((72, 96), bool))
