import cv2
import numpy as np
import pytest

from lesionseg.pixels.legends import add_legend, heat_picture
from lesionseg.pixels.outlines import FINDING_COLOURS, outline_instances, outline_picture
from lesionseg.pixels.parts import Region

RED = (255, 0, 0)


def has_colour(picture, colour):
    return np.any(np.all(picture == colour[::-1], axis=2))


@pytest.mark.parametrize("size", [(72, 96), (600, 900), (3, 5)])
def test_a_legend_is_below_the_picture_and_as_wide(size):
    picture = np.full((*size, 3), 40, np.uint8)
    made = add_legend(picture, [("a text that is longer than small pictures are wide", RED), ("l\xe9sion", None)])
    assert np.array_equal(made[: size[0]], picture)
    assert made.shape[1:] == (size[1], 3)
    strip = made[size[0] :]
    assert len(strip) > 0
    if size[1] > 5:
        assert has_colour(strip, RED)
        # The text ends before the border does.
        assert strip[:, -1].min() == 255


def test_entries_that_do_not_fit_go_into_the_next_line():
    picture = np.zeros((600, 900, 3), np.uint8)
    one = len(add_legend(picture, [("x" * 10, None)] * 2))
    assert len(add_legend(picture, [("x" * 10, None)] * 10)) - 600 == pytest.approx(2 * (one - 600), abs=1)


def test_heat_grows_with_the_probability():
    image = np.full((72, 96, 3), 100, np.uint8)
    probability = np.tile(np.linspace(0, 1, 96, dtype=np.float32), (72, 1))
    made = heat_picture(image, probability)
    bar = made[72]
    # The scale below has the same colours, without the image in them.
    assert np.abs(2 * made[36].astype(int) - 100 - bar).max() <= 4
    assert len(np.unique(bar, axis=0)) > 90


def test_each_instance_has_its_colour_and_none_is_outside():
    image = np.full((480, 640, 3), 128, np.uint8)
    regions = [Region(40 + 200 * number, 100, np.ones((80, 100), bool)) for number in range(3)]
    made = outline_instances(image, [(region, 0.9) for region in regions], "nail")
    for number, region in enumerate(regions):
        assert has_colour(region.of(made), FINDING_COLOURS[number])
        assert np.all(region.of(made)[30:50, 30:70] == 128)
    assert np.all(made[300:] == 128)
    assert not np.array_equal(outline_instances(image, [], "nail"), image), "that there is none is told"


def test_lines_are_thinner_around_what_is_small():
    def width(edge):
        mask = np.zeros((960, 1280), bool)
        mask[500 : 500 + edge, 600 : 600 + edge] = True
        picture = outline_picture(np.zeros((960, 1280, 3), np.uint8), prediction=mask)
        return np.count_nonzero(picture[500 + edge // 2, : 600 + edge // 2].any(1))

    assert width(20) < width(400)


def test_numbers_of_instances_do_not_cover_each_other(monkeypatch):
    written = []
    monkeypatch.setattr(cv2, "putText", lambda picture, text, place, *rest: written.append((text, place)))
    region = Region(300, 200, np.ones((40, 40), bool))
    outline_instances(np.zeros((480, 640, 3), np.uint8), [(region, 0.9), (region, 0.8)], "nail")
    first, second = (dict(written)[text] for text in ("1: 0.90", "2: 0.80"))
    assert second[1] - first[1] >= 10
