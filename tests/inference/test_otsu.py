"""The baseline that has learned nothing: dark pieces are found, dark corners are not, odd images end in no crash."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import draw_pair

from lesionseg.engine.families import INSTANCES
from lesionseg.errors import DataError
from lesionseg.evaluation.scores import Confusion, jaccard
from lesionseg.inference import Segmenter
from lesionseg.inference.finder import Image
from lesionseg.inference.opening import check_task, open_finder
from lesionseg.pixels.vignettes import find_vignette


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    return jaccard(Confusion.from_masks(truth, found))


@pytest.mark.parametrize("size", [(72, 96), (600, 450)])
def test_the_dark_piece_is_found_in_any_size(size):
    image, truth = draw_pair(3, *size)
    found = Segmenter("otsu-blue").predict(image)
    assert found.mask.shape == size
    assert overlap(found.mask, truth > 0) > 0.95
    assert np.array_equal(found.mask, found.probability == 1)
    assert set(np.unique(found.probability)) == {0, 1}
    assert found.instances is None


def test_a_dermatoscopes_border_is_neither_lesion_nor_skin():
    """A round view with a faint lesion: beside the black corners, all of it would count as light."""
    view, lesion = np.zeros((2, 300, 400), np.uint8)
    cv2.circle(view, (200, 150), 180, 1, -1)
    cv2.ellipse(lesion, (210, 140), (60, 40), 20, 0, 360, 1, -1)
    image = np.full((300, 400, 3), (150, 170, 220), np.uint8)
    image[lesion > 0] = (115, 140, 200)
    image[view == 0] = 8
    assert np.count_nonzero(find_vignette(image) & (view > 0)) < 0.05 * view.sum()
    assert find_vignette(image)[view == 0].all()
    assert overlap(Segmenter("otsu-blue").predict(image).mask, lesion > 0) > 0.95


def test_of_two_pieces_the_central_one_is_taken_without_its_holes():
    image = np.full((200, 300, 3), (150, 170, 220), np.uint8)
    image[60:140, 110:190] = (50, 70, 110)
    image[85:115, 135:165] = (150, 170, 220)
    image[10:190, 240:298] = (50, 70, 110)
    expected = np.zeros((200, 300), bool)
    expected[60:140, 110:190] = True
    assert overlap(Segmenter("otsu-blue").predict(image).mask, expected) > 0.95


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (1, 500), (40, 70), (2, 40_000)])
@pytest.mark.parametrize("gray", [0, 128, 255])
def test_nothing_is_found_in_one_colour(shape, gray):
    found = Segmenter("otsu-blue").predict(np.full((*shape, 3), gray, np.uint8))
    assert found.mask.shape == shape
    assert not found.mask.any()


def test_class_scores_are_given_where_asked_for():
    image, _ = draw_pair(4)
    (found,) = open_finder("otsu-blue").find([Image(image)], keep_scores=True)
    assert np.array_equal(found.class_scores.argmax(0), found.mask)


def test_a_word_is_the_method_and_a_path_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "otsu-blue").mkdir()
    cv2.imwrite("otsu-blue/a.png", np.zeros((5, 7), np.uint8))
    dark = np.full((5, 7, 3), 200, np.uint8)
    dark[2, 3] = 0
    for folder in ("./otsu-blue", Path("otsu-blue")):
        assert not open_finder(folder).find([Image(dark, "a")])[0].mask.any()
    assert open_finder("otsu-blue").find([Image(dark, "a")])[0].mask.any()


@pytest.mark.parametrize("choice", [dict(tta=True), dict(min_score=0.0), dict(instances="top1")])
def test_what_is_for_networks_is_refused(choice):
    message = r"^otsu-blue: its masks can be neither averaged nor chosen from, expected a network\. Leave out tta, min_"
    with pytest.raises(DataError, match=message):
        Segmenter("otsu-blue", **choice)


def test_a_checkpoint_or_a_detectors_config_is_refused():
    with pytest.raises(DataError, match=r"^otsu-blue: needs no checkpoint, but there is a\.pth"):
        Segmenter("otsu-blue", "a.pth")
    with pytest.raises(DataError, match=r"^otsu-blue: a model for semantic .* Use a config for semantic seg"):
        check_task(open_finder("otsu-blue").task, INSTANCES, "otsu-blue")
