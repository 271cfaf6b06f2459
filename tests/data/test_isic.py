import pytest
from drawn_release import COUNTS, image_bytes, mask_bytes, release_files, write_folder, write_release, write_zip

from lesionseg.data.release.layouts.isic import RELEASES, find_release
from lesionseg.errors import DataError

IMAGES, MASKS = RELEASES[2018]["training"]
FIRST = f"{IMAGES}/ISIC_0000000.jpg".encode()
ALL_2018 = {"training": 4, "validation": 2, "test": 3}


def counts(listing):
    splits = [pair.split for pair in listing.pairs]
    return {split: splits.count(split) for split in dict.fromkeys(splits)}


@pytest.mark.parametrize("form", ["folders", "zips", "flat zips"])
@pytest.mark.parametrize("year", [2016, 2017, 2018])
def test_a_release_is_listed(tmp_path, year, form):
    listing = find_release(write_release(tmp_path, year, form))
    assert not listing.faults
    assert not listing.notes
    assert counts(listing) == {split: COUNTS[split] for split in RELEASES[year]}
    suffix = "_Segmentation" if year == 2016 else "_segmentation"
    for pair in listing.pairs:
        assert pair.image.stem == pair.id
        assert pair.mask.stem == f"{pair.id}{suffix}"
        assert pair.image.read()[:2] == b"\xff\xd8"
        assert pair.mask.read()[:4] == b"\x89PNG"


def test_the_names_are_those_of_the_challenge():
    assert RELEASES[2016]["test"] == ("ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth")
    assert RELEASES[2017]["test"] == ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth")
    assert RELEASES[2018]["test"] == ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth")
    assert "validation" not in RELEASES[2016]


def test_archives_and_folders_mix(tmp_path):
    files = release_files(2018)
    write_zip(tmp_path / "downloads" / f"{IMAGES}.zip", files[IMAGES])
    write_folder(tmp_path / "extracted" / MASKS, files[MASKS])
    listing = find_release(tmp_path)
    assert not listing.faults
    assert counts(listing) == {"training": 4}


def test_a_doubled_folder_and_other_cases_are_one_part(tmp_path):
    files = release_files(2018)
    write_folder(
        tmp_path / IMAGES.lower() / IMAGES,
        {name.replace(".jpg", ".JPG"): files[IMAGES][name] for name in files[IMAGES]},
    )
    write_folder(tmp_path / MASKS, {name.upper().replace("_SEG", "_Seg"): files[MASKS][name] for name in files[MASKS]})
    listing = find_release(tmp_path)
    assert not listing.faults
    assert counts(listing) == {"training": 4}


def test_a_folder_is_read_before_its_archive(tmp_path):
    files = release_files(2018)
    write_folder(tmp_path / IMAGES, files[IMAGES])
    write_zip(tmp_path / f"{IMAGES}.zip", files[IMAGES])
    write_folder(tmp_path / MASKS, files[MASKS])
    listing = find_release(tmp_path)
    assert not listing.faults
    assert counts(listing) == {"training": 4}
    assert listing.notes == [f"{tmp_path / IMAGES}: this folder is read, not {tmp_path / IMAGES}.zip"]


def test_two_folders_of_a_part_are_a_fault(tmp_path):
    files = release_files(2018)
    for place in ("a", "b"):
        write_folder(tmp_path / place / IMAGES, files[IMAGES])
    write_folder(tmp_path / MASKS, files[MASKS])
    (fault,) = find_release(tmp_path).faults
    assert fault.startswith(f"{tmp_path}: {IMAGES} was found 2 times ({tmp_path / 'a' / IMAGES}, ")


def test_several_years_need_a_choice(tmp_path):
    write_release(tmp_path / "old", 2017)
    write_release(tmp_path / "new", 2018)
    with pytest.raises(DataError, match=r"holds parts of ISIC 2017 and 2018, expected one year. Choose with --year"):
        find_release(tmp_path)
    assert counts(find_release(tmp_path, year=2018)) == ALL_2018
    assert {pair.image.part.parent.name for pair in find_release(tmp_path, year=2017).pairs} == {"old"}
    with pytest.raises(DataError, match=r"no release of ISIC 2016 found, expected .*ISBI2016_ISIC_Part1_Training_Data"):
        find_release(tmp_path, year=2016)


