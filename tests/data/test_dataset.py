import shutil

import pytest

from lesionseg.data.datasets.semantic import ISICDataset
from lesionseg.errors import DataError


def dataset(root, **kwargs):
    prefix = dict(img_path="images/training", seg_map_path="annotations/training")
    return ISICDataset(**dict(dict(data_root=str(root), data_prefix=prefix, serialize_data=False), **kwargs))


@pytest.fixture
def folder(isic_folder, tmp_path):
    return shutil.copytree(isic_folder, tmp_path / "ISIC")


def test_pairs_every_image_with_its_mask_in_order(isic_folder):
    samples = dataset(isic_folder)
    assert [(s["img_path"][-16:], s["seg_map_path"][-16:]) for s in map(samples.get_data_info, range(6))] == [
        (f"ISIC_{n:07}.jpg", f"ISIC_{n:07}.png") for n in range(6)
    ]
    assert samples.metainfo["classes"] == ("background", "lesion")


@pytest.mark.parametrize("suffix", ["_segmentation.png", "_Segmentation.png"])
def test_reads_masks_under_the_names_of_the_releases(folder, suffix):
    for mask in (folder / "annotations" / "training").iterdir():
        mask.rename(mask.with_name(mask.stem + suffix))
    assert dataset(folder).get_data_info(2)["seg_map_path"].endswith(f"ISIC_0000002{suffix}")


def test_reads_sub_folders_other_image_types_and_upper_case_suffixes(folder):
    for kind, suffix in (("images", ".jpg"), ("annotations", ".png")):
        base = folder / kind / "training"
        (base / "a").mkdir()
        (base / f"ISIC_0000003{suffix}").rename(base / "a" / f"x{'.JPG' if kind == 'images' else suffix}")
    samples = dataset(folder)
    assert len(samples) == 6
    assert samples.get_data_info(5)["img_path"].endswith("a/x.JPG")
    assert samples.get_data_info(5)["seg_map_path"].endswith("a/x.png")


def test_a_list_chooses_images(folder):
    listed = folder / "some.txt"
    listed.write_text("ISIC_0000004\n\nISIC_0000001\n")
    samples = dataset(folder, ann_file=str(listed))
    assert [samples.get_data_info(n)["img_path"][-5] for n in range(len(samples))] == ["1", "4"]
    listed.write_text("ISIC_0000004\nISIC_0000099\n")
    with pytest.raises(DataError, match=r"1 of 2 listed ids have no image \(ISIC_0000099\)"):
        dataset(folder, ann_file=str(listed))


def test_images_without_mask_are_counted_and_named(folder):
    for number in (1, 4):
        (folder / "annotations" / "training" / f"ISIC_{number:07}.png").unlink()
    with pytest.raises(
        DataError, match=r"annotations/training: 2 of 6 images have no mask \(ISIC_0000001, ISIC_0000004\)"
    ):
        dataset(folder)


def test_masks_whose_image_is_lost_are_told(folder):
    assert dataset(folder).summary == ""
    (folder / "images/training/ISIC_0000002.jpg").unlink()
    assert "1 of 6 masks in " in dataset(folder).summary
    assert dataset(folder).summary.endswith("have no image (ISIC_0000002.png)")


def test_two_masks_of_one_image_are_an_error(folder):
    masks = folder / "annotations" / "training"
    shutil.copy(masks / "ISIC_0000000.png", masks / "ISIC_0000000_segmentation.png")
    with pytest.raises(DataError, match=r"1 images have two masks \(ISIC_0000000\)"):
        dataset(folder)


def test_two_images_of_one_id_are_an_error(folder):
    images = folder / "images" / "training"
    shutil.copy(images / "ISIC_0000000.jpg", images / "ISIC_0000000.jpeg")
    with pytest.raises(DataError, match=r"ISIC_0000000.jpg: the same id as .*ISIC_0000000.jpeg"):
        dataset(folder)


def test_what_systems_put_beside_the_data_is_no_image(folder):
    (folder / "images/training/._ISIC_0000000.jpg").write_bytes(b"resource fork")
    assert len(dataset(folder)) == 6


@pytest.mark.parametrize("kind", ["images", "annotations"])
def test_a_missing_folder_names_the_converter(folder, kind):
    shutil.rmtree(folder / kind)
    with pytest.raises(DataError, match=rf"{kind}/training: no such folder.*convert_isic"):
        dataset(folder)


@pytest.mark.parametrize(
    ("split", "step"), [("validation", r"--validation 0\.2, which takes"), ("test", "Choose another split .*--split")]
)
def test_a_split_that_a_data_set_lacks_is_told_with_those_that_it_has(folder, split, step):
    shutil.rmtree(folder / "images" / split)
    others = " and ".join({"validation": ("training", "test"), "test": ("training", "validation")}[split])
    with pytest.raises(DataError, match=rf"images/{split}: no such folder beside {others}, expected .*{step}"):
        dataset(folder, data_prefix=dict(img_path=f"images/{split}", seg_map_path=f"annotations/{split}"))


def test_settings_that_nothing_reads_are_an_error(isic_folder):
    with pytest.raises(DataError, match=r"ISICDataset: img_suffix, expected none of them"):
        dataset(isic_folder, img_suffix=".png")


def test_a_folder_without_images_is_an_error(folder):
    for image in (folder / "images" / "training").iterdir():
        image.unlink()
    with pytest.raises(DataError, match="images/training: no images"):
        dataset(folder)
