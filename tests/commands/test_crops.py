"""tools/predict.py --crops: what was found, cut out of the original image, and the table of it."""

import csv

import cv2
import numpy as np
import pytest
from drawn_models import FINDINGS, findings_model, instance_model
from helpers import draw_pair, load_tool
from predicted import files

from lesionseg.pixels.masks import read_mask

main = load_tool("predict").main
# In an image of 96x72 pixels; the fourth's score is too low, and the third is of another class.
BOXES = [((10, 10, 40, 50), 0.6, 0), ((30, 20, 70, 30), 0.9, 0), ((0, 0, 96, 72), 0.95, 1), ((80, 60, 90, 70), 0.4, 0)]


@pytest.fixture
def detector(tmp_path):
    return str(instance_model(tmp_path / "detector.onnx", BOXES))


@pytest.fixture
def arguments(detector, photos, tmp_path):
    """Of a run that writes masks and crops of the photographs."""
    return [detector, str(photos), "--out", str(tmp_path / "out"), "--crops", str(tmp_path / "crops")]


def crop_table(folder):
    with (folder / "crops.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(row, kind):
    return [int(row[f"{kind}_{name}"]) for name in ("x", "y", "width", "height")]


def test_instances_are_cut_out_of_the_original(detector, tmp_path, capsys):
    image = cv2.resize(draw_pair(9)[0], (192, 144))
    cv2.imwrite(str(tmp_path / "a.png"), image)
    crops = tmp_path / "crops"
    assert main([detector, str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--crops", str(crops)]) == 0
    assert capsys.readouterr().out.endswith(f"out; 2 crops and crops.csv in {crops}\n")
    assert files(crops) == ["a_1.png", "a_2.png", "crops.csv"]
    first, second = crop_table(crops)
    assert [first[name] for name in ("id", "instance", "file", "score")] == ["a", "1", "a_1.png", "0.900000"]
    assert second["image"] == str(tmp_path / "a.png")
    # A tenth of the longer edge, 80 pixels, on every side.
    assert (numbers(first, "box"), numbers(first, "crop")) == ([60, 40, 80, 20], [52, 32, 96, 36])
    assert (numbers(second, "box"), numbers(second, "crop")) == ([20, 20, 60, 80], [12, 12, 76, 96])
    assert first["area"] == "1600"
    assert np.array_equal(cv2.imread(str(crops / "a_1.png")), image[32:68, 52:148])
    assert np.array_equal(cv2.imread(str(crops / "a_2.png")), image[12:108, 12:88])


def test_all_but_the_instance_is_black_where_asked(detector, tmp_path):
    image = np.full((72, 96, 3), 200, np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    flags = ["--crops", str(tmp_path / "crops"), "--crop-margin", "25", "--mask-crops"]
    assert main([detector, str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), *flags]) == 0
    # The margin of 25 pixels ends at the image's border.
    assert numbers(crop_table(tmp_path / "crops")[1], "crop") == [0, 0, 65, 72]
    expected = np.zeros((72, 65, 3), np.uint8)
    expected[10:50, 10:40] = 200
    assert np.array_equal(cv2.imread(str(tmp_path / "crops" / "a_2.png")), expected)


def test_crops_show_what_post_processing_has_left(detector, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), draw_pair(0)[0])
    boxes = [((0, 0, 20, 40), 0.6, 0), ((60, 20, 70, 30), 0.9, 0)]
    model = str(instance_model(tmp_path / "apart.onnx", boxes))
    flags = ["--crops", str(tmp_path / "crops"), "--largest"]
    assert main([model, str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), *flags]) == 0
    (row,) = crop_table(tmp_path / "crops")
    assert (row["instance"], numbers(row, "box"), row["score"]) == ("1", [0, 0, 20, 40], "0.600000")


def test_components_are_cut_where_there_are_no_instances(model, tmp_path):
    image = np.full((72, 96, 3), 200, np.uint8)
    image[5:15, 4:10] = image[30:60, 50:90] = 20
    cv2.imwrite(str(tmp_path / "a.png"), image)
    cv2.imwrite(str(tmp_path / "nothing.png"), np.full((40, 70, 3), 200, np.uint8))
    inputs = [str(tmp_path / "a.png"), str(tmp_path / "nothing.png")]
    assert main([str(model), *inputs, "--out", str(tmp_path / "out"), "--crops", str(tmp_path / "crops")]) == 0
    large, small = crop_table(tmp_path / "crops")
    assert (numbers(large, "box"), numbers(small, "box")) == ([50, 30, 40, 30], [4, 5, 6, 10])
    assert float(small["score"]) == pytest.approx(1 / (1 + np.exp(-(128 - 20) / 20)), abs=1e-6)


def test_findings_have_folders_of_their_own(tmp_path, photos):
    model = str(findings_model(tmp_path / "findings.onnx"))
    crops = tmp_path / "crops"
    assert main([model, str(photos / "more"), "--out", str(tmp_path / "out"), "--crops", str(crops)]) == 0
    rows = crop_table(crops)
    assert list(dict.fromkeys(row["id"] for row in rows)) == [f"{finding}/ISIC_0" for finding in FINDINGS]
    assert files(crops) == sorted(["crops.csv", *(row["file"] for row in rows)])
    assert rows[0]["file"] == "dark/ISIC_0_1.png"


def test_earlier_crops_are_replaced_only_when_asked(arguments, tmp_path, capsys):
    crops = tmp_path / "crops"
    crops.mkdir()
    for name in ("ISIC_0_7.png", "ISIC_9_1.png"):
        (crops / name).touch()
    assert main(arguments) == 1
    message = f"error: {crops}: 1 crops or tables of them are there already (ISIC_0_7.png), expected none. Choose anoth"
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*arguments, "--overwrite"]) == 0
    # Of an image that is predicted again, no crop is left from before; those of others stay.
    ids = [*(f"ISIC_{number}" for number in range(5)), "more/ISIC_0"]
    assert files(crops) == sorted(
        ["ISIC_9_1.png", "crops.csv", *(f"{id}_{number}.png" for id in ids for number in (1, 2))]
    )
    assert main(arguments) == 1


