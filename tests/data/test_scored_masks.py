"""True masks and others, matched by name; the files hold nothing, as none is opened."""

from pathlib import Path

import pytest

from lesionseg.data.names import all_masks
from lesionseg.data.scored_masks import Truth, match_ids, open_systems, open_truth
from lesionseg.errors import DataError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def refusal(function, *arguments) -> tuple[str, ...]:
    with pytest.raises(DataError) as refused:
        function(*arguments)
    return refused.value.args


@pytest.mark.parametrize(
    ("names", "suffixes", "masks"),
    [
        # As in a data set folder; images, other outputs of prediction and what is hidden are no masks.
        (["b.png", "c_segmentation.png", "1/a_Segmentation.png"], (), ["1/a", "b", "c"]),
        (
            ["a_segmentation.png", "a.jpg", "a_probability.png", "a_overlay.jpg", "p.csv", ".b.png", ".c/d.png"],
            (),
            ["a"],
        ),
        (["a.png", "a_superpixels.png"], (), ["a"]),
        # Files with a suffix are the masks, and others beside them their images.
        (["a_mask.png", "a.png", "b_MASK.bmp", "b.jpg"], ("_mask",), ["a", "b"]),
        (["a_mask.png", "a_mask.bmp"], ("_mask.bmp",), ["a"]),
        (["a.bmp", "b.BMP", "c.txt"], (".bmp",), ["a", "b"]),
        (["a_v1.2.png"], ("_v1.2",), ["a"]),
        # One call names several folders, so that another may have other suffixes, or none.
        (["a_pred.png"], ("_mask", "_pred"), ["a"]),
        (["a.png", "b_segmentation.png"], ("_mask",), ["a", "b"]),
    ],
)
def test_masks_are_found_by_what_they_are_called(tmp_path, names, suffixes, masks):
    found, _ = all_masks(touch(tmp_path, *names), suffixes)
    assert list(found) == masks


def test_masks_are_given_by_their_files_and_others_are_told(tmp_path):
    touch(tmp_path, "1/a_mask.png", "1/a.png", "b.npy")
    masks, notes = all_masks(tmp_path, ["_mask"])
    assert masks == {"1/a": tmp_path / "1/a_mask.png"}
    assert notes[0] == f"{tmp_path}: left out 1 files that are no masks (1/a.png)"
    assert notes[1].startswith(f"{tmp_path}: left out 1 pictures of formats that are not read here (b.npy): convert")


@pytest.mark.parametrize(
    ("names", "suffixes", "fact"),
    [
        ([], (), "empty, expected <id>.png or <id>_segmentation.png. Say what follows the ids in their names, such as"),
        (["a.bmp", "b.txt"], (), "2 files (a.bmp, b.txt), none of them a mask, expected <id>.png or"),
        (["a.bmp"], ("_mask",), "1 files (a.bmp), none of them a mask, expected <id>_mask or <id>.png or"),
        (["a.png", "a_segmentation.png"], (), "1 of 1 ids have two masks (a as a.png and a_segmentation.png), expect"),
        (["a_m.png", "a_m.bmp", "b_m.png"], ("_m",), "1 of 2 ids have two masks (a as a_m.bmp and a_m.png), expected"),
    ],
)
def test_folders_without_masks_or_with_two_of_an_image_are_refused(tmp_path, names, suffixes, fact):
    (fault,) = refusal(all_masks, touch(tmp_path, *names), suffixes)
    assert fault.startswith(f"{tmp_path}: {fact}")


def test_all_folders_that_cannot_be_used_are_told(tmp_path):
    touch(tmp_path, "good/a.png", "bad/a.txt")
    faults = refusal(open_systems, [tmp_path / name for name in ("none", "good", "bad")])
    assert [fault.split(":")[0] for fault in faults] == [str(tmp_path / "none"), str(tmp_path / "bad")]


def test_an_archive_is_to_be_extracted(tmp_path):
    for function in (all_masks, open_truth):
        (fault,) = refusal(function, touch(tmp_path, "masks.zip") / "masks.zip")
        assert fault == f"{tmp_path}/masks.zip: a file, expected a folder of masks. Extract it if it is an archive."


@pytest.fixture
def data_set(tmp_path):
    """A data set folder of two splits, with its table."""
    folder = touch(
        tmp_path / "data",
        *("images/training/a.jpg", "images/test/b.jpg", "images/test/c.jpg"),
        *("annotations/training/a.png", "annotations/test/b.png", "annotations/test/c_segmentation.png"),
        "annotations/instances_test.json",
    )
    lines = ["id,split,image,mask,width"]
    for id, split, mask in (("a", "training", "a"), ("b", "test", "b"), ("c", "test", "c_segmentation")):
        lines.append(f"{id},{split},images/{split}/{id}.jpg,annotations/{split}/{mask}.png,9")
    (folder / "index.csv").write_text("\n".join(lines))
    return folder


