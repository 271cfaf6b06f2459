"""Which files are predicted, and by which ids."""

import cv2
import pytest
from helpers import draw_pair, draw_photos

from lesionseg.errors import DataError
from lesionseg.inference.inputs import find_inputs


@pytest.fixture
def photos(tmp_path):
    return draw_photos(tmp_path)


def test_files_patterns_and_folders(photos):
    def ids(*names):
        return [image.id for image in find_inputs([str(photos / name) for name in names]).images]

    assert ids("ISIC_0.png", "ISIC_3.png") == ["ISIC_0", "ISIC_3"]
    assert ids("ISIC_[12]*.png", "ISIC_1.png") == ["ISIC_1", "ISIC_2"]
    assert ids("*/*.JPG") == ["more/ISIC_0"]
    assert ids("**/ISIC_0*") == ["ISIC_0", "more/ISIC_0"]
    assert ids("more") == ["ISIC_0"]
    assert ids("m*") == ["more/ISIC_0"]
    assert ids("**")[-1] == "more/ISIC_0"
    assert len(ids("**")) == 6
    # Named, a file is taken whatever it is called.
    assert ids("ISIC_2_Segmentation.png") == ["ISIC_2_Segmentation"]


def test_masks_beside_the_images_are_left_out(photos):
    (photos / "train/masks").mkdir(parents=True)
    for place in ("train/a.png", "train/masks/a.png"):
        cv2.imwrite(str(photos / place), draw_pair(0)[1])
    for name in ("train", "tr*", "train/**", "train/**/*.png"):
        found = find_inputs([str(photos / name)])
        assert [image.id.removeprefix("train/") for image in found.images] == ["a"], name
        masks = "train/masks/a.png" if "*" in name.partition("/")[0] else "masks/a.png"
        assert found.notes == [f"{photos / name}: left out 1 files that are masks or no images ({masks})"]
    # A folder that is named is meant, and so is a file.
    assert [image.id for image in find_inputs([str(photos / "train/masks")]).images] == ["a"]


def test_where_all_are_called_like_masks_it_is_told_how_they_are_taken(tmp_path):
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "labels/a.png"), draw_pair(0)[0])
    with pytest.raises(
        DataError, match=r"only 1 masks or other files \(labels/a.png\), .* or the folder that they lie in"
    ):
        find_inputs([str(tmp_path)])
    assert [image.id for image in find_inputs([str(tmp_path / "labels")]).images] == ["a"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path):
    cv2.imwrite(str(tmp_path / "a[1].png"), draw_pair(0)[0])
    assert [image.id for image in find_inputs([str(tmp_path / "a[1].png")]).images] == ["a[1]"]
