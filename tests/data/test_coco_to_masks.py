"""COCO files from elsewhere, and back to masks."""

import json
import shutil

import numpy as np
import pytest
from drawn_masks import draw_folder, drawn_masks, tree
from pycocotools import mask as mask_api

from lesionseg.data.coco import convert as coco_convert
from lesionseg.data.coco.convert import coco_to_masks
from lesionseg.data.coco.segmentation import decode_segmentation, describe_instance
from lesionseg.errors import DataError
from lesionseg.pixels.masks import read_mask

IMAGE = dict(id=7, file_name="a/x.jpeg", height=4, width=6)


@pytest.fixture
def folder(tmp_path):
    return draw_folder(tmp_path)


def coco_file(path, *annotations, **lists):
    """Write a COCO file of one image, 6 pixels wide and 4 high, or with other lists."""
    coco = dict(
        images=[IMAGE],
        categories=[dict(id=3, name="lesion"), dict(id=4, name="hair")],
        annotations=[dict(id=number, image_id=7, category_id=3) | one for number, one in enumerate(annotations, 1)],
    )
    path.write_text(json.dumps(coco | lists))
    return path


def drawn(tmp_path, *annotations, category=None):
    """The mask that annotations give, (4, 6) in {0, 1}."""
    out = tmp_path / "masks"
    coco_to_masks(coco_file(tmp_path / "coco.json", *annotations), out, category)
    assert list(tree(out)) == ["a/x.png"]
    return read_mask(out / "a/x.png") // 255


SQUARE = np.zeros((4, 6), np.uint8)
SQUARE[1:3, 2:4] = 1
SQUARE_RUNS = [9, 2, 2, 2, 9]


def test_run_lengths_of_both_forms_are_read(tmp_path):
    assert np.array_equal(drawn(tmp_path, dict(segmentation=dict(size=[4, 6], counts=SQUARE_RUNS))), SQUARE)
    shutil.rmtree(tmp_path / "masks")
    counts = mask_api.encode(np.asfortranarray(SQUARE))["counts"].decode()
    assert np.array_equal(drawn(tmp_path, dict(segmentation=dict(size=[4, 6], counts=counts))), SQUARE)


@pytest.mark.parametrize("mask", [*drawn_masks().values(), np.eye(700, 1200, dtype=np.uint8)])
def test_compressed_run_lengths_are_those_of_pycocotools(mask):
    rle = mask_api.encode(np.asfortranarray(mask))
    segmentation = dict(size=list(mask.shape), counts=rle["counts"].decode())
    assert np.array_equal(decode_segmentation(segmentation, *mask.shape, "x"), mask)


def test_polygons_of_one_instance_and_instances_of_one_image_are_united(tmp_path):
    mask = drawn(
        tmp_path,
        dict(segmentation=[[0, 0, 1, 0, 1, 1, 0, 1], [5, 3, 6, 3, 6, 4, 5, 4]]),
        dict(segmentation=[[2.0, 1.0, 4.0, 1.0, 4.0, 3.0, 2.0, 3.0]]),
        dict(segmentation=dict(size=[4, 6], counts=SQUARE_RUNS), iscrowd=1),
    )
    united = SQUARE.copy()
    united[0, 0] = united[3, 5] = 1
    assert np.array_equal(mask, united)


def test_a_polygon_may_reach_a_pixel_beyond_the_image(tmp_path):
    assert drawn(tmp_path, dict(segmentation=[[-0.5, -1, 6.5, -1, 6.5, 5, -0.5, 5]])).all()


