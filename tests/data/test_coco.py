import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest
from helpers import draw_pair
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from lesionseg.data.coco import convert as coco_module
from lesionseg.data.coco.convert import Style, coco_to_masks, masks_to_coco
from lesionseg.data.coco.segmentation import decode_segmentation, describe_instance, outline, split_instances
from lesionseg.data.names import MASK_SUFFIXES, find_masks
from lesionseg.data.release.convert import convert
from lesionseg.data.release.isic import find_release
from lesionseg.data.release.pairs import find_pairs
from lesionseg.errors import DataError
from lesionseg.pixels.masks import encode_mask, lesion_pixels, read_mask

HEIGHT, WIDTH = 30, 43
WHOLE, COMPONENTS = Style(), Style("components")


def drawn_masks() -> dict[str, np.ndarray]:
    """(H, W) uint8 in {0, 1} of everything that a mask can be."""
    masks = {
        name: np.zeros((HEIGHT, WIDTH), np.uint8) for name in ("border", "corner", "empty", "hole", "pixel", "two")
    }
    masks["border"][:, :9] = 1
    masks["border"][25:, 20:] = 1
    masks["corner"][29, 42] = masks["corner"][28, 41] = 1
    masks["hole"][5:20, 10:30] = 1
    masks["hole"][8:15, 15:22] = 0
    masks["hole"][10:12, 17:19] = 1
    masks["pixel"][17, 5] = 1
    masks["two"][2:4, 30:33] = 1
    masks["two"][20:28, 1:8] = 1
    return masks | {"full": np.ones((HEIGHT, WIDTH), np.uint8), "noise": noise(0)}


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (HEIGHT, WIDTH), np.uint8)


def write_pair(folder, split, name, mask):
    for kind, file, data in (
        ("images", f"{name}.jpg", cv2.imencode(".jpg", draw_pair(0, *mask.shape)[0])[1].tobytes()),
        ("annotations", f"{name}.png", encode_mask(mask)),
    ):
        path = folder / kind / split / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def folder(tmp_path):
    """A data set folder of all drawn masks, in a sub-folder, and another size in validation."""
    folder = tmp_path / "ISIC"
    for name, mask in drawn_masks().items():
        write_pair(folder, "training", f"a/{name}", mask)
    write_pair(folder, "validation", "ISIC_0000001", draw_pair(1, 50, 36)[1])
    return folder


def json_path(folder, split="training"):
    return folder / "annotations" / f"instances_{split}.json"


def made(folder, style=WHOLE, split="training"):
    masks_to_coco(folder, style)
    return json.loads(json_path(folder, split).read_text())


def annotations_of(coco, name):
    number = next(image["id"] for image in coco["images"] if image["file_name"] == name)
    return [annotation for annotation in coco["annotations"] if annotation["image_id"] == number]


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
            polygons = outline(instance)
            assert min(map(len, polygons)) >= 8, "a reader takes 4 numbers for a box and drops fewer than 6"
            rle = mask_api.merge(mask_api.frPyObjects(polygons, HEIGHT, WIDTH))
            assert np.array_equal(mask_api.decode(rle), filled(instance))


def test_an_outline_runs_along_the_edges_of_the_pixels():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:4, 5:8] = 1
    (polygon,) = outline(mask)
    assert sorted(zip(polygon[::2], polygon[1::2], strict=True)) == [(5, 2), (5, 4), (8, 2), (8, 4)]


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


# Faults of a data set folder


def refused(folder, style=WHOLE, **options):
    """Check that nothing is written, and give the lines of the error."""
    before = tree(folder)
    with pytest.raises(DataError) as error:
        masks_to_coco(folder, style, **options)
    assert tree(folder) == before
    return str(error.value).splitlines()


def test_a_split_without_masks_is_an_error(folder):
    (folder / "images/test").mkdir()
    write_pair(folder, "test", "x", noise(0))
    shutil.rmtree(folder / "annotations/test")
    (line,) = refused(folder)
    assert line.startswith(f"{folder / 'annotations/test'}: there is no mask in it, expected <id>.png or")


def test_unpaired_files_are_counted_and_named(folder):
    (folder / "annotations/training/a/two.png").unlink()
    (folder / "images/training/a/noise.jpg").unlink()
    lines = refused(folder)
    assert lines[0].startswith(f"{folder / 'images/training'}: 1 of 7 masks have no image (a/noise), expected")
    assert lines[1].startswith(f"{folder / 'annotations/training'}: 1 of 7 images have no mask (a/two), expected")


def test_a_folder_without_splits_names_the_converter(tmp_path):
    (tmp_path / "images/training").mkdir(parents=True)
    (line,) = refused(tmp_path)
    assert line.endswith("expected a data set folder. Make one with tools/convert_isic.py.")
    assert len(refused(tmp_path / "none")) == 1


def test_a_mask_of_another_size_is_told_with_both_sizes(folder):
    (folder / "annotations/validation/ISIC_0000001.png").write_bytes(encode_mask(np.ones((36, 50))))
    (line,) = refused(folder)
    assert "ISIC_0000001.png: 50x36 pixels, expected the 36x50 of" in line


