import pytest
from drawn_release import image_bytes, mask_bytes, write_folder

from lesionseg.data.release.layouts.pairs import find_pairs
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
