import pytest
from drawn_release import image_bytes, mask_bytes, write_folder

from lesionseg.data.release.layouts.pairs import find_pairs
from lesionseg.data.release.listing import SPLITS
from lesionseg.errors import DataError


def ids(listing):
    """id -> names of image and mask; fails where something is wrong."""
    assert not listing.faults
    assert {pair.split for pair in listing.pairs} == {"training"}
    return {pair.id: (pair.image.name, pair.mask.name) for pair in listing.pairs}


def write(raw, *names):
    """Write names as pictures; what they show does not matter to pairing."""
    write_folder(raw, dict.fromkeys(names, b""))


def test_folders_are_found_by_their_names(tmp_path):
    write(tmp_path, "Images/1/a.jpg", "Images/2/a.JPG", "Masks/1/a.png", "Masks/2/a.png", "README.txt")
    assert ids(find_pairs(tmp_path)) == {"1/a": ("1/a.jpg", "1/a.png"), "2/a": ("2/a.JPG", "2/a.png")}


def test_a_mask_folder_may_speak_of_images_too(tmp_path):
    write(tmp_path, "image/a.jpg", "image_masks/a.png")
    assert ids(find_pairs(tmp_path)) == {"a": ("a.jpg", "a.png")}


def test_photographs_without_masks_may_lie_beside(tmp_path):
    write(tmp_path, "images/a.jpg", "masks/a.png", "unlabelled/b.jpg")
    assert ids(find_pairs(tmp_path)) == {"a": ("a.jpg", "a.png")}


@pytest.mark.parametrize("folders", [(), ("images_1", "images_2")])
def test_folders_that_are_not_plain_are_asked_for(tmp_path, folders):
    write(tmp_path, "masks/a.png", *(f"{folder}/a.jpg" for folder in folders))
    found = ", ".join(folders) or "none"
    with pytest.raises(DataError, match=rf"the folders called like images are {found}, expected one.*--images"):
        find_pairs(tmp_path)


def test_a_suffix_is_taken_off_where_it_is(tmp_path):
    write(tmp_path, "images/a.jpg", "images/b.png", "masks/a_Segmentation.png", "masks/b.jpg")
    listing = find_pairs(tmp_path, mask_suffix="_segmentation")
    assert ids(listing) == {"a": ("a.jpg", "a_Segmentation.png"), "b": ("b.png", "b.jpg")}


def test_a_mask_with_and_one_without_suffix_are_one_too_many(tmp_path):
    write(tmp_path, "images/a.jpg", "masks/a_mask.png", "masks/a.png")
    (fault,) = find_pairs(tmp_path, mask_suffix="_mask").faults
    assert fault.startswith(
        f"{tmp_path / 'masks'}: 1 of 1 ids occur more than once (a as a.png and a_mask.png), expected one file each."
    )


def test_folders_are_named(tmp_path):
    write(tmp_path, "photos/a.tif", "drawn/a.bmp")
    assert ids(find_pairs(tmp_path, "photos", "drawn")) == {"a": ("a.tif", "a.bmp")}
    assert ids(find_pairs(tmp_path, str(tmp_path / "photos"), "drawn")) == {"a": ("a.tif", "a.bmp")}
    with pytest.raises(DataError, match=r"none: no such folder"):
        find_pairs(tmp_path, "none", "drawn")
    with pytest.raises(DataError, match=r"none: no such folder"):
        find_pairs(tmp_path / "none")


def test_a_pattern_stands_for_several_folders(tmp_path):
    write(tmp_path, "acne/image/1.png", "acne/label/1_mask.png", "mela/image/1.png", "mela/label/1_mask.png")
    listing = find_pairs(tmp_path, "*/image", "*/label", "_mask")
    assert ids(listing) == {"acne/1": ("1.png", "1_mask.png"), "mela/1": ("1.png", "1_mask.png")}
    with pytest.raises(DataError, match=r"\*/images: no such folder"):
        find_pairs(tmp_path, "*/images", "*/label", "_mask")


def in_splits(listing):
    """split -> id -> names of image and mask; fails where something is wrong."""
    assert not listing.faults
    found = {}
    for pair in listing.pairs:
        found.setdefault(pair.split, {})[pair.id] = (pair.image.path.name, pair.mask.path.name)
    assert list(found) == sorted(found, key=SPLITS.index)
    return found