def test_the_first_faults_of_masks_are_told_and_their_number(folder):
    for path in (folder / "annotations/training/a").iterdir():
        path.write_bytes(encode_mask(np.ones((3, 4))))
    lines = refused(folder)
    assert len(lines) == 6
    assert "a/border.png: 4x3 pixels" in lines[0]
    assert lines[-1] == f"{folder}: 8 such faults in all, expected none. Mend the others too."


def test_masks_that_cannot_be_read_are_named(folder):
    (folder / "annotations/training/a/two.png").write_bytes(b"text")
    (line,) = refused(folder)
    assert line.startswith(f"{folder / 'annotations/training/a/two.png'}: not a readable picture")


def test_a_split_without_instances_is_an_error(folder):
    write_pair(folder, "validation", "ISIC_0000001", np.zeros((50, 36), np.uint8))
    (line,) = refused(folder)
    assert line.startswith(
        f"{folder / 'annotations/validation'}: none of its 1 masks has an instance, expected one of 1"
    )
    assert len(refused(folder, Style(min_area=HEIGHT * WIDTH + 1))) == 2


def test_a_file_in_the_way_stays_unless_told_otherwise(folder):
    json_path(folder, "validation").write_text("mine")
    (line,) = refused(folder)
    assert line == (
        f"{json_path(folder, 'validation')}: exists, expected nothing there. Move it away or pass --overwrite."
    )
    masks_to_coco(folder, overwrite=True)
    assert json.loads(json_path(folder, "validation").read_text())["images"]


def test_splits_do_not_disagree_about_the_category(folder):
    masks_to_coco(folder, Style(category="nail"))
    for kind in ("images", "annotations"):
        shutil.rmtree(folder / kind / "validation")
    (line,) = refused(folder, overwrite=True)
    assert line.startswith(f"{json_path(folder, 'validation')}: its categories are nail, expected lesion in all splits")
    masks_to_coco(folder, Style(category="nail"), overwrite=True)


def test_a_folder_in_the_way_stays_in_any_case(folder):
    masks_to_coco(folder)
    json_path(folder, "validation").unlink()
    json_path(folder, "validation").mkdir()
    (line,) = refused(folder, overwrite=True)
    assert line == f"{json_path(folder, 'validation')}: not a file, expected one or nothing there. Move it away."


def test_a_broken_file_of_a_split_that_is_not_here_is_told(folder):
    json_path(folder, "test").write_text("{")
    (line,) = refused(folder)
    assert line.startswith(f"{json_path(folder, 'test')}: not a COCO file")
    assert line.endswith("Remove it.")


def test_a_file_in_place_of_the_folder_names_the_option(folder):
    masks_to_coco(folder)
    with pytest.raises(DataError, match=r"instances_training\.json: a file, expected .* add --to-masks OUT"):
        masks_to_coco(json_path(folder))


def test_all_files_are_replaced_or_none(folder, monkeypatch):
    masks_to_coco(folder)
    write = coco_module._Entries.to_json

    def fail_at_validation(entries, style):
        if len(entries.images) == 1:
            raise OSError(28, "No space left on device")
        return write(entries, style)

    monkeypatch.setattr(coco_module._Entries, "to_json", fail_at_validation)
    before = tree(folder)
    with pytest.raises(OSError, match="No space left"):
        masks_to_coco(folder, COMPONENTS, overwrite=True)
    assert tree(folder) == before


def test_what_a_killed_run_has_put_in_place_is_completed(folder):
    masks_to_coco(folder)
    whole = tree(folder)
    gone = folder / "annotations/instances_validation.json"
    gone.unlink()
    masks_to_coco(folder)
    assert tree(folder) == whole
    gone.unlink()
    (folder / "annotations/instances_training.json").write_text("mine")
    with pytest.raises(DataError, match=r"instances_training\.json: exists, expected nothing there"):
        masks_to_coco(folder)
    assert not gone.exists()


@pytest.mark.parametrize("part", ["images", "annotations"])
def test_pipes_are_no_pictures(folder, part):
    path = next((folder / part / "validation").iterdir())
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}: a pipe or a device"):
        masks_to_coco(folder)


@pytest.mark.parametrize("length", [0, 1, 4, 20, 30, 60])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp"])
def test_an_image_whose_header_breaks_off_is_named(folder, suffix, length):
    path = folder / "images/validation/ISIC_0000001.jpg"
    data = cv2.imencode(suffix, np.zeros((20, 30, 3), np.uint8))[1].tobytes()[:length]
    path.unlink()
    path.with_suffix(suffix).write_bytes(data)
    with pytest.raises(DataError, match=re.escape(str(path.with_suffix(suffix)))):
        masks_to_coco(folder)


# COCO from elsewhere


IMAGE = dict(id=7, file_name="a/x.jpeg", height=4, width=6)


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
    square = dict(id=1.0, image_id=7.0, category_id=3.0, segmentation=dict(size=[4, 6], counts=SQUARE_RUNS))
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


def test_a_described_instance_survives_json():
    instance = np.asfortranarray(drawn_masks()["hole"])
    for polygons in (False, True):
        description = describe_instance(instance, polygons)
        assert json.loads(json.dumps(description)) == description