def test_a_split_of_a_data_set_folder_is_the_truth(data_set):
    truth = open_truth(data_set, split="test")
    assert list(truth.masks) == ["b", "c"]
    assert truth.image_folder == data_set / "images" / "test"
    assert refusal(open_truth, data_set) == (
        f"{data_set}: 2 splits, expected one of test, training. Choose it with --split.",
    )
    assert "no split tset, expected one of test, training" in refusal(open_truth, data_set, (), "tset")[0]


def test_the_only_split_need_not_be_chosen(tmp_path):
    assert list(open_truth(touch(tmp_path, "annotations/test/a.png")).masks) == ["a"]


def test_a_folder_of_masks_has_no_splits(tmp_path):
    (fault,) = refusal(open_truth, touch(tmp_path, "a.png"), (), "test")
    assert fault.startswith(f"{tmp_path}: no folder annotations in it, expected a data set folder or its index.csv")


def test_a_table_is_the_truth(data_set):
    index = data_set / "index.csv"
    truth = open_truth(index)
    assert list(truth.masks) == list(truth.images) == ["a", "b", "c"]
    assert truth.masks["c"] == data_set / "annotations/test/c_segmentation.png"
    assert list(open_truth(index, split="test").masks) == ["b", "c"]
    assert "no split x, expected one of test, training" in refusal(open_truth, index, (), "x")[0]


def test_a_table_may_be_of_masks_alone(tmp_path):
    touch(tmp_path, "m/1.png").joinpath("truth.csv").write_text("id;mask\na;m/1.png\n")
    assert open_truth(tmp_path / "truth.csv") == Truth(tmp_path / "truth.csv", {"a": tmp_path / "m/1.png"})


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("name,mask\na,a.png\n", "no column id, expected a table like the index.csv of a data set folder"),
        ("id,mask\n", "an empty table, expected a line a mask"),
        ("id,mask\na,a.png\na,a.png\n", "1 ids occur twice (a), expected one line each"),
        ("id,mask\na,a.png\nb,b.png\nc,\n", "the mask of 2 of 3 ids is not there (b, c), expected the files that the"),
        ("id,mask,image\na,a.png,a.jpg\n", "the image of 1 of 1 ids is not there (a), expected the files that the"),
        ("id,mask\na,a.png\n", "no split test, expected one of some"),
    ],
)
def test_tables_that_are_not_whole_are_refused(tmp_path, text, fact):
    touch(tmp_path, "a.png").joinpath("index.csv").write_text(text)
    (fault,) = refusal(open_truth, tmp_path / "index.csv", (), "test" if "split" in fact else None)
    assert fault.startswith(f"{tmp_path / 'index.csv'}: {fact}")


TRUTH = Truth(Path("truth"), {id: Path(f"truth/{id}.png") for id in "abc"})


def test_the_very_same_ids_are_scored():
    assert match_ids(TRUTH, {Path("A"): "abc", Path("B"): "cba"}) == (["a", "b", "c"], [])


def test_other_ids_are_refused_and_listed():
    faults = refusal(match_ids, TRUTH, {Path("A"): "abc", Path("B"): "bcde", Path("C"): "a"})
    step = "expected one mask for each of the same images. Complete them, correct the names, or score those that all"
    assert faults[0].startswith(
        f"B: 1 of 3 images have no mask (a) and 2 of 4 masks are of no image in truth (d, e), {step}"
    )
    assert faults[1].startswith(f"C: 2 of 3 images have no mask (b, c), {step}")


def test_what_all_have_is_scored_on_demand_and_the_rest_told():
    ids, left_out = match_ids(TRUTH, {Path("A"): "abc", Path("B"): "bcd"}, common=True)
    assert ids == ["b", "c"]
    assert left_out == ["B: 1 of 3 images have no mask (a) and 1 of 3 masks are of no image in truth (d); left out"]


@pytest.mark.parametrize("common", [False, True])
def test_names_of_which_none_agree_are_told_with_the_suffix(common):
    (fault,) = refusal(match_ids, TRUTH, {Path("A"): ["a_mask"]}, common)
    assert fault.endswith("Say what follows the ids in the names of masks with --suffix, such as --suffix _mask.")