def test_nothing_there_says_what_was_looked_for(tmp_path):
    (tmp_path / "ISIC2018_Task3_Training_Input").mkdir()
    with pytest.raises(DataError) as error:
        find_release(tmp_path)
    for name in ("ISBI2016_ISIC_Part1_Training_Data", "ISIC-2017_Training_Data", IMAGES, MASKS, "--layout pairs"):
        assert name in str(error.value)
    with pytest.raises(DataError, match="no such folder"):
        find_release(tmp_path / "none")


def test_splits_are_chosen(tmp_path):
    write_release(tmp_path, 2018)
    assert counts(find_release(tmp_path, splits=["test", "training"])) == {"training": 4, "test": 3}


def test_a_split_that_the_year_lacks(tmp_path):
    write_release(tmp_path, 2016)
    (fault,) = find_release(tmp_path, splits=["training", "validation"]).faults
    assert "ISIC 2016 was released without validation split, expected one of training, test" in fault


def test_a_split_without_masks(tmp_path):
    write_release(tmp_path, 2018)
    _, masks = RELEASES[2018]["validation"]
    (tmp_path / masks).rename(tmp_path / "elsewhere")
    listing = find_release(tmp_path)
    assert listing.faults == [
        f"{tmp_path}: the validation split lacks {masks}, expected a folder or .zip of that name. "
        "Download it, or convert the rest with --splits training,test."
    ]
    assert not find_release(tmp_path, splits=["training", "test"]).faults


def test_a_wanted_split_that_is_not_there(tmp_path):
    files = release_files(2018)
    for part in (IMAGES, MASKS):
        write_folder(tmp_path / part, files[part])
    images, masks = RELEASES[2018]["test"]
    (fault,) = find_release(tmp_path, splits=["training", "test"]).faults
    assert f"the test split lacks {images} and {masks}" in fault


def test_missing_masks_and_images_are_counted(tmp_path):
    write_release(tmp_path, 2018)
    for number in (0, 2):
        (tmp_path / MASKS / f"ISIC_{number:07}_segmentation.png").unlink()
    (tmp_path / IMAGES / "ISIC_0000001.jpg").unlink()
    assert find_release(tmp_path).faults == [
        f"{tmp_path / IMAGES}: 1 of 2 masks have no image (ISIC_0000001), expected <id>.jpg. "
        "Extract the archive again.",
        f"{tmp_path / MASKS}: 2 of 3 images have no mask (ISIC_0000000, ISIC_0000002), "
        "expected <id>_segmentation.png. Extract the archive again.",
    ]


def test_only_five_names_are_told(tmp_path):
    write_folder(tmp_path / IMAGES, {f"ISIC_{number}.jpg": image_bytes(0) for number in range(8)})
    write_folder(tmp_path / MASKS, {"ISIC_7_segmentation.png": mask_bytes(0)})
    (fault,) = find_release(tmp_path).faults
    assert "7 of 8 images have no mask (ISIC_0, ISIC_1, ISIC_2, ISIC_3, ISIC_4 and 2 more)" in fault


def test_an_empty_part_is_a_fault(tmp_path):
    for part in (IMAGES, MASKS):
        (tmp_path / part).mkdir()
    image_fault, mask_fault = find_release(tmp_path).faults
    assert f"{tmp_path / IMAGES}: there is no image in it" in image_fault
    assert f"{tmp_path / MASKS}: there is no mask in it" in mask_fault


def test_an_id_in_two_files_is_a_fault(tmp_path):
    write_release(tmp_path, 2018)
    write_folder(tmp_path / IMAGES / "more", {"ISIC_0000001.jpeg": image_bytes(1)})
    (fault,) = find_release(tmp_path).faults
    assert "1 of 4 ids occur more than once (ISIC_0000001 as ISIC_0000001.jpg and more/ISIC_0000001.jpeg)" in fault