def test_the_category_is_chosen_where_there_are_several(tmp_path):
    lesion = dict(segmentation=dict(size=[4, 6], counts=SQUARE_RUNS))
    hair = dict(segmentation=[[0, 0, 6, 0, 6, 1, 0, 1]], category_id=4)
    with pytest.raises(DataError, match=r"of the categories hair, lesion, expected one. Choose it with --category"):
        drawn(tmp_path, lesion, hair)
    assert np.array_equal(drawn(tmp_path, lesion, hair, category="lesion"), SQUARE)
    shutil.rmtree(tmp_path / "masks")
    assert drawn(tmp_path, lesion, hair, category="hair").sum() == 6
    shutil.rmtree(tmp_path / "masks")
    with pytest.raises(DataError, match=r"its categories are hair, lesion, expected nail among them. Check --category"):
        drawn(tmp_path, lesion, category="nail")
    assert np.array_equal(drawn(tmp_path, lesion), SQUARE)


@pytest.mark.parametrize(
    ("segmentation", "fault"),
    [
        (None, "has no segmentation, expected RLE or polygons"),
        ([], "has no segmentation"),
        (dict(size=[4, 6]), "has no segmentation"),
        (dict(size=[6, 4], counts=SQUARE_RUNS), r"of the size \[6, 4\], expected the image's .*\[4, 6\]"),
        (dict(size=[4, 6], counts=SQUARE_RUNS[:-1]), "do not make up the image, expected runs of 24 pixels"),
        (dict(size=[4, 6], counts=[-1, 25]), "do not make up the image"),
        (dict(size=[4, 6], counts=["24"]), "do not make up the image"),
        (dict(size=[4, 6], counts=""), "do not make up the image"),
        (dict(size=[4, 6], counts="92"), "do not make up the image"),
        (dict(size=[4, 6], counts="9 2"), "do not make up the image"),
        (dict(size=[4, 6], counts="X"), "do not make up the image"),
        (dict(size=[4, 6], counts="\ud800"), "do not make up the image"),
        (dict(size=[4, 6], counts="o" * 20 + "0"), "do not make up the image"),
        (dict(size=[4, 6], counts=[10**30]), "do not make up the image"),
        ([[10**400, 0, 1, 0, 1, 1]], "is no list of polygons"),
        ([0, 0, 1, 0, 1, 1], "is no list of polygons"),
        ([[0, 0, 1, 1]], "polygon 1 of 1 has 2 points, expected three or more"),
        ([[0, 0, 1, 0, 1, 1], [3, 3, 4, 4]], "polygon 2 of 2 has 2 points, expected three or more"),
        ([[0, 0, 1, 0, 1, 1, 2]], "is no list of polygons"),
        ([["a", 0, 1, 0, 1, 1]], "is no list of polygons"),
        ([[0, 0, 9, 0, 9, 3]], "reaches x 0 to 9 and y 0 to 3, expected it inside the image of 6x4"),
        ([[3, 3, 3, 3, 3, 3]], "segmentation has no pixel, expected some"),
        (dict(size=[4, 6], counts=[24]), "segmentation has no pixel, expected some"),
        (dict(size=[4, 6], counts=[4.5, 2, 17.5]), "do not make up the image"),
        ([[0, 0, float("nan"), 0, 5, 3]], "reaches x nan to nan"),
        ([[0, 0, 5, 0, 5, 1e12]], r"reaches x 0 to 5 and y 0 to 1e\+12"),
    ],
)
def test_segmentations_that_cannot_be_drawn_are_an_error(tmp_path, segmentation, fault):
    good = dict(segmentation=dict(size=[4, 6], counts=SQUARE_RUNS))
    with pytest.raises(DataError, match=rf"^{tmp_path / 'coco.json'}: annotation 2 of a/x.jpeg: its? .*{fault}"):
        drawn(tmp_path, good, dict(segmentation=segmentation))
    assert list(tree(tmp_path)) == ["coco.json"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (dict(images=[dict(id=7, file_name="x.jpg", width=6)]), r"1 of 1 images have no id, .* or width \(x.jpg\)"),
        (dict(images=[IMAGE | dict(height=0)]), "have no id, file_name, height or width"),
        (dict(images=[IMAGE | dict(height="4")]), "have no id, file_name, height or width"),
        (dict(images=[IMAGE | dict(id=[7])]), "have no id, file_name, height or width"),
        (dict(images=[IMAGE | dict(file_name="")]), "have no id, file_name, height or width"),
        (dict(images=[]), "its list of images is empty"),
        (dict(images=[IMAGE, IMAGE | dict(file_name="y.jpg")]), r"1 image ids occur more than once \(7\)"),
        (dict(images=[IMAGE, IMAGE | dict(id=8, file_name="a/x.png")]), r"1 masks would .* once \(a/x.png\)"),
        (dict(images=[IMAGE | dict(file_name="../x.jpg")]), r"1 of 1 file names lead out .* \(../x.jpg\)"),
        (dict(images=[IMAGE | dict(height=72.5)]), "have no id, file_name, height or width"),
        (dict(images=[IMAGE | dict(height=10**9)]), "expected all four, .* at most"),
        (dict(images=[IMAGE | dict(file_name="x" * 300 + ".jpg")]), r"1 of 1 file names are too long .*\(x{50}\)"),
        (dict(images=[IMAGE | dict(file_name="x\0.jpg")]), "or hold characters that no file name can"),
        (dict(images=[IMAGE | dict(file_name="\ud800.jpg")]), "or hold characters that no file name can"),
        (
            dict(images=[IMAGE, IMAGE | dict(id=8, file_name="a/x.png/b/y.jpg")]),
            r"1 of 2 masks lie in a folder that is called like another mask \(a/x\.png/b/y\.jpg\)",
        ),
        (dict(images=[IMAGE | dict(file_name="/x.jpg")]), "file names lead out of the folder"),
        (dict(categories=[dict(id=3)]), r"1 of 1 categories have no id or name \(3\)"),
        (dict(categories=[dict(id=3, name="lesion"), dict(id=3, name="hair")]), r"1 category ids occur more .*\(3\)"),
        (dict(categories=[]), r"1 of 1 annotations have no category \(5\)"),
        (dict(annotations=[dict(id=5, image_id=8, category_id=3)]), r"1 of 1 annotations have no image \(5\)"),
        (dict(annotations=[dict(id=5, image_id=[7], category_id=3)]), "annotations have no image"),
        (dict(annotations=[dict(id=5, image_id=7)]), "annotations have no category"),
        (dict(annotations=None), "no list of annotations in it, expected COCO"),
        (dict(categories={}, images=["x"]), "no list of images or categories in it"),
    ],
)
def test_lists_that_do_not_fit_together_are_an_error(tmp_path, changes, fault):
    lists = dict(annotations=[dict(id=5, image_id=7, category_id=3)]) | changes
    path = coco_file(tmp_path / "coco.json", **lists)
    with pytest.raises(DataError, match=rf"^{path}: .*{fault}"):
        coco_to_masks(path, tmp_path / "masks")
    assert list(tree(tmp_path)) == ["coco.json"]


