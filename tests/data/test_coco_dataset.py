import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope

import lesionseg.openmmlab  # noqa: F401
from lesionseg.errors import DataError
from lesionseg.evaluation.coco_metric import LesionCocoMetric

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


@pytest.mark.parametrize(
    ("gone", "step"),
    [("images/training", "beside validation and test.*Choose another split"), (".", "or set data_root")],
)
def test_missing_split(folder, gone, step):
    shutil.rmtree(folder / gone)
    with pytest.raises(DataError, match=rf"images/training: no such folder.*{step}"):
        build(folder)


def test_other_category(coco_folder):
    with pytest.raises(DataError, match=r"its categories are lesion, expected nail\..*--category nail"):
        build(coco_folder, metainfo=dict(classes=("nail",)))


def test_annotations_of_others_are_not_to_be_replaced(folder):
    change(folder, lambda coco: coco["info"].clear())
    with pytest.raises(DataError, match=r"expected nail\. Set metainfo in the config\. Or correct the file; tools/mas"):
        build(folder, metainfo=dict(classes=("nail",)))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            dict(iscrowd=1),
            r"1 of 6 annotations have iscrowd 1 \(3\), expected 0, .* write \"iscrowd\": 0 in their entries",
        ),
        (dict(ignore=True), r"1 of 6 annotations have ignore set \(3\), .* Write \"ignore\": 0"),
        (dict(segmentation=[]), r"annotation 3 of ISIC_0000002\.jpg: it has no segmentation"),
        (dict(segmentation=[[0, 0, 0, 1, 0, 2]]), r"1 of 6 annotations have no pixel in their segmentation \(3\)"),
    ],
)
def test_annotations_that_upstream_would_drop(folder, fault, message):
    change(folder, lambda coco: coco["annotations"][2].update(fault))
    with pytest.raises(DataError, match=message):
        build(folder)


def test_the_advice_about_crowds_mends_them(folder):
    path = folder / "annotations/instances_training.json"
    path.write_text(path.read_text().replace('"iscrowd":0', '"iscrowd":1'))
    with pytest.raises(DataError, match="6 of 6 annotations have iscrowd 1"):
        build(folder)
    path.write_text(path.read_text().replace('"iscrowd":1', '"iscrowd":0'))
    assert len(build(folder)) == 6


def test_annotations_of_other_categories_are_told(folder):
    def edit(coco):
        coco["categories"].append(dict(id=2, name="hair"))
        coco["annotations"][2]["category_id"] = 2

    change(folder, edit)
    with pytest.raises(DataError, match=r"1 of 6 annotations are of other categories \(3\), expected lesion alone"):
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
    with pytest.raises(DataError, match=r"1 of 7 pictures in .* are not in it \(new\.JPG\).*COCO --overwrite"):
        build(folder)


def test_image_of_another_size_than_listed(folder):
    path = folder / "images/training/ISIC_0000003.jpg"
    height, width = cv2.imread(str(path)).shape[:2]
    assert height != width
    cv2.imwrite(str(path), np.zeros((width, height, 3), np.uint8))
    expected = rf"1 of 6 .*\(ISIC_0000003\.jpg: {height}x{width}, listed {width}x{height}\).*COCO --overwrite"
    with pytest.raises(DataError, match=expected):
        build(folder)


@pytest.mark.parametrize(
    ("break_rle", "fault"),
    [
        (lambda rle: dict(size=rle["size"][::-1], counts=rle["counts"]), "its RLE is of the size"),
        (lambda rle: dict(size=rle["size"], counts=rle["counts"][:-4]), "its RLE counts do not make up the image"),
        (lambda rle: dict(size=rle["size"], counts="~ no"), "its RLE counts do not make up the image"),
        (lambda rle: [[0, 0, 9, 0, 9, 1e6]], "its polygon reaches"),
        (lambda rle: [[0, 0, 9, 9]], "its polygon 1 of 1 has 2 points"),
    ],
)
def test_broken_segmentation(folder, break_rle, fault):
    def edit(coco):
        annotation = coco["annotations"][2]
        annotation["segmentation"] = break_rle(annotation["segmentation"])

    change(folder, edit)
    with pytest.raises(DataError, match=rf"annotation 3 of ISIC_0000002\.jpg: {fault}"):
        build(folder)


