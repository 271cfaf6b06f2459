"""One image has one id, whoever names it."""

import csv
import os
import shutil

import cv2
import pytest
from helpers import draw_pair, load_tool

from lesionseg.data.coco.convert import masks_to_coco
from lesionseg.data.datasets.instances import LesionCocoDataset
from lesionseg.data.datasets.semantic import ISICDataset
from lesionseg.data.names import (
    image_id,
    is_mask_folder,
    is_photograph,
    is_picture,
    left_out,
    listed_id,
    mask_file,
    mask_id,
    usual_suffix,
    without_ending,
)
from lesionseg.inference.inputs import find_inputs


@pytest.mark.parametrize(
    ("name", "id"),
    [("a.jpg", "a"), ("1/a.JPG", "1/a"), ("a.v2.jpg", "a.v2"), ("c_segmentation.png", "c_segmentation")],
)
def test_an_id_is_the_path_without_extension(name, id):
    assert image_id(name) == id


def test_a_list_may_name_files():
    assert [listed_id(name) for name in ("1/a.jpg", "1/a", "a.v2", "a.v2.PNG")] == ["1/a", "1/a", "a.v2", "a.v2"]


@pytest.mark.parametrize(
    ("name", "id"),
    [("a.png", "a"), ("1/a_segmentation.png", "1/a"), ("a_Segmentation.png", "a"), ("a.jpg", None), ("a.txt", None)],
)
def test_masks_go_by_their_image(name, id):
    assert mask_id(name) == id


def test_a_predicted_mask_is_found_as_the_mask_of_its_image():
    assert mask_id(mask_file("1/a")) == "1/a"
    assert without_ending("1/a_Segmentation") == "1/a"
    assert without_ending("1/a") is None
    assert without_ending("1/a", "") is None


def test_pictures_are_known_by_their_extension():
    assert [name for name in ("a.jpg", "b.TIFF", "c.txt", "d") if is_picture(name)] == ["a.jpg", "b.TIFF"]


@pytest.mark.parametrize(
    "name",
    [
        *("masks", "Masks", "trainmasks", "image_masks", "labelsTr", "SegmentationClass"),
        *("gt", "train_gt", "annotations"),
        *("ground truth", "ISIC2018_Task1_Training_GroundTruth", "ISIC-2017_Test_v2_Part1_GroundTruth"),
    ],
)
def test_folders_of_masks_are_known_by_their_names(name):
    assert is_mask_folder(name)
    assert not is_photograph(f"train/{name}/acne/1.png")


@pytest.mark.parametrize(
    "name",
    [
        *("images", "unlabelled", "unlabeled", "un-labelled", "labelled", "masked", "unsegmented", "length"),
        *("label_1", "labels 2", "segmented", "gt-clinic"),
        *("images_without_masks", "no_masks", "without annotations", "nonsegmented"),
    ],
)
def test_folders_of_photographs_are_not_taken_for_masks(name):
    assert not is_mask_folder(name)
    assert is_photograph(f"{name}/1.png")


def test_names_that_look_the_same_are_the_same():
    composed, decomposed = "l\u00e9sion", "le\u0301sion"
    assert image_id(f"{decomposed}.jpg") == composed == listed_id(decomposed) == mask_id(f"{decomposed}.png")


def test_bytes_that_are_no_utf8_are_written_with_percents():
    name = os.fsdecode(b"l\xe9sion \xff.jpg")
    assert image_id(name) == "l%E9sion %FF"
    assert image_id(name).encode()


def test_every_picture_has_a_usual_suffix():
    assert [usual_suffix(f"a{suffix}") for suffix in (".JPEG", ".jpe", ".jfif", ".dib", ".webp", ".PNG")] == [
        ".jpg", ".jpg", ".jpg", ".bmp", ".webp", ".png"
    ]  # fmt: skip


def test_what_is_left_out_is_counted_and_named():
    assert left_out(["a.heic", "b.txt", "c.DCM"], "no picture") == [
        "left out 1 files that are no picture (b.txt)",
        "left out 2 pictures of formats that are not read here (a.heic, c.DCM): convert them to JPEG or "
        "PNG to use them",
    ]
    assert left_out([], "no picture") == []


