import json
import shutil

import cv2
import numpy as np
import pytest
from drawn_masks import (
    COMPONENTS,
    HEIGHT,
    WHOLE,
    WIDTH,
    draw_folder,
    drawn_masks,
    json_path,
    noise,
    refused,
    tree,
    write_pair,
)
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from lesionseg.data.coco.convert import Style, coco_to_masks, masks_to_coco
from lesionseg.data.coco.segmentation import split_instances
from lesionseg.data.names import MASK_SUFFIXES, find_masks
from lesionseg.data.release.convert import convert
from lesionseg.data.release.layouts.isic import find_release
from lesionseg.data.release.layouts.pairs import find_pairs
from lesionseg.pixels.masks import encode_mask, lesion_pixels, read_mask
from lesionseg.pixels.outlines import edge_polygons


@pytest.fixture
def folder(tmp_path):
    return draw_folder(tmp_path)


def made(folder, style=WHOLE, split="training"):
    masks_to_coco(folder, style)
    return json.loads(json_path(folder, split).read_text())


def annotations_of(coco, name):
    number = next(image["id"] for image in coco["images"] if image["file_name"] == name)
    return [annotation for annotation in coco["annotations"] if annotation["image_id"] == number]


# Masks to COCO


def test_lists_of_the_file(folder):
    coco = made(folder)
    names = sorted(drawn_masks())
    assert coco["images"] == [
        dict(id=number, file_name=f"a/{name}.jpg", height=HEIGHT, width=WIDTH) for number, name in enumerate(names, 1)
    ]
    assert coco["categories"] == [dict(id=1, name="lesion")]
    assert [annotation["id"] for annotation in coco["annotations"]] == list(range(1, len(names)))
    assert {(annotation["category_id"], annotation["iscrowd"]) for annotation in coco["annotations"]} == {(1, 0)}
    assert annotations_of(coco, "a/empty.jpg") == []
    (image,) = json.loads(json_path(folder, "validation").read_text())["images"]
    assert image == dict(id=1, file_name="ISIC_0000001.jpg", height=50, width=36)


def test_area_and_box_of_a_whole_mask_span_its_parts(folder):
    (annotation,) = annotations_of(made(folder), "a/two.jpg")
    assert annotation["area"] == 2 * 3 + 8 * 7
    assert annotation["bbox"] == [1, 2, 32, 26]
    assert annotation["segmentation"]["size"] == [HEIGHT, WIDTH]


def test_components_are_listed_from_top_to_bottom(folder):
    first, second = annotations_of(made(folder, COMPONENTS), "a/two.jpg")
    assert (first["area"], first["bbox"]) == (6, [30, 2, 3, 2])
    assert (second["area"], second["bbox"]) == (56, [1, 20, 7, 8])


def test_components_follow_their_first_pixels_row_by_row():
    lesion = np.zeros((9, 14), bool)
    lesion[1:3, 0] = lesion[0, 9:11] = lesion[0, 5] = lesion[7, 3] = True
    lesion[2, 7] = lesion[1, 8] = True  # touches the part of the first row by its corner
    firsts = [tuple(np.argwhere(instance)[0]) for instance in split_instances(lesion, "components")]
    assert firsts == [(0, 5), (0, 9), (1, 0), (7, 3)]


def test_components_share_the_lesion_among_them():
    for name, mask in drawn_masks().items():
        instances = list(split_instances(mask.view(bool), "components"))
        assert len(instances) == cv2.connectedComponents(mask, connectivity=8)[0] - 1
        assert np.array_equal(sum(instances, np.zeros_like(mask)), mask), name


def test_the_gray_of_a_lesion_pixel_is_above_128(folder):
    gray = np.zeros((HEIGHT, WIDTH), np.uint8)
    gray[3, 4:7] = 128, 129, 255
    (folder / "annotations/training/a/two.png").write_bytes(cv2.imencode(".png", gray)[1].tobytes())
    (annotation,) = annotations_of(made(folder), "a/two.jpg")
    assert annotation["bbox"] == [5, 3, 2, 1]


@pytest.mark.parametrize("style", [WHOLE, COMPONENTS, Style(polygons=True)])
def test_the_same_masks_give_the_same_bytes(folder, style):
    masks_to_coco(folder, style)
    before = tree(folder)
    masks_to_coco(folder, style, overwrite=True)
    assert tree(folder) == before