FOLDERS = {
    "train/images and train/masks": ("{}/images/{}.jpg", "{}/masks/{}.png"),
    "images/train and masks/train": ("images/{}/{}.jpg", "masks/{}/{}.png"),
    "train_images and train_masks": ("{}_images/{}.jpg", "{}_masks/{}.png"),
    "images/train and flat masks": ("images/{}/{}.jpg", "masks/{1}.png"),
}


@pytest.mark.parametrize("names", FOLDERS.values(), ids=FOLDERS)
def test_folders_tell_the_splits(tmp_path, names):
    for split, id in (("train", "a"), ("train", "b"), ("val", "c"), ("test", "d")):
        write(tmp_path, *(name.format(split, id) for name in names))
    listing = find_pairs(tmp_path)
    expected = {"training": "ab", "validation": "c", "test": "d"}
    assert in_splits(listing) == {
        split: {id: (f"{id}.jpg", f"{id}.png") for id in ids} for split, ids in expected.items()
    }
    assert listing.notes[-1] == f"{tmp_path}: images are in the splits that the names of their folders tell"


@pytest.mark.parametrize("names", list(FOLDERS.values())[:3], ids=list(FOLDERS)[:3])
def test_where_two_splits_have_an_id_in_common_it_begins_with_the_split(tmp_path, names):
    for split in ("Train", "Test"):
        write(tmp_path, *(name.format(split, number) for name in names for number in (1, 2)))
    expected = {number: (f"{number}.jpg", f"{number}.png") for number in (1, 2)}
    assert in_splits(find_pairs(tmp_path)) == {
        split: {f"{split}/{number}": files for number, files in expected.items()} for split in ("training", "test")
    }


def test_splits_are_told_below_patterns_and_elsewhere(tmp_path):
    names = [f"clinic/{split}/{kind}" for split in ("train", "test") for kind in ("photo/a.jpg", "drawn/a_lesion.png")]
    write(tmp_path, *names)
    found = in_splits(find_pairs(tmp_path, "*/*/photo", "*/*/drawn", "_lesion"))
    assert {split: list(ids) for split, ids in found.items()} == {
        "training": ["training/clinic/a"],
        "test": ["test/clinic/a"],
    }
    absolute = [str(tmp_path / "clinic/test" / kind) for kind in ("photo", "drawn")]
    assert list(ids(find_pairs(tmp_path / "clinic/train", *absolute, "_lesion"))) == ["a"]


def test_what_no_folder_puts_into_a_split_is_trained_on_and_told(tmp_path):
    write(
        tmp_path, *(f"{kind}/{name}" for kind in ("images", "masks") for name in ("a.png", "more/b.png", "test/c.png"))
    )
    listing = find_pairs(tmp_path)
    assert {split: list(found) for split, found in in_splits(listing).items()} == {
        "training": ["a", "more/b"],
        "test": ["c"],
    }
    assert listing.notes[-1] == (
        f"{tmp_path}: 2 images are in training, as no folder around them is called train, val, test or the like "
        "(a, more/b)"
    )


@pytest.mark.parametrize("split", ["train", "test"])
def test_one_split_alone_is_none(tmp_path, split):
    """As in `acne_test/image`, which may be all there is."""
    write(tmp_path, f"acne_{split}/image/1.png", f"acne_{split}/label/1.png")
    assert list(ids(find_pairs(tmp_path, "*/image", "*/label"))) == [f"acne_{split}/1"]


def test_images_of_a_split_may_be_without_masks(tmp_path):
    write(tmp_path, "train/images/1.jpg", "train/masks/1.png", "test/images/1.jpg")
    listing = find_pairs(tmp_path, allow_unlabelled=True)
    assert in_splits(listing) == {"training": {"training/1": ("1.jpg", "1.png")}}
    assert [file.id for file in listing.unlabelled] == ["test/1"]


def test_ham10000(tmp_path):
    masks = "HAM10000_segmentations_lesion_tschandl"
    write(
        tmp_path,
        "HAM10000_images_part_1/ISIC_1.jpg",
        "HAM10000_images_part_2/ISIC_2.jpg",
        *(f"{masks}/ISIC_{number}_segmentation.png" for number in (1, 2)),
        "HAM10000_metadata.csv",
    )
    expected = {f"ISIC_{number}": (f"ISIC_{number}.jpg", f"ISIC_{number}_segmentation.png") for number in (1, 2)}
    assert ids(find_pairs(tmp_path, "HAM10000_images_part_*", masks, "_segmentation")) == expected


