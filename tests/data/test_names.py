"""One image has one id, whoever names it."""

import csv
import shutil

import pytest
from helpers import load_tool

from lesionseg.data.coco.convert import masks_to_coco
from lesionseg.data.datasets.instances import LesionCocoDataset
from lesionseg.data.datasets.semantic import ISICDataset
from lesionseg.data.names import image_id, is_picture, listed_id, mask_file, mask_id, without_ending
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
