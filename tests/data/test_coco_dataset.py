import json
import shutil

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope

import lesionseg.openmmlab  # noqa: F401
from lesionseg.errors import DataError

PIPELINE = [dict(type="LoadLesionImage"), dict(type="LoadAnnotations", with_bbox=True, with_mask=True)]


@pytest.fixture
def folder(coco_folder, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(coco_folder, tmp_path / "COCO")


def build(folder, **settings):
    init_default_scope("mmdet")
    default = dict(
        type="LesionCocoDataset",
        data_root=str(folder),
        ann_file="annotations/instances_training.json",
        data_prefix=dict(img="images/training", seg="annotations/training"),
        pipeline=PIPELINE,
    )
    return DATASETS.build(default | settings)


def change(folder, edit):
    path = folder / "annotations/instances_training.json"
    coco = json.loads(path.read_text())
    edit(coco)
    path.write_text(json.dumps(coco))


def test_masks_are_those_of_the_folder(coco_folder):
    dataset = build(coco_folder)
    assert len(dataset) == 6
    assert dataset.summary == "6 images with 6 instances, 0 images without any"
    for sample in dataset:
        truth = cv2.imread(sample["seg_map_path"], cv2.IMREAD_GRAYSCALE) > 128
        assert np.array_equal(sample["gt_masks"].masks[0].astype(bool), truth)
        rows, columns = np.nonzero(truth)
        left, top, right, bottom = sample["gt_bboxes"].numpy()[0]
        assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_masks_may_have_the_names_of_the_release(folder):
    for mask in (folder / "annotations/training").iterdir():
        mask.rename(mask.with_name(f"{mask.stem}_segmentation.png"))
    assert build(folder).get_data_info(0)["seg_map_path"].endswith("ISIC_0000000_segmentation.png")


def test_images_without_an_instance_are_counted_and_left_out_where_wanted(folder):
    change(folder, lambda coco: coco["annotations"].pop())
    dataset = build(folder, filter_cfg=dict(filter_empty_gt=True))
    assert len(dataset) == 5
    assert dataset.summary == "6 images with 5 instances, 1 images without any"


def test_missing_coco_file(folder):
    (folder / "annotations/instances_training.json").unlink()
    with pytest.raises(DataError, match=r"instances_training\.json: no such file.*tools/masks2coco\.py DATASET"):
        build(folder)


@pytest.mark.parametrize("gone", ["images/training", "."])
def test_missing_split(folder, gone):
    shutil.rmtree(folder / gone)
    with pytest.raises(DataError, match=r"images/training: no such folder.*Convert it .*choose another split"):
        build(folder)


def test_other_category(coco_folder):
    with pytest.raises(DataError, match=r"its categories are lesion, expected nail\..*--category nail"):
        build(coco_folder, metainfo=dict(classes=("nail",)))


@pytest.mark.parametrize(
    "fault",
    [
        dict(iscrowd=1),
        dict(bbox=[-20, -20, 10, 10]),
        dict(bbox=[5, 5, 0.5, 8]),
        dict(area=0),
        dict(segmentation=[]),
        dict(ignore=True),
    ],
)
def test_annotations_that_upstream_would_drop(folder, fault):
    change(folder, lambda coco: coco["annotations"][2].update(fault))
    with pytest.raises(DataError, match=r"1 of 6 annotations cannot be used"):
        build(folder)


def test_missing_image(folder):
    (folder / "images/training/ISIC_0000003.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 6 images are not in .*images/training \(ISIC_0000003\.jpg\)"):
        build(folder)


def test_missing_mask(folder):
    (folder / "annotations/training/ISIC_0000003.png").unlink()
    with pytest.raises(DataError, match=r"annotations/training: 1 of 6 images have no mask \(ISIC_0000003\)"):
        build(folder)


def test_two_masks(folder):
    masks = folder / "annotations/training"
    shutil.copy(masks / "ISIC_0000000.png", masks / "ISIC_0000000_segmentation.png")
    with pytest.raises(DataError, match=r"annotations/training: 1 images have two masks \(ISIC_0000000\)"):
        build(folder)


def test_picture_that_is_not_listed(folder):
    images = folder / "images/training"
    shutil.copy(images / "ISIC_0000003.jpg", images / "new.JPG")
    with pytest.raises(DataError, match=r"1 of 7 pictures in .* are not in it \(new\.JPG\).*DATASET --overwrite"):
        build(folder)


def test_image_of_another_size_than_listed(folder):
    path = folder / "images/training/ISIC_0000003.jpg"
    height, width = cv2.imread(str(path)).shape[:2]
    assert height != width
    cv2.imwrite(str(path), np.zeros((width, height, 3), np.uint8))
    expected = rf"1 of 6 .*\(ISIC_0000003\.jpg: {height}x{width}, listed {width}x{height}\).*DATASET --overwrite"
    with pytest.raises(DataError, match=expected):
        build(folder)


@pytest.mark.parametrize(
    ("break_rle", "fault"),
    [
        (lambda rle: dict(size=rle["size"][::-1], counts=rle["counts"]), "its RLE is of the size"),
        (lambda rle: dict(size=rle["size"], counts=rle["counts"][:-4]), "its RLE counts do not make up the image"),
        (lambda rle: dict(size=rle["size"], counts="~ no"), "its RLE counts do not make up the image"),
        (lambda rle: [[0, 0, 9, 0, 9, 1e6]], "its polygon reaches"),
        (lambda rle: [[0, 0, 9, 9]], "its segmentation is no list of polygons"),
    ],
)
def test_broken_segmentation(folder, break_rle, fault):
    def edit(coco):
        annotation = coco["annotations"][2]
        annotation["segmentation"] = break_rle(annotation["segmentation"])

    change(folder, edit)
    with pytest.raises(DataError, match=rf"annotation 3 of ISIC_0000002\.jpg: {fault}"):
        build(folder)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (dict(id=1), r"1 annotation ids occur more than once \(1\)"),
        (dict(id=None), r"1 of 6 annotations have no id \(3\)"),
        (dict(area=None), r"1 of 6 annotations have no area \(3\)"),
        (dict(bbox=None), r"1 of 6 annotations have no bbox of four numbers \(3\)"),
        (dict(bbox=[1, 2, 3]), r"1 of 6 annotations have no bbox of four numbers \(3\)"),
        (dict(bbox=[1, 2, 3, "4"]), "no bbox of four numbers"),
        (dict(bbox=[1, 2, 3, float("nan")]), "no bbox of four numbers"),
    ],
)
def test_annotations_that_lack_what_training_needs(folder, fault, message):
    change(folder, lambda coco: coco["annotations"][2].update(fault))
    with pytest.raises(DataError, match=message):
        build(folder)