def test_ph2_by_patterns(tmp_path):
    write_ph2(tmp_path)
    write(tmp_path, "IMD003/IMD003_roi/IMD003_R1_Label3.bmp")
    listing = find_pairs(tmp_path, "*/*_Dermoscopic_Image", "*/*_lesion", "_lesion")
    assert ids(listing) == {f"{name}/{name}": (f"{name}.bmp", f"{name}_lesion.bmp") for name in ("IMD002", "IMD003")}


def test_ph2_as_one_tree_goes_by_file_names(tmp_path):
    write_ph2(tmp_path)
    listing = find_pairs(tmp_path, ".", ".", "_lesion")
    assert list(ids(listing)) == ["IMD002", "IMD003"]
    assert listing.notes == [
        f"{tmp_path}: sub-folders of images and masks differ, so they are paired by file name alone"
    ]


def write_ph2(raw):
    for name in ("IMD002", "IMD003"):
        write(raw, f"{name}/{name}_Dermoscopic_Image/{name}.bmp", f"{name}/{name}_lesion/{name}_lesion.bmp")


def test_file_names_alone_have_to_be_unique(tmp_path):
    write(tmp_path, "images/x/a.jpg", "images/y/a.jpg", "masks/z/a.png")
    (fault,) = find_pairs(tmp_path).faults
    assert "1 of 1 ids occur more than once (a as x/a.jpg and y/a.jpg)" in fault


def test_a_missing_mask_does_not_pair_across_sub_folders(tmp_path):
    write(tmp_path, "images/1/a.jpg", "images/2/b.jpg", "masks/2/a.png", "masks/2/b.png")
    listing = find_pairs(tmp_path)
    assert [pair.id for pair in listing.pairs] == ["2/b"]
    image_fault, mask_fault = listing.faults
    assert "1 of 2 masks have no image (2/a)" in image_fault
    assert "1 of 2 images have no mask (1/a), expected <id>.png or another picture. Check --images" in mask_fault


def test_masks_inside_the_folder_of_images_are_no_images(tmp_path):
    write(tmp_path, "a.jpg", "masks/a.png")
    assert ids(find_pairs(tmp_path, ".", "masks")) == {"a": ("a.jpg", "a.png")}


def test_one_folder_of_both(tmp_path):
    write(tmp_path, "a.jpg", "a_mask.png", "b.jpg", "b_mask.png")
    assert list(ids(find_pairs(tmp_path, ".", ".", "_mask"))) == ["a", "b"]
    image_free = find_pairs(tmp_path, ".", ".", "_lesion")
    assert f"{tmp_path}: there is no mask in it, expected <id>_lesion.png" in image_free.faults[0]


def test_other_files_are_told(tmp_path):
    write_folder(tmp_path / "images", {"a.jpg": image_bytes(0), "a.json": b"{}", ".DS_Store": b""})
    write_folder(tmp_path / "masks", {"a.png": mask_bytes(0)})
    assert find_pairs(tmp_path).notes == [f"{tmp_path / 'images'}: left out 1 files that are no picture (a.json)"]


def test_images_may_be_without_masks_where_that_is_said(tmp_path):
    write(tmp_path, "images/1/a.jpg", "images/1/b.jpg", "images/c.png", "masks/1/a.png")
    (fault,) = find_pairs(tmp_path).faults
    assert "2 of 3 images have no mask (1/b, c)" in fault
    assert "Images may be without masks with --allow-unlabelled." in fault
    listing = find_pairs(tmp_path, allow_unlabelled=True)
    assert ids(listing) == {"1/a": ("1/a.jpg", "1/a.png")}
    assert [found.id for found in listing.unlabelled] == ["1/b", "c"]


def test_masks_without_images_stay_a_fault(tmp_path):
    write(tmp_path, "images/a.jpg", "masks/a.png", "masks/b.png")
    (fault,) = find_pairs(tmp_path, allow_unlabelled=True).faults
    assert "1 of 2 masks have no image (b)" in fault