@pytest.fixture
def names(tmp_path):
    """Pairs under names of all kinds: image and mask in two forms, bytes that are no UTF-8, brackets and blanks."""
    raw = tmp_path / "raw [1]"
    pairs = {
        "l\u00e9sion.jpg": "le\u0301sion.png",
        os.fsdecode(b"l\xe9sion.jpg"): os.fsdecode(b"l\xe9sion.png"),
        "a [2] (b).JPG": "a [2] (b).png",
        "=1+1.jpe": "=1+1.png",
        f"{'x' * 240}.jfif": f"{'x' * 240}.png",
        "$b$.webp": "$b$.png",
        "a\n\u2028b.jpg": "a\n\u2028b.png",
    }
    for number, (image, mask) in enumerate(pairs.items()):
        picture, lesion = draw_pair(number)
        for folder, name, pixels in (("images", image, picture), ("masks", mask, lesion)):
            (raw / folder).mkdir(parents=True, exist_ok=True)
            suffix = ".webp" if name.endswith("webp") else ".png" if folder == "masks" else ".jpg"
            (raw / folder / name).write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())
    return raw


IDS = sorted(["lésion", "l%E9sion", "a [2] (b)", "=1+1", "x" * 240, "$b$", "a%0A%2028b"])


@pytest.mark.parametrize("flags", [[], ["--images", "im*", "--masks", "mas*"]])
def test_names_of_all_kinds_are_converted(names, tmp_path, flags):
    out = tmp_path / "out"
    assert load_tool("convert_isic").main([str(names), str(out), "--layout", "pairs", *flags]) == 0
    assert sorted((out / "splits/training.txt").read_text(encoding="utf-8").splitlines()) == IDS
    semantic = ISICDataset(
        data_root=str(out), data_prefix=dict(img_path="images/training", seg_map_path="annotations/training")
    )
    assert sorted(semantic.get_data_info(number)["image_id"] for number in range(len(semantic))) == IDS
    masks_to_coco(out)
    assert (
        load_tool("masks2coco").main(
            [str(out / "annotations/instances_training.json"), "--to-masks", str(tmp_path / "m")]
        )
        == 0
    )
    assert sorted(path.stem for path in (tmp_path / "m").iterdir()) == IDS


def test_names_of_all_kinds_are_data_sets_as_they_are(names):
    for part, folder in (("images", "images/training"), ("masks", "annotations/training")):
        (names / folder).parent.mkdir(exist_ok=True)
        (names / part).rename(names / "moved")
        (names / folder).parent.mkdir(exist_ok=True)
        (names / "moved").rename(names / folder)
    masks_to_coco(names)
    instances = LesionCocoDataset(
        data_root=str(names),
        ann_file="annotations/instances_training.json",
        data_prefix=dict(img="images/training", seg="annotations/training"),
        test_mode=True,
    )
    assert sorted(instances.get_data_info(number)["image_id"] for number in range(len(instances))) == IDS


@pytest.mark.parametrize("named", ["", "images", "im*", "images/*"])
def test_names_of_all_kinds_are_inputs(names, named):
    found = find_inputs([str(names / named)]).images
    assert sorted(image.id.removeprefix("images/") for image in found) == IDS


def test_names_that_are_too_long_are_told_before_anything_is_written(tmp_path, capsys):
    name = os.fsdecode(b"\xe9" * 100)
    for folder, suffix in (("images", ".jpg"), ("masks", ".png")):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        (tmp_path / "raw" / folder / (name + suffix)).write_bytes(b"")
    assert load_tool("convert_isic").main([str(tmp_path / "raw"), str(tmp_path / "out"), "--layout", "pairs"]) == 1
    assert "1 of 1 names are too long (%E9%E9" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def patients(isic_folder, tmp_path):
    """A data set folder whose test images lie in a folder for each patient, as its index and every data set see it."""
    raw = tmp_path / "raw"
    for kind in ("images", "annotations"):
        for number, path in enumerate(sorted((isic_folder / kind / "test").iterdir())):
            (raw / kind / str(number % 2)).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, raw / kind / str(number % 2) / path.name.lower())
    arguments = [raw, tmp_path / "out", "--layout", "pairs", "--split", "0.4,0.2,0.4"]
    assert load_tool("convert_isic").main(list(map(str, arguments))) == 0
    masks_to_coco(tmp_path / "out")
    return tmp_path / "out"


def test_all_data_sets_and_inputs_have_the_ids_of_the_index(patients):
    with (patients / "index.csv").open(newline="") as file:
        expected = sorted(row["id"] for row in csv.DictReader(file) if row["split"] == "test")
    assert expected
    assert all("/" in id for id in expected)
    semantic = ISICDataset(
        data_root=str(patients), data_prefix=dict(img_path="images/test", seg_map_path="annotations/test")
    )
    instances = LesionCocoDataset(
        data_root=str(patients),
        ann_file="annotations/instances_test.json",
        data_prefix=dict(img="images/test", seg="annotations/test"),
        test_mode=True,
    )
    for dataset in (semantic, instances):
        assert sorted(dataset.get_data_info(number)["image_id"] for number in range(len(dataset))) == expected
    assert [image.id for image in find_inputs([str(patients / "images/test")]).images] == expected
