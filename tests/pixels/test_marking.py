import cv2
import numpy as np
import pytest

from lesionseg.errors import DataError
from lesionseg.pixels.marking import LEAST_AUTOMATIC, Marking, difference

HEIGHT, WIDTH = 60, 80
SKIN = np.full((HEIGHT, WIDTH, 3), (120, 140, 180), np.uint8)
FIXED = Marking({"": 20})
AUTOMATIC = Marking({"": None})


def lighter(by: int, rows: slice = slice(10, 20), columns: slice = slice(30, 50), channel: int = 0) -> np.ndarray:
    """The skin with one channel of a rectangle changed, 10 x 20 pixels unless told otherwise."""
    marked = SKIN.copy()
    marked[rows, columns, channel] += np.uint8(by)
    return marked


def find(marking, marked, finding="acne"):
    return marking.find(SKIN, marked, finding, "a.jpg")


def test_a_mark_is_where_a_channel_differs_by_more_than_the_threshold():
    with pytest.raises(DataError, match=r"^a\.jpg: it does not differ .* more than 20 of 255.* --threshold acne=N\.$"):
        find(FIXED, lighter(20))
    for channel in range(3):
        lesion, threshold = find(FIXED, lighter(21, channel=channel))
        assert threshold == 20
        assert lesion.sum() == 200
        assert lesion[10:20, 30:50].all()


def test_darker_and_lighter_are_both_marks():
    assert FIXED.find(lighter(21), SKIN, "acne", "a.jpg").lesion.sum() == 200


def test_melanin_is_compared_in_gray():
    # Green counts 0.587: 161.4 - 149.7, each rounded.
    green = lighter(20, channel=1)
    assert difference(SKIN, green, "mela").max() == 11
    assert difference(SKIN, green, "acne").max() == 20


def test_every_finding_has_its_threshold_and_all_others_one():
    marking = Marking({"hemo": 10, "": 30})
    assert find(marking, lighter(11), "hemo").threshold == 10
    assert find(marking, lighter(31), "nevus").threshold == 30
    with pytest.raises(DataError, match="more than 30 of 255"):
        find(marking, lighter(11), "nevus")


def test_specks_are_dropped():
    marked = lighter(60)
    marked[2, 3] = marked[55, 70] = 0
    assert find(FIXED, marked).lesion.sum() == 200
    with pytest.raises(DataError, match="specks apart"):
        find(FIXED, lighter(60, slice(2, 3), slice(3, 4)))


def test_closed_outlines_are_filled_and_open_ones_are_not():
    outline = SKIN.copy()
    outline[20:40, 10:30] = (0, 255, 255)
    outline[22:38, 12:28] = SKIN[22:38, 12:28]
    closed = find(FIXED, outline).lesion.sum()
    filled = find(Marking({"": 20}, fill_outlines=True), outline).lesion.sum()
    assert filled - closed == 16 * 16
    outline[28:32] = SKIN[28:32]
    assert np.array_equal(find(Marking({"": 20}, fill_outlines=True), outline).lesion, find(FIXED, outline).lesion)


def test_the_automatic_threshold_lies_between_noise_and_marks():
    noise = np.random.default_rng(0).integers(0, LEAST_AUTOMATIC, SKIN.shape, np.uint8)
    lesion, threshold = find(AUTOMATIC, lighter(100) + noise // 2)
    assert LEAST_AUTOMATIC <= threshold < 100
    assert lesion.sum() == 200
    with pytest.raises(DataError, match=f"more than {LEAST_AUTOMATIC} of 255"):
        find(AUTOMATIC, SKIN + noise)


def test_the_marks_of_a_saved_photograph_are_found():
    textured = cv2.GaussianBlur(np.random.default_rng(1).integers(90, 190, SKIN.shape, np.uint8), (0, 0), 2)
    marked = textured.copy()
    cv2.circle(marked, (40, 30), 8, (0, 255, 255), -1)
    saved = [cv2.imdecode(cv2.imencode(".jpg", each)[1], cv2.IMREAD_COLOR) for each in (textured, marked)]
    truth = (textured != marked).any(axis=2)
    lesion = FIXED.find(*saved, "acne", "a.jpg").lesion
    assert (lesion & truth).sum() == truth.sum()
    # JPEG blurs the edge by a pixel or two.
    assert not lesion[cv2.dilate(truth.view(np.uint8), np.ones((7, 7))) == 0].any()


def test_another_photograph_is_no_marked_one():
    with pytest.raises(DataError, match=r"almost all of it differs .* belong together, or raise --threshold N\.$"):
        find(FIXED, SKIN // 2, "")
