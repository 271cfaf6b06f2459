"""Masks against masks: drawn by hand, so that every pixel can be counted."""

import csv
import os

import cv2
import numpy as np
import pytest
from helpers import write_mask

from lesionseg.errors import DataError
from lesionseg.evaluation.mask_scores import MaskSet, score_masks
from lesionseg.evaluation.mask_tables import folder_csv, folder_grid, folder_rows, lesion_grid, split_by_folder
from lesionseg.evaluation.results import ImageResult
from lesionseg.evaluation.scores import PER_IMAGE, Confusion
from lesionseg.pixels.rle import unpack_mask


def result(id: str, tp: int, fp: int, fn: int, pixels: int = 10) -> ImageResult:
    return ImageResult(id, None, f"{id}.png", Confusion(tp, pixels - tp - fp - fn, fp, fn), {})


@pytest.fixture
def sets(tmp_path):
    """Two images of three masks each: the true one, and those of two systems."""
    rows = {
        "a": (("11...", "....."), ("1....", "1...."), (".....", ".....")),
        "b": (("1111.", "....."), ("111..", "....."), ("1111.", ".....")),
    }
    return [
        MaskSet(id, *(write_mask(tmp_path / "truth" / f"{id}.png", *truth), tuple(
            write_mask(tmp_path / name / f"{id}.png", *mask) for name, mask in zip("AB", masks, strict=True)
        )))
        for id, (truth, *masks) in rows.items()
    ]  # fmt: skip


def test_pixels_are_counted(sets, tmp_path):
    first, second = score_masks(sets)
    assert [row.counts for row in first] == [Confusion(tp=1, tn=7, fp=1, fn=1), Confusion(tp=3, tn=6, fp=0, fn=1)]
    assert [row.counts for row in second] == [Confusion(tp=0, tn=8, fp=0, fn=2), Confusion(tp=4, tn=6, fp=0, fn=0)]
    assert (first[0].id, first[0].image, first[0].truth) == ("a", None, str(tmp_path / "truth" / "a.png"))
    assert unpack_mask(first[0].prediction).tolist() == [[True] + 4 * [False]] * 2


def test_both_kinds_of_score_are_these_fractions(sets):
    grid = lesion_grid(dict(zip("AB", score_masks(sets), strict=True)))
    assert grid.header == ["test", "kind", "precision", "recall", "accuracy", "dice", "iou"]
    pooled, mean = [[line[1], *map(float, line[2:])] for line in grid.cells[:2]]
    assert pooled == ["pooled over pixels", *(round(each, 4) for each in (4 / 5, 4 / 6, 17 / 20, 8 / 11, 4 / 7))]
    assert mean == ["mean over images", *(round(each, 4) for each in (3 / 4, 5 / 8, 17 / 20, 19 / 28, 13 / 24))]
    # Where nothing is predicted, precision is 1.
    assert [line[2:4] for line in grid.cells[2:]] == [["1.0000", "0.6667"], ["1.0000", "0.5000"]]


def test_grays_next_to_the_threshold(tmp_path):
    for name, gray in (("truth", 129), ("A", 128)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.array([[0, gray, 255], [0, gray, 255]], np.uint8))
    ((row,),) = score_masks([MaskSet("a", tmp_path / "truth.png", (tmp_path / "A.png",))])
    assert row.counts == Confusion(tp=2, tn=2, fp=0, fn=2)


def test_an_image_has_the_size_of_its_mask(sets, tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((5, 2, 3), np.uint8))
    with pytest.raises(DataError, match=r"a.jpg: 2x5 pixels, expected the 5x2 of the true mask .*truth/a.png. Put the"):
        score_masks([MaskSet("a", sets[0].truth, sets[0].systems, tmp_path / "a.jpg")])


def test_all_faults_are_found_at_once(sets, tmp_path):
    write_mask(tmp_path / "A" / "a.png", "11", "..")
    (tmp_path / "B" / "a.png").write_bytes(b"no picture")
    os.unlink(tmp_path / "truth" / "b.png")
    cv2.imwrite(str(tmp_path / "A" / "b.png"), np.full((2, 5, 3), (0, 0, 255), np.uint8))
    with pytest.raises(DataError) as refused:
        score_masks(sets)
    faults = [fault.removeprefix(f"{tmp_path}/") for fault in refused.value.args]
    starts = ("B/a.png: not a readable picture", "A/a.png: 2x2 pixels, expected the 5x2 of the true mask")
    starts += ("truth/b.png: No such file or directory", "A/b.png: a coloured mask of")
    assert len(faults) == 4
    assert all(fault.startswith(start) for fault, start in zip(faults, starts, strict=True))


def test_of_many_faults_five_are_told(sets, tmp_path):
    write_mask(tmp_path / "A" / "a.png", "11", "..")
    with pytest.raises(DataError) as refused:
        score_masks(sets[:1] * 7)
    assert len(refused.value.args) == 5
    assert refused.value.args[-1].endswith("Put the matching file there. (these are the first 5 of 7 faults)")


FOLDERS = [result("x/1", 1, 1, 0), result("x/2", 0, 0, 0), result("y/1/1", 2, 0, 2)]


def test_folders_are_scored_and_averaged():
    rows = folder_rows(dict(A=FOLDERS))
    assert [(row["test"], row["folder"], row["images"]) for row in rows] == [
        ("A", "x", 2),
        ("A", "y", 1),
        ("A", "mean", 3),
    ]
    assert [row["jaccard"] for row in rows] == [3 / 4, 1 / 2, 5 / 8]
    assert [row["pooled_precision"] for row in rows] == [1 / 2, 1, 3 / 4]
    assert [row["pooled_recall"] for row in rows] == [1, 1 / 2, 3 / 4]


def test_a_folder_without_a_lesion_is_left_out_of_the_pooled_mean():
    rows = folder_rows(dict(A=[*FOLDERS, result("z/1", 0, 0, 0)]))
    assert rows[-1]["pooled_iou"] == (1 / 2 + 1 / 2) / 2
    lines = list(csv.DictReader(folder_csv(rows).splitlines()))
    assert (lines[2]["folder"], lines[2]["pooled_iou"], lines[2]["jaccard"]) == ("z", "", "1.0")
    assert set(PER_IMAGE) < set(lines[0])
    assert [line[-1] for line in folder_grid(rows).cells] == ["0.5000", "0.5000", "-", "0.5000"]


def test_only_where_every_id_has_a_folder_there_are_folders():
    assert list(split_by_folder(FOLDERS)) == ["x", "y"]
    assert split_by_folder([*FOLDERS, result("1", 1, 0, 0)]) == {}
    assert folder_rows(dict(A=FOLDERS[:2])) == []


def test_very_many_folders_are_for_the_table_on_disk():
    rows = folder_rows(dict(A=[result(f"{number}/1", 1, 0, 0) for number in range(21)]))
    assert len(folder_csv(rows).splitlines()) == 1 + 21 + 1
    assert folder_grid(rows) is None