def test_all_kinds_of_faults_in_the_lists_are_told(tmp_path):
    path = coco_file(tmp_path / "coco.json", dict(image_id=1), dict(category_id=1), images=[IMAGE | dict(width=0)])
    with pytest.raises(DataError) as error:
        coco_to_masks(path, tmp_path / "masks")
    assert len(error.value.args) == 3


@pytest.mark.parametrize("data", [b"", b"{", b"\x89PNG", b"[]", b"3", b"[" * 100_000])
def test_what_is_not_coco_is_an_error(tmp_path, data):
    path = tmp_path / "coco.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"^{path}: .* expected COCO"):
        coco_to_masks(path, tmp_path / "masks")


def test_numbers_with_a_point_are_whole_numbers(tmp_path):
    runs = dict(size=[4.0, 6.0], counts=[float(run) for run in SQUARE_RUNS])
    square = dict(id=1.0, image_id=7.0, category_id=3.0, segmentation=runs)
    images, categories = [IMAGE | dict(id=7.0, height=4.0, width=6.0)], [dict(id=3.0, name="lesion")]
    path = coco_file(tmp_path / "coco.json", images=images, categories=categories, annotations=[square])
    coco_to_masks(path, tmp_path / "masks")
    assert np.array_equal(read_mask(tmp_path / "masks/a/x.png") // 255, SQUARE)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_file_of_another_encoding_is_read(tmp_path, encoding):
    coco = dict(images=[IMAGE | dict(file_name="lésion.jpg")], categories=[dict(id=3, name="Läsion")], annotations=[])
    (tmp_path / "coco.json").write_bytes(json.dumps(coco, ensure_ascii=False).encode(encoding))
    coco_to_masks(tmp_path / "coco.json", tmp_path / "masks", "Läsion")
    assert list(tree(tmp_path / "masks")) == ["lésion.png"]


@pytest.mark.parametrize("data", [b"", b" \n"])
def test_an_empty_file_is_told(tmp_path, data):
    (tmp_path / "coco.json").write_bytes(data)
    with pytest.raises(DataError, match=r"coco\.json: an empty file, expected COCO\. Export it again\."):
        coco_to_masks(tmp_path / "coco.json", tmp_path / "masks")


@pytest.mark.parametrize(
    ("file_name", "mask"),
    [
        ("images\\x.jpg", "images/x.png"),
        ("C:\\Users\\me\\x.jpg", "x.png"),
        ("D:/photos/x.jpg", "x.png"),
        ("\\\\server\\share\\x.jpg", "x.png"),
        ("https://example.org/upload/1/x%20y.jpg?token=a/b", "x y.png"),
        ("s3://bucket/x.jpg", "x.png"),
        ("./x.jpg", "x.png"),
    ],
)
def test_names_of_windows_and_the_web_mean_files(tmp_path, file_name, mask):
    path = coco_file(tmp_path / "coco.json", images=[IMAGE | dict(file_name=file_name)])
    coco_to_masks(path, tmp_path / "masks")
    assert list(tree(tmp_path / "masks")) == [mask]


def test_a_name_of_windows_does_not_lead_out_of_the_folder(tmp_path):
    path = coco_file(tmp_path / "coco.json", images=[IMAGE | dict(file_name="..\\x.jpg")])
    with pytest.raises(DataError, match="file names lead out of the folder"):
        coco_to_masks(path, tmp_path / "masks")


def test_a_folder_in_place_of_the_file_is_told(folder, tmp_path):
    with pytest.raises(DataError, match=rf"^{folder}: a folder, expected a COCO file \(JSON\)"):
        coco_to_masks(folder, tmp_path / "masks")


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    path = coco_file(tmp_path / "coco.json")
    out = tmp_path / "masks"
    out.mkdir()
    coco_to_masks(path, out)
    assert not read_mask(out / "a/x.png").any()
    coco_to_masks(path, out)  # the same again
    (out / "a/x.png").write_bytes(b"mine")
    with pytest.raises(DataError, match=rf"^{out}: already there, expected a new or empty folder"):
        coco_to_masks(path, out)


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    path, out = coco_file(tmp_path / "coco.json"), tmp_path / "masks"
    out.symlink_to(tmp_path / "disk")
    coco_to_masks(path, out)
    assert out.is_symlink()
    assert tree(tmp_path / "disk") == tree(out)


def test_a_folder_of_much_else_is_not_looked_through(tmp_path, monkeypatch):
    path = coco_file(tmp_path / "coco.json")
    monkeypatch.setattr(coco_convert, "list_files", lambda folder: pytest.fail("looked through"))
    with pytest.raises(DataError, match=r"already there, expected a new or empty folder"):
        coco_to_masks(path, tmp_path)


def test_a_described_instance_survives_json():
    instance = np.asfortranarray(drawn_masks()["hole"])
    for polygons in (False, True):
        description = describe_instance(instance, polygons)
        assert json.loads(json.dumps(description)) == description
