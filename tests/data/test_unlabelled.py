import shutil

import pytest
from helpers import draw_photos

from lesionseg.data.datasets.preflight import check_images
from lesionseg.data.datasets.unlabelled import UnlabelledDataset
from lesionseg.errors import DataError


def ids(root, **settings):
    dataset = UnlabelledDataset(data_root=str(root), **settings)
    return [dataset.get_data_info(index)["image_id"] for index in range(len(dataset))]


def test_images_of_a_tree_are_taken_and_masks_left_out(tmp_path):
    folder = draw_photos(tmp_path)
    found = ids(folder, held_out_share=0.4), ids(folder, held_out=True, held_out_share=0.4)
    assert sorted(found[0] + found[1]) == ["ISIC_0", "ISIC_1", "ISIC_2", "ISIC_3", "ISIC_4", "more/ISIC_0"]
    assert len(found[1]) == 2  # of six, 0.4 are 2.4
    summary = UnlabelledDataset(data_root=str(folder)).summary
    assert summary == f"5 of 6 images in {folder}, left out 5 other files"


def test_of_a_data_set_folder_the_masks_are_left_out(isic_folder):
    found = ids(isic_folder) + ids(isic_folder, held_out=True)
    assert {id.split("/")[0] for id in found} == {"images"}


def test_which_are_held_out_does_not_depend_on_the_place(tmp_path):
    folder = draw_photos(tmp_path)
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere")
    assert ids(folder, held_out=True) == ids(elsewhere, held_out=True)


def test_folders_without_images(tmp_path):
    with pytest.raises(DataError, match=r"none: no such folder, .*data_root=FOLDER"):
        ids(tmp_path / "none")
    with pytest.raises(DataError, match="0 images in it or below, expected many"):
        ids(tmp_path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=r"0 images in it or below \(1 other files: a.txt\)"):
        ids(tmp_path)
    with pytest.raises(DataError, match="held_out_share=1, expected a number between 0 and 1"):
        ids(tmp_path, held_out_share=1)


def test_all_images_that_cannot_be_used_are_told(tmp_path):
    folder = draw_photos(tmp_path)
    images = [str(folder / f"ISIC_{number}.png") for number in range(4)]
    check_images(images, "train", 60)
    (folder / "ISIC_1.png").write_bytes(b"no picture")
    (folder / "ISIC_3.png").unlink()
    with pytest.raises(DataError, match=r"ISIC_1.png: .*2 images of train cannot be used; .*ISIC_3.png: No such file"):
        check_images(images, "train", 60)
    with pytest.raises(DataError, match=r"ISIC_2.png: 80x60 pixels, expected 64 or more along each edge"):
        check_images([images[0], images[2]], "train", 64)
