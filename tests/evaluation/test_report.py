import csv
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_pairs import HEIGHT, WIDTH

from lesionseg.errors import DataError
from lesionseg.evaluation.pictures import PREDICTION_COLOUR, TRUTH_COLOUR, choose_examples, outline_picture, outlined
from lesionseg.evaluation.report import (
    dataset_fingerprint,
    provenance,
    score_table,
    truth_fingerprint,
    write_report,
)
from lesionseg.evaluation.scores import LESION, PER_IMAGE, POOLED, Confusion, mean_scores, pooled_scores, precision


def test_report_has_both_kinds_of_score_and_their_provenance(table, tmp_path):
    write_report(tmp_path / "report", table, dict(config="a.py"), ["a note"])
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["per_image"] == mean_scores([row.scores for row in table])
    assert report["pooled"] == pooled_scores(row.counts for row in table)
    assert (report["images"], report["provenance"], report["notes"]) == (20, {"config": "a.py"}, ["a note"])
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "report.json",
        "report.html",
        "per_image.csv",
        "jaccard.png",
        "contact_sheet.jpg",
    }


def test_a_score_that_does_not_exist_is_null(table, tmp_path):
    empty = replace(table[0], counts=Confusion(tp=0, tn=HEIGHT * WIDTH, fp=0, fn=0))
    write_report(tmp_path / "report", [empty], {})
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["pooled"]["IoU.lesion"] is None
    assert report["lesion"] == dict(
        per_image=dict.fromkeys(LESION, 1.0), pooled=dict.fromkeys(LESION) | dict(accuracy=1.0)
    )


def test_csv_gives_the_same_floats_again(table, tmp_path):
    write_report(tmp_path, table, {})
    with open(tmp_path / "per_image.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 20
    for line, row in zip(lines, table, strict=True):
        assert (line["id"], line["image"], line["truth"]) == (row.id, row.image, row.truth)
        assert {name: float(line[name]) for name in PER_IMAGE} == row.scores
        assert float(line["precision"]) == precision(row.counts)
        assert Confusion(*(int(line[name]) for name in ("tp", "tn", "fp", "fn"))) == row.counts
        assert float(line["truth_share"]) == (row.counts.tp + row.counts.fn) / (HEIGHT * WIDTH)


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_pictures_can_be_opened(table, tmp_path, count):
    write_report(tmp_path, table[:count], {})
    for name in ("jaccard.png", "contact_sheet.jpg"):
        height, width = cv2.imread(str(tmp_path / name)).shape[:2]
        assert 300 < height < 2000
        assert 300 < width < 2000


def test_contact_sheet_shows_every_chosen_image_once(table):
    by_score = sorted(table, key=lambda row: -row.scores["jaccard"])
    for count in range(1, 21):
        groups = choose_examples(table[:count])
        chosen = [row.id for rows in groups.values() for row in rows]
        assert len(chosen) == len(set(chosen)) == min(count, max(1, count // 3) * min(count, 3), 12)
    groups = choose_examples(table)
    assert list(groups) == ["best", "median", "worst"]
    assert groups["best"][0].scores["jaccard"] == by_score[0].scores["jaccard"]
    assert groups["worst"][0].scores["jaccard"] == by_score[-1].scores["jaccard"]
    middle = [row.scores["jaccard"] for row in groups["median"]]
    assert middle == [row.scores["jaccard"] for row in by_score[8:12]]


def test_without_images_the_true_mask_is_the_ground(table):
    picture = outlined(replace(table[1], image=None))
    truth = cv2.imread(table[1].truth, cv2.IMREAD_GRAYSCALE) > 128
    gray = np.all(picture == picture[..., :1], axis=2)
    assert set(np.unique(picture[gray & truth])) == {112}
    assert set(np.unique(picture[gray & ~truth])) == {64}


def test_an_image_that_changed_since_it_was_measured_is_an_error(table, tmp_path):
    cv2.imwrite(table[0].image, np.zeros((WIDTH, HEIGHT, 3), np.uint8))
    with pytest.raises(DataError, match="has changed since it was measured"):
        write_report(tmp_path / "report", table[:1], {})
    assert not (tmp_path / "report").exists()


def test_outlines_follow_the_masks_and_leave_the_rest_alone():
    image = np.full((240, 480, 3), 128, np.uint8)
    truth, prediction = np.zeros((2, 240, 480), bool)
    truth[40:200, 40:160] = True
    truth[100:140, 80:120] = False  # a hole
    prediction[0:80, 300:480] = True  # at the border
    picture = outline_picture(image, truth, prediction)
    assert np.all(image == 128)
    assert tuple(picture[40, 100]) == tuple(picture[99, 100]) == TRUTH_COLOUR[::-1]
    assert tuple(picture[79, 400]) == tuple(picture[0, 400]) == PREDICTION_COLOUR[::-1]
    for untouched in (picture[70, 100], picture[120, 100], picture[40, 400], picture[220, 240]):
        assert tuple(untouched) == (128, 128, 128)
    assert np.array_equal(outline_picture(image), image)


def test_both_outlines_show_where_masks_agree():
    mask = np.zeros((240, 480), bool)
    mask[40:200, 40:160] = True
    picture = outline_picture(np.zeros((240, 480, 3), np.uint8), mask, mask)
    for colour in (TRUTH_COLOUR, PREDICTION_COLOUR):
        assert np.count_nonzero(np.all(picture == colour[::-1], axis=2)) > 500


def test_provenance_names_everything_that_was_used(table, tmp_path):
    checkpoint = tmp_path / "best.pth"
    checkpoint.write_bytes(b"weights")
    facts = provenance("configs/a.py", "x = 1\n", checkpoint, "lesionseg.ops", table)
    assert facts["config_sha256"] == hashlib.sha256(b"x = 1\n").hexdigest()
    assert facts["checkpoint_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert facts["dataset_sha256"] == dataset_fingerprint(table)
    assert facts["annotations_sha256"] is None
    parts = {"python", "lesionseg", "torch", "mmengine", "mmcv", "mmseg", "mmdet", "numpy", "cv2"}
    assert set(facts["versions"]) == parts
    assert all(isinstance(version, str) for version in facts["versions"].values())
    json.dumps(facts)


def test_fingerprint_is_of_the_contents_not_of_the_place_or_order(table, tmp_path):
    fingerprint = dataset_fingerprint(table)
    shutil.copytree(tmp_path, tmp_path / "copy")
    moved = [
        replace(
            row,
            image=str(tmp_path / "copy" / Path(row.image).name),
            truth=str(tmp_path / "copy" / Path(row.truth).name),
        )
        for row in reversed(table)
    ]
    assert dataset_fingerprint(moved) == fingerprint

    # Without images it is that of the true masks.
    assert dataset_fingerprint([replace(row, image=None) for row in table]) == truth_fingerprint(table) != fingerprint

    mask = Path(table[3].truth)
    mask.write_bytes(mask.read_bytes() + b"\0")
    assert dataset_fingerprint(table) != fingerprint


def test_terminal_table_names_both_kinds_of_score(table):
    text = score_table(table)
    assert "per image (mean over images, official)" in text
    assert "pooled over pixels (MMSeg)" in text
    for name in (*PER_IMAGE, *POOLED):
        assert name in text
    assert f"{mean_scores([row.scores for row in table])['jaccard']:.4f}" in text
    assert len({line.find("mIoU") for line in text.splitlines() if "mIoU" in line}) == 1
