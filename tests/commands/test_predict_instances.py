"""tools/predict.py with Mask R-CNN: instances as rows, as numbered pixels and as COCO."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_models import CARD, instance_model
from helpers import draw_pair, load_tool
from predicted import files, table

from lesionseg.commands.instances import annotate, label_instances
from lesionseg.data.coco.convert import coco_to_masks
from lesionseg.data.names import all_masks, is_photograph
from lesionseg.engine.families import INSTANCES
from lesionseg.inference.inputs import Input
from lesionseg.pixels.masks import read_mask
from lesionseg.pixels.parts import Region

main = load_tool("predict").main
# In an image of 96x72 pixels; the fourth's score is too low, and the third is of another class.
BOXES = [((10, 10, 40, 50), 0.6, 0), ((30, 20, 70, 30), 0.9, 0), ((0, 0, 96, 72), 0.95, 1), ((80, 60, 90, 70), 0.4, 0)]


@pytest.fixture
def nails(tmp_path):
    card = replace(CARD, task=INSTANCES, classes=("nail", "thumb"), score_rule="union", min_score=0.5)
    return str(instance_model(tmp_path / "nails.onnx", BOXES, card))


def instance_table(folder):
    with (folder / "instances.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_instance_has_a_row_a_number_and_an_annotation(nails, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), draw_pair(0, 144, 192)[0])
    out = tmp_path / "out"
    assert main([nails, str(tmp_path / "a.png"), "--out", str(out), "--overlay"]) == 0
    assert capsys.readouterr().out.endswith(
        "predicted 1 images, 2 instances (nail), 0 without a nail; masks, instances.csv, instances.json and "
        f"predictions.csv are in {out}\n"
    )
    expected = ["a_instances.png", "a_overlay.jpg", "a_segmentation.png", "instances.csv", "instances.json"]
    assert files(out) == [*expected, "predictions.csv"]
    first, second = instance_table(out)
    assert (first["id"], first["image"]) == ("a", str(tmp_path / "a.png"))
    assert list(first.values())[2:] == ["1", "nail", "0.900000", "60", "40", "80", "20", "1600"]
    # Its corners are rounded where the mask is spread over the box.
    assert list(second.values())[2:] == ["2", "nail", "0.600000", "20", "20", "60", "80", "4796"]
    numbers = cv2.imread(str(out / "a_instances.png"), cv2.IMREAD_UNCHANGED)
    assert (numbers.shape, numbers.dtype) == ((144, 192), np.uint8)
    # Both have the 20x20 pixels where they overlap, which are the best-scored one's.
    assert np.bincount(numbers.ravel()).tolist() == [144 * 192 - 5996, 1600, 4796 - 400]
    assert np.array_equal(numbers > 0, read_mask(out / "a_segmentation.png") > 128)
    # Numbers are neither masks to be scored nor photographs.
    assert list(all_masks(out)[0]) == ["a"]
    assert not is_photograph("a_instances.png")

    coco = json.loads((out / "instances.json").read_text())
    assert coco["images"] == [dict(id=1, file_name="a.png", height=144, width=192)]
    assert coco["categories"] == [dict(id=1, name="nail")]
    annotation = coco["annotations"][0]
    (corners,) = annotation.pop("segmentation")
    assert sorted(zip(corners[::2], corners[1::2], strict=True)) == [(60, 40), (60, 60), (140, 40), (140, 60)]
    assert annotation.pop("score") == pytest.approx(0.9)
    assert annotation == dict(id=1, image_id=1, category_id=1, area=1600, bbox=[60, 40, 80, 20], iscrowd=0)
    coco_to_masks(out / "instances.json", tmp_path / "masks")
    assert np.array_equal(read_mask(tmp_path / "masks/a.png"), read_mask(out / "a_segmentation.png"))


def test_nothing_found_is_written_too(nails, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), draw_pair(0)[0])
    arguments = [nails, str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--overlay"]
    assert main([*arguments, "--min-score", "0.96"]) == 0
    assert "0 instances (nail), 1 without a nail" in capsys.readouterr().out
    assert instance_table(tmp_path / "out") == []
    assert not cv2.imread(str(tmp_path / "out/a_instances.png"), cv2.IMREAD_UNCHANGED).any()
    coco = json.loads((tmp_path / "out/instances.json").read_text())
    assert (len(coco["images"]), coco["annotations"]) == (1, [])


def test_of_an_instance_in_pieces_the_largest_comes_first():
    mask = np.zeros((9, 12), bool)
    mask[0, 0] = mask[4:9, 4:12] = True
    mask[6, 6:8] = False  # a hole, which polygons fill
    (row,) = annotate(Input("a", Path("a.png")), [(Region(100, 50, mask), 0.5)], "nail")
    large, small = json.loads(row.annotation)["segmentation"]
    assert sorted(zip(large[::2], large[1::2], strict=True)) == [(104, 54), (104, 59), (112, 54), (112, 59)]
    assert min(small[::2]) == 100
    assert (row.area, json.loads(row.annotation)["area"]) == (1 + 5 * 8 - 2, 1 + 5 * 8)


def test_more_instances_than_a_byte_counts():
    regions = [(Region(number, 0, np.ones((1, 2), bool)), 0.5) for number in range(300)]
    numbers = label_instances((1, 301), regions)
    assert numbers.dtype == np.uint16
    assert numbers.tolist() == [[1, *range(1, 301)]]
    assert label_instances((1, 301), regions[:255]).dtype == np.uint8


def test_a_run_that_was_ended_knows_its_instances(nails, photos, tmp_path, capsys, interrupted):
    out = tmp_path / "out"
    interrupted(4, folder=out)
    assert main([nails, str(photos), "--out", str(out)]) == 130
    assert len(instance_table(out)) == len(json.loads((out / "instances.json").read_text())["annotations"]) == 6
    # As a kill leaves it.
    (out / "instances.csv").unlink()
    (out / "ISIC_1_instances.png").unlink()
    assert main([nails, str(photos), "--out", str(out)]) == 0
    assert "note: 2 of 6 images were predicted by an earlier run" in capsys.readouterr().err
    assert not (out / "instances.unfinished.csv").exists()
    ids = [row["id"] for row in table(out)]
    assert [(row["id"], row["instance"]) for row in instance_table(out)] == [(id, n) for id in ids for n in "12"]
    coco = json.loads((out / "instances.json").read_text())
    assert [image["file_name"] for image in coco["images"]][4:] == ["ISIC_4.png", "more/ISIC_0.JPG"]
    assert [each["image_id"] for each in coco["annotations"]] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    # Nothing is replaced unless asked.
    for name in ("predictions.csv", *(path.name for path in out.glob("*.png"))):
        (out / name).unlink()
    assert main([nails, str(photos), "--out", str(out)]) == 1
    assert "outputs are there already (" in capsys.readouterr().err