def test_an_id_in_two_splits_is_a_fault(tmp_path):
    write_release(tmp_path, 2018)
    images, masks = RELEASES[2018]["test"]
    write_folder(tmp_path / images, {"ISIC_0000000.jpg": image_bytes(0)})
    write_folder(tmp_path / masks, {"ISIC_0000000_segmentation.png": mask_bytes(0)})
    (fault,) = find_release(tmp_path).faults
    assert "1 of 9 ids are in two splits (ISIC_0000000 in training and test)" in fault


def test_unknown_files_are_told_not_dropped_silently(tmp_path):
    write_release(tmp_path, 2018)
    write_folder(tmp_path / MASKS, {"ISIC_0000000.png": mask_bytes(0), "notes.txt": b""})
    listing = find_release(tmp_path)
    assert not listing.faults
    assert listing.notes == [f"{tmp_path / MASKS}: left out 2 files that are no mask (ISIC_0000000.png, notes.txt)"]


CENTRAL = b"PK\x01\x02\x14\x03\x14\x00"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-100],
        # Needs version 25.5 to extract; names in UTF-8 that are not.
        lambda data: data.replace(CENTRAL, CENTRAL[:6] + b"\xff\x00"),
        lambda data: data.replace(CENTRAL + b"\x00\x00", CENTRAL + b"\x00\x08").replace(b"ISIC_", b"\xffSIC_"),
    ],
)
def test_an_archive_that_cannot_be_read_is_a_fault(tmp_path, damage):
    write_release(tmp_path, 2018, "zips")
    path = tmp_path / f"{IMAGES}.zip"
    path.write_bytes(damage(path.read_bytes()))
    listing = find_release(tmp_path)
    assert listing.faults == [f"{path}: not a whole zip archive, expected one as released. Download it again."]
    assert counts(listing) == {"validation": 2, "test": 3}


def overwritten(data: bytes, start: int, new: bytes) -> bytes:
    return data[:start] + new + data[start + len(new) :]


def moved(data: bytes, place: int) -> bytes:
    """Let the list of an archive say that a file begins elsewhere."""
    return overwritten(data, data.rindex(FIRST) - 4, place.to_bytes(4, "little"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: overwritten(data, data.index(FIRST) + 250, bytes(20)),
        lambda data: moved(data, len(data) - 10),
        lambda data: moved(data, 2**31),
    ],
)
def test_damage_inside_an_archive_shows_when_it_is_read(tmp_path, damage):
    write_release(tmp_path, 2018, "zips")
    path = tmp_path / f"{IMAGES}.zip"
    path.write_bytes(damage(path.read_bytes()))
    pair = find_release(tmp_path, splits=["training"]).pairs[0]
    with pytest.raises(DataError, match=r"ISIC_0000000\.jpg: damaged inside the archive"):
        pair.image.read()


def test_an_archive_packed_by_windows_is_listed(tmp_path):
    write_release(tmp_path, 2018, "flat zips")
    write_zip(tmp_path / f"{IMAGES}.zip", release_files(2018)[IMAGES], inner=f"{IMAGES}\\")
    listing = find_release(tmp_path)
    assert (listing.faults, counts(listing)) == ([], COUNTS)


def test_links_are_followed_and_loops_are_not(tmp_path):
    write_release(tmp_path / "store", 2018)
    raw = tmp_path / "raw"
    raw.mkdir()
    for part in (IMAGES, MASKS):
        (raw / part).symlink_to(tmp_path / "store" / part)
    (tmp_path / "store" / IMAGES / "loop").symlink_to(tmp_path / "store" / IMAGES)
    listing = find_release(raw)
    assert not listing.faults
    assert counts(listing) == {"training": 4}


def test_a_link_that_leads_nowhere_shows_when_it_is_read(tmp_path):
    write_release(tmp_path, 2018)
    path = tmp_path / IMAGES / "ISIC_0000000.jpg"
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=r"ISIC_0000000\.jpg: No such file or directory, expected a readable file"):
        find_release(tmp_path).pairs[0].image.read()