def test_folders_that_are_no_place_for_crops(arguments, photos, tmp_path, capsys):
    *rest, _ = arguments
    (tmp_path / "file").touch()
    (tmp_path / "table" / "crops.csv").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "a.png"), draw_pair(0)[0])
    cv2.imwrite(str(tmp_path / "a_1.png"), draw_pair(1)[0])
    for flags, message in (
        ([str(photos / "crops")], "is searched for images, expected a folder apart. Choose another --crops."),
        ([str(tmp_path / "file")], "file: a file, expected a folder to write to. Choose another --crops."),
        (
            [str(tmp_path / "table")],
            "crops.csv: a folder, expected a place for a file. Move it away, or choose another",
        ),
        (
            [str(tmp_path), str(tmp_path / "a.png"), str(tmp_path / "a_1.png"), "--overwrite"],
            "a_1.png: 1 images that crops would replace, expected a folder without them. Choose another --crops.",
        ),
    ):
        assert main([*rest, *flags]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_that_was_ended_knows_its_crops(arguments, tmp_path, capsys, interrupted):
    crops = tmp_path / "crops"
    interrupted(4, folder=tmp_path / "out")
    assert main(arguments) == 130
    assert len(crop_table(crops)) == 6
    # As a kill leaves them: crops without a row, and an image whose crop is gone.
    (crops / "ISIC_4_5.png").touch()
    (crops / "ISIC_1_2.png").unlink()
    assert main([*arguments, "--mask-crops"]) == 1
    assert "with other settings (crops), expected those of now." in capsys.readouterr().err
    assert main(arguments) == 0
    assert "note: 2 of 6 images were predicted by an earlier run" in capsys.readouterr().err
    assert files(crops) == sorted(["crops.csv", *(row["file"] for row in crop_table(crops))])
    assert [row["file"] for row in crop_table(crops)][:4] == [
        "ISIC_0_1.png", "ISIC_0_2.png", "ISIC_1_1.png", "ISIC_1_2.png"
    ]  # fmt: skip
    assert len(crop_table(crops)) == 12


def test_an_image_has_all_its_outputs_or_none(arguments, photos, tmp_path, capsys):
    (tmp_path / "crops" / "ISIC_2_2.png" / "in_the_way").mkdir(parents=True)
    assert main(arguments) == 1
    assert f"ISIC_2.png: cannot be written: {tmp_path}" in capsys.readouterr().err
    assert "ISIC_2_1.png" not in files(tmp_path / "crops")
    assert "ISIC_2_segmentation.png" not in files(tmp_path / "out")
    assert len(crop_table(tmp_path / "crops")) == 10
    assert read_mask(tmp_path / "out" / "ISIC_3_segmentation.png").any()


@pytest.mark.parametrize("flags", [["--mask-crops"], ["--crop-margin", "3"], ["--crops", "c", "--crop-margin=-1"]])
def test_wrong_usage(flags):
    with pytest.raises(SystemExit, match="2"):
        main(["otsu-blue", "a.png", "--out", "out", *flags])