def test_small_instances_are_dropped_and_told(folder):
    shutil.rmtree(folder / "annotations/training/a")
    shutil.rmtree(folder / "images/training/a")
    for name in ("corner", "pixel", "two"):
        write_pair(folder, "training", name, drawn_masks()[name])
    result = masks_to_coco(folder, Style("components", min_area=7))
    path = json_path(folder)
    assert result.counts[path] == (3, 1)
    assert result.notes == [
        f"{path}: 2 of 3 images have no instance (corner, pixel)",
        f"{path}: dropped 3 instances of fewer than 7 pixels",
    ]
    (annotation,) = json.loads(path.read_text())["annotations"]
    assert (annotation["id"], annotation["area"]) == (1, 56)
    assert masks_to_coco(folder, Style(min_area=2), overwrite=True).counts[path] == (3, 2)


def test_masks_under_the_names_of_the_releases_are_found(folder):
    mask = folder / "annotations/validation/ISIC_0000001.png"
    mask.rename(mask.with_name("ISIC_0000001_Segmentation.png"))
    assert len(made(folder, split="validation")["annotations"]) == 1


@pytest.mark.parametrize("suffix", [".PNG", ".bmp", "_SEGMENTATION.png"])
def test_masks_under_names_that_the_data_sets_do_not_know_are_refused(folder, suffix):
    mask = folder / "annotations/validation/ISIC_0000001.png"
    mask.rename(mask.with_name(f"ISIC_0000001{suffix}"))
    assert any(
        line.startswith(f"{mask.parent}: ") and "expected <id>.png or <id>_segmentation.png" in line
        for line in refused(folder)
    )


@pytest.mark.parametrize("suffix", MASK_SUFFIXES)
def test_the_data_sets_find_the_masks_that_are_converted(folder, suffix):
    mask = folder / "annotations/validation/ISIC_0000001.png"
    renamed = mask.rename(mask.with_name(f"ISIC_0000001{suffix}"))
    masks_to_coco(folder)
    assert find_masks(mask.parent, ["ISIC_0000001"]) == {"ISIC_0000001": renamed}


def test_files_that_are_no_pictures_are_told(folder):
    (folder / "images/training/list.txt").write_text("x")
    assert masks_to_coco(folder).notes[0] == (
        f"{folder / 'images/training'}: left out 1 files that are no picture (list.txt)"
    )


# Polygons


def filled(mask):
    """Fill what an 8-connected lesion keeps apart from the skin outside."""
    _, labels = cv2.connectedComponents(np.pad(1 - mask, 1, constant_values=1), connectivity=4)
    return (labels != labels[0, 0])[1:-1, 1:-1].astype(np.uint8)


@pytest.mark.parametrize("mask", [*drawn_masks().values(), *map(noise, range(1, 6))])
def test_polygons_change_nothing_but_holes(mask):
    for instances in ("whole", "components"):
        for instance in split_instances(mask.view(bool), instances):
            polygons = [corners.ravel().tolist() for corners in edge_polygons(instance)]
            assert min(map(len, polygons)) >= 8, "a reader takes 4 numbers for a box and drops fewer than 6"
            rle = mask_api.merge(mask_api.frPyObjects(polygons, HEIGHT, WIDTH))
            assert np.array_equal(mask_api.decode(rle), filled(instance))


def test_an_outline_runs_along_the_edges_of_the_pixels():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:4, 5:8] = 1
    (polygon,) = edge_polygons(mask)
    assert sorted(map(tuple, polygon)) == [(5, 2), (5, 4), (8, 2), (8, 4)]


def test_the_pixels_that_polygons_change_are_told(folder):
    shutil.rmtree(folder / "annotations/training/a")
    shutil.rmtree(folder / "images/training/a")
    hole = drawn_masks()["hole"]
    write_pair(folder, "training", "x", hole)
    path = json_path(folder)
    changed, lesion = 7 * 7 - 2 * 2, 15 * 20 - 7 * 7 + 2 * 2
    result = masks_to_coco(folder, Style(polygons=True))
    assert result.notes[0] == (
        f"{path}: polygons have no holes, which changed {changed} pixels "
        f"({changed / lesion:.4%} of the {lesion} lesion pixels)"
    )
    (annotation,) = json.loads(path.read_text())["annotations"]
    assert isinstance(annotation["segmentation"], list)
    assert annotation["area"] == 15 * 20
    assert "which changed 0 pixels" in result.notes[1]


# And back


@pytest.mark.parametrize("style", [WHOLE, COMPONENTS])
def test_drawn_masks_come_back_to_the_pixel(folder, tmp_path, style):
    masks_to_coco(folder, style)
    out = tmp_path / "masks"
    result = coco_to_masks(json_path(folder), out)
    assert tree(out) == {f"a/{name}.png": encode_mask(mask) for name, mask in drawn_masks().items()}
    assert result.counts[out] == (len(drawn_masks()), len(json.loads(json_path(folder).read_text())["annotations"]))
    assert result.notes == [f"{out}: 1 of {len(drawn_masks())} masks are empty (a/empty.jpg)"]