def instances(folder):
    dataset = build(folder, pipeline=[])
    return [instance for number in range(len(dataset)) for instance in dataset.get_data_info(number)["instances"]]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (dict(id=1), "annotations were numbered anew from 1"),
        (dict(id=None), "annotations were numbered anew from 1"),
        (dict(id=0), "annotations were numbered anew from 1"),
        (dict(id="c3"), "annotations were numbered anew from 1"),
        (dict(id=3.0), None),
        (dict(area=None), "1 annotations had another area than their segmentations (3)"),
        (dict(area=0), "1 annotations had another area than their segmentations (3)"),
        (dict(bbox=None), "1 annotations had another bbox than their segmentations (3)"),
        (dict(bbox=[1, 2, 3]), "1 annotations had another bbox than their segmentations (3)"),
        (dict(bbox=[1, 2, 3, "4"]), "1 annotations had another bbox than their segmentations (3)"),
        (dict(bbox=[1, 2, 3, float("nan")]), "1 annotations had another bbox than their segmentations (3)"),
        (dict(bbox=[-20, -20, 10, 10]), "1 annotations had another bbox than their segmentations (3)"),
        (dict(bbox=[5, 5, 0.5, 8]), "1 annotations had another bbox than their segmentations (3)"),
    ],
)
def test_what_follows_from_the_segmentation_is_derived(coco_folder, folder, fault, told):
    change(folder, lambda coco: coco["annotations"][2].update(fault))
    assert instances(folder) == instances(coco_folder)
    summary = build(folder).summary
    assert summary.startswith("6 images with 6 instances, 0 images without any")
    assert (told in summary) if told else ";" not in summary


def test_boxes_written_as_corners_are_made_anew(coco_folder, folder):
    def edit(coco):
        for annotation in coco["annotations"]:
            x, y, width, height = annotation["bbox"]
            annotation["bbox"] = [x, y, x + width, y + height]

    change(folder, edit)
    assert instances(folder) == instances(coco_folder)
    assert "6 annotations had another bbox than their segmentations (1, 2, 3, 4, 5 and 1 more)" in build(folder).summary


def test_numbers_of_segmentations_may_be_text_or_have_a_point(folder):
    def edit(coco):
        first, second, *_ = coco["annotations"]
        first["segmentation"]["size"] = [float(size) for size in first["segmentation"]["size"]]
        second["segmentation"] = [["10", "8", "30", "8", "30", "24", "10", "24"]]

    change(folder, edit)
    dataset = build(folder)
    assert dataset[0]["gt_masks"].masks.shape == (1, 72, 96)
    assert dataset[1]["gt_masks"].to_ndarray()[0, 8:24, 10:30].all()


def test_ids_that_are_no_numbers_are_numbered(coco_folder, folder):
    def edit(coco):
        for entry in (*coco["images"], *coco["categories"]):
            entry["id"] = f"id {entry['id']}"
        for annotation in coco["annotations"]:
            annotation.update(image_id=f"id {annotation['image_id']}", category_id=f"id {annotation['category_id']}")

    change(folder, edit)
    assert instances(folder) == instances(coco_folder)
    assert "images were numbered anew" in build(folder).summary


@pytest.mark.parametrize(
    "name",
    [
        "images\\{}",
        "images/training/{}",
        "C:\\photos\\{}",
        "https://example.org/upload/{}",
        "./{}",
    ],
)
def test_names_of_other_folders_mean_the_files(coco_folder, folder, name):
    def edit(coco):
        for image in coco["images"]:
            image["file_name"] = name.format(image["file_name"])

    change(folder, edit)
    dataset = build(folder, pipeline=[])
    assert [dataset.get_data_info(number)["image_id"] for number in range(6)] == [f"ISIC_{n:07}" for n in range(6)]
    assert instances(folder) == instances(coco_folder)


@pytest.mark.parametrize("first", [0, 1, 5])
def test_a_perfect_prediction_scores_1_whatever_annotations_are_numbered_from(folder, first):
    def edit(coco):
        for entry in (*coco["images"], *coco["annotations"]):
            entry["id"] += first - 1
        for annotation in coco["annotations"]:
            annotation["image_id"] += first - 1

    change(folder, edit)
    metric = LesionCocoMetric(ann_file=folder / "annotations/instances_training.json", metric=["bbox", "segm"])
    metric.dataset_meta = dict(classes=("lesion",))
    dataset = build(folder)
    for number in range(len(dataset)):
        sample, info = dataset[number], dataset.get_data_info(number)
        found = dict(
            bboxes=torch.as_tensor(np.array(sample["gt_bboxes"].numpy())),
            scores=torch.ones(1),
            labels=torch.zeros(1, dtype=torch.long),
            masks=torch.as_tensor(sample["gt_masks"].masks.astype(bool)),
        )
        sizes = dict(img_id=info["img_id"], ori_shape=(info["height"], info["width"]))
        metric.process({}, [sizes | dict(pred_instances=found)])
    scores = metric.evaluate(size=len(dataset))
    assert (scores["coco/bbox_mAP"], scores["coco/segm_mAP"]) == (1, 1)
