import cv2
import numpy as np
import pytest

from lesionseg.pixels.parts import (
    drop_small,
    fill_holes,
    largest_component,
    most_central_component,
    region_of,
    split_parts,
)


def drawn(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


RING = drawn(
    ".......",
    ".####..",
    ".#..#..",
    ".#.##..",
    ".###...",
)
# A part of 2 pixels, one of 4 whose pixels touch at corners only, and one of 1 in the corner.
PARTS = drawn(
    "##.....#",
    ".....#..",
    "...##...",
    "..#.....",
    "........",
)


def test_a_hole_is_filled():
    filled = RING.copy()
    filled[2, 2:4] = filled[3, 2] = True
    assert np.array_equal(fill_holes(RING), filled)


def test_a_diagonal_line_closes_a_hole():
    diamond = drawn("..#..", ".#.#.", "..#..")
    assert fill_holes(diamond)[1].tolist() == [False, True, True, True, False]


def test_a_bay_is_no_hole():
    bay = RING.copy()
    bay[4, 1:4] = bay[3, 1] = False
    assert np.array_equal(fill_holes(bay), bay)


def test_a_bay_of_the_border_is_no_hole_and_a_corner_can_be_lesion():
    mask = drawn("#..#", "####", "#..#")
    assert np.array_equal(fill_holes(mask), mask)


def test_a_part_inside_a_hole_is_kept():
    mask = np.zeros((9, 11), np.uint8)
    cv2.rectangle(mask, (1, 1), (9, 7), 1)
    mask[4, 5] = 1
    assert np.count_nonzero(fill_holes(mask > 0)) == 9 * 7


def test_the_largest_part_is_kept():
    assert np.argwhere(largest_component(PARTS)).tolist() == [[1, 5], [2, 3], [2, 4], [3, 2]]


def test_of_equal_parts_the_first_is_kept():
    assert largest_component(drawn("#.#..")).tolist() == [[True, False, False, False, False]]


def test_parts_of_the_least_area_are_kept():
    assert np.array_equal(drop_small(PARTS, 1), PARTS)
    assert np.count_nonzero(drop_small(PARTS, 2)) == 6
    assert np.array_equal(drop_small(PARTS, 4), largest_component(PARTS))
    assert not drop_small(PARTS, 4.5).any()


@pytest.mark.parametrize("mask", [np.zeros((5, 8), bool), np.ones((5, 8), bool), np.ones((1, 1), bool)])
@pytest.mark.parametrize("process", [fill_holes, largest_component, lambda mask: drop_small(mask, 1)])
def test_nothing_and_everything_stay_what_they_are(mask, process):
    processed = process(mask)
    assert processed.dtype == bool
    assert np.array_equal(processed, mask)


def test_near_the_centre_few_pixels_outweigh_many():
    near = drawn("..#......", "...#.....", "........#", "........#", "........#")
    assert np.array_equal(most_central_component(near), drawn("..#......", "...#.....", *3 * [9 * "."]))
    assert not most_central_component(np.zeros((3, 4), bool)).any()


def test_parts_are_split_the_largest_first():
    parts = split_parts(PARTS)
    assert [(part.left, part.top) for part in parts] == [(2, 1), (0, 0), (7, 0)]
    assert np.array_equal(parts[0].mask, drawn("...#", ".##.", "#..."))
    assert parts[0].of(PARTS).tolist() == parts[0].mask.tolist()
    assert split_parts(np.zeros((3, 4), bool)) == []


def test_a_region_holds_all_parts():
    region = region_of(RING)
    assert (region.left, region.top) == (1, 1)
    assert np.array_equal(region.mask, RING[1:, 1:5])
    assert region_of(np.zeros((3, 4), bool)) is None