@pytest.fixture(scope="session", params=["nails", "isic2018"])
def real_folder(request, tmp_path_factory, shared_data):
    raw, out = shared_data / request.param, tmp_path_factory.mktemp("real") / request.param
    listing = find_pairs(raw) if request.param == "nails" else find_release(raw, splits=["validation"])
    convert(listing, out, workers=2)
    return out


@pytest.mark.shared_data
@pytest.mark.parametrize("style", [WHOLE, COMPONENTS])
def test_real_masks_come_back_to_the_pixel(real_folder, tmp_path, style):
    masks_to_coco(real_folder, style, overwrite=True)
    (split,) = (real_folder / "images").iterdir()
    coco_to_masks(json_path(real_folder, split.name), tmp_path / "masks")
    masks = sorted((real_folder / "annotations" / split.name).rglob("*.png"))
    assert len(masks) == {"nails": 40, "isic2018": 121}[real_folder.name]
    for path in masks:
        back = read_mask(tmp_path / "masks" / path.relative_to(real_folder / "annotations" / split.name))
        assert np.array_equal(back == 255, lesion_pixels(read_mask(path))), path
        assert set(np.unique(back)) <= {0, 255}


# What reads these files


@pytest.mark.parametrize("style", [WHOLE, COMPONENTS])
def test_pycocotools_reads_the_file(folder, style, capsys):
    masks_to_coco(folder, style)
    coco = COCO(str(json_path(folder)))
    for image in coco.loadImgs(coco.getImgIds(catIds=coco.getCatIds(["lesion"]))):
        annotations = coco.loadAnns(coco.getAnnIds([image["id"]], iscrowd=False))
        mask = drawn_masks()[image["file_name"][2:-4]]
        assert np.array_equal(sum(map(coco.annToMask, annotations)), mask)
        for annotation in annotations:
            left, top, width, height = annotation["bbox"]
            assert annotation["area"] == coco.annToMask(annotation).sum()
            assert (left, top, width, height) == cv2.boundingRect(coco.annToMask(annotation))
    assert len(coco.imgs) == len(drawn_masks())


@pytest.mark.parametrize("style", [WHOLE, COMPONENTS, Style(polygons=True)])
def test_mmdetection_reads_every_annotation_to_the_pixel(folder, style):
    check_in_mmdetection(folder, "training", style)


@pytest.mark.shared_data
@pytest.mark.parametrize("style", [WHOLE, COMPONENTS])
def test_mmdetection_reads_every_real_annotation_to_the_pixel(real_folder, style):
    (split,) = (real_folder / "images").iterdir()
    check_in_mmdetection(real_folder, split.name, style)


def check_in_mmdetection(folder, split, style):
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations

    import lesionseg.openmmlab  # noqa: F401

    masks_to_coco(folder, style, overwrite=True)
    written = json.loads(json_path(folder, split).read_text())
    dataset = CocoDataset(
        ann_file=str(json_path(folder, split)),
        data_prefix=dict(img=str(folder / "images" / split)),
        metainfo=dict(classes=(style.category,)),
        pipeline=[add_size, LoadAnnotations(with_bbox=True, with_mask=True, poly2mask=True)],
        test_mode=True,
    )
    assert len(dataset) == len(written["images"])
    alive = 0
    for number in range(len(dataset)):
        sample = dataset[number]
        name = sample["img_path"].removeprefix(f"{folder / 'images' / split}/").rsplit(".", 1)[0]
        mask = lesion_pixels(read_mask(folder / "annotations" / split / f"{name}.png")).astype(np.uint8)
        expected = list(map(filled, split_instances(mask.view(bool), style.instances)))
        if not style.polygons:
            expected = list(split_instances(mask.view(bool), style.instances))
        assert len(sample["gt_masks"]) == len(expected) == len(sample["gt_bboxes_labels"])
        assert not sample["gt_ignore_flags"].any()
        assert not sample["gt_bboxes_labels"].any()
        for instance, pixels, box in zip(expected, sample["gt_masks"].masks, sample["gt_bboxes"], strict=True):
            assert np.array_equal(pixels, instance)
            left, top, width, height = cv2.boundingRect(instance)
            assert box.tensor.tolist() == [[left, top, left + width, top + height]]
        alive += len(expected)
    assert alive == len(written["annotations"])


def add_size(sample):
    """Stand in for loading the image, of which the annotations only need the size."""
    return sample | dict(ori_shape=(sample["height"], sample["width"]))
