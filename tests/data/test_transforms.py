import os
import pickle
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import draw_pair
from mmdet.structures.mask import BitmapMasks
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS, init_default_scope
from PIL import Image

from lesionseg.data.datasets.preflight import check_masks
from lesionseg.data.datasets.sampling import SeededIndex, SeededInfiniteSampler, SeedSample
from lesionseg.data.datasets.transforms import LesionAlbu, LoadLesionImage, LoadLesionMask, RandomScaleCrop
from lesionseg.engine.recipes import albumentations
from lesionseg.errors import DataError

HEIGHT, WIDTH = 400, 616


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pair(tmp_path):
    image, mask = draw_pair(0, HEIGHT, WIDTH)
    image = cv2.GaussianBlur(image, None, 2)
    cv2.imwrite(str(tmp_path / "a.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 98])
    cv2.imwrite(str(tmp_path / "a.png"), mask)
    return {"img_path": str(tmp_path / "a.jpg"), "seg_map_path": str(tmp_path / "a.png")}


def test_full_decode_gives_the_pixels_of_opencv(pair):
    results = LoadLesionImage()(dict(pair))
    assert np.array_equal(results["img"], cv2.imread(pair["img_path"]))
    assert results["img_shape"] == results["ori_shape"] == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("min_short_edge", "reduction"), [(None, 1), (401, 1), (201, 1), (200, 2), (101, 2), (100, 4), (50, 8), (1, 8)]
)
def test_decodes_at_the_smallest_scale_that_is_large_enough(pair, min_short_edge, reduction):
    results = LoadLesionImage(min_short_edge)(dict(pair))
    assert results["decode_reduction"] == reduction
    assert results["img"].shape == (HEIGHT // reduction, WIDTH // reduction, 3)
    assert results["ori_shape"] == (HEIGHT, WIDTH)


def test_the_reduced_picture_is_the_area_average_of_the_full_one(pair):
    full = cv2.imread(pair["img_path"])
    reduced = LoadLesionImage(200)(dict(pair))["img"]
    area = cv2.resize(full, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(int) - area).max() <= 3


def test_mask_is_class_indices_by_the_official_rule(tmp_path):
    gray = np.array([[0, 1, 128], [129, 254, 255]], np.uint8)
    cv2.imwrite(str(tmp_path / "m.png"), gray)
    results = LoadLesionMask()({"seg_map_path": str(tmp_path / "m.png")})
    assert results["gt_seg_map"].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert results["gt_seg_map"].dtype == np.uint8
    assert results["seg_fields"] == ["gt_seg_map"]


def test_mask_follows_a_reduced_image_without_a_shift(pair):
    results = Compose([LoadLesionImage(100), LoadLesionMask()])(dict(pair))
    full = LoadLesionMask()(dict(pair))["gt_seg_map"]
    assert results["gt_seg_map"].shape == results["img"].shape[:2]
    centers = [np.argwhere(mask).mean(0) + 0.5 for mask in (full, results["gt_seg_map"])]
    # The middle of four pixels lies between two of them: half a pixel; plain nearest would be off by 1.5.
    assert np.abs(centers[0] - 4 * centers[1]).max() < 0.75


def test_mask_of_another_size_names_both_files(pair, tmp_path):
    cv2.imwrite(pair["seg_map_path"], np.zeros((HEIGHT, WIDTH + 1), np.uint8))
    with pytest.raises(DataError, match=r"a.png: 617x400 pixels, expected the 616x400 of .*a.jpg"):
        Compose([LoadLesionImage(), LoadLesionMask()])(dict(pair))


def from_cache_and_file(pair, min_short_edge):
    return [
        Compose([LoadLesionImage(min_short_edge), LoadLesionMask(cached=cached)])(dict(pair))["gt_seg_map"]
        for cached in (True, False)
    ]


@pytest.mark.parametrize("min_short_edge", [None, 200, 100, 50])
def test_a_mask_from_the_cache_of_the_check_is_that_of_its_file(pair, min_short_edge, monkeypatch):
    check_masks([(pair["img_path"], pair["seg_map_path"])], "training")
    cached, read = from_cache_and_file(pair, min_short_edge)
    assert np.array_equal(cached, read)
    assert cached.dtype == read.dtype == np.uint8
    cached[:] = 0  # Later transforms may write into it.
    monkeypatch.setattr("lesionseg.data.datasets.transforms.read_finding", None)
    from_cache = Compose([LoadLesionImage(min_short_edge), LoadLesionMask(cached=True)])(dict(pair))["gt_seg_map"]
    assert np.array_equal(from_cache, read)


@pytest.mark.parametrize("fault", ["never checked", "mask changed", "cache deleted", "no folder to write to"])
def test_without_a_valid_cache_the_mask_is_read_from_its_file(pair, cache_home, fault, monkeypatch):
    if fault == "no folder to write to":
        cache_home.write_text("")
    if fault != "never checked":
        check_masks([(pair["img_path"], pair["seg_map_path"])], "training")
        assert (
            LoadLesionMask(cached=True)(dict(pair))["gt_seg_map"] == LoadLesionMask()(dict(pair))["gt_seg_map"]
        ).all()
    if fault == "mask changed":
        cv2.imwrite(pair["seg_map_path"], 255 - cv2.imread(pair["seg_map_path"], cv2.IMREAD_GRAYSCALE))
    if fault == "cache deleted":
        for file in cache_home.rglob("*.json"):
            os.remove(file)
    expected = cv2.imread(pair["seg_map_path"], cv2.IMREAD_GRAYSCALE) > 128
    assert np.array_equal(LoadLesionMask(cached=True)(dict(pair))["gt_seg_map"], expected)


def test_a_cached_mask_of_another_size_names_both_files(pair):
    check_masks([(pair["img_path"], pair["seg_map_path"])], "training")
    cv2.imwrite(pair["img_path"], np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8))
    with pytest.raises(DataError, match=r"a.png: 616x400 pixels, expected the 617x400 of .*a.jpg"):
        Compose([LoadLesionImage(), LoadLesionMask(cached=True)])(dict(pair))


SCALES, LONGEST, WINDOW = [180, 200, 260, 410], 500, (170, 190)


@pytest.mark.parametrize("seed", range(8))
def test_scaling_and_cropping_in_one_is_upstream_in_two(pair, seed):
    upstream = [
        dict(type="RandomChoiceResize", scales=SCALES, resize_type="ResizeShortestEdge", max_size=LONGEST),
        dict(type="RandomCrop", crop_size=WINDOW),
    ]
    own = [dict(type="RandomScaleCrop", scales=SCALES, max_size=LONGEST, crop_size=WINDOW)]
    init_default_scope("mmseg")
    results = []
    for steps in (upstream, own):
        pipeline = Compose([SeedSample(), LoadLesionImage(), LoadLesionMask(), *steps])
        results.append(pipeline(dict(pair, sample_idx=SeededIndex(0, seed))))
        assert results[-1]["img"].shape[:2] == results[-1]["gt_seg_map"].shape == results[-1]["img_shape"] == WINDOW
    expected, result = results
    assert np.abs(result["img"].astype(int) - expected["img"]).mean() < 3
    assert (result["gt_seg_map"] != expected["gt_seg_map"]).mean() < 0.015


def test_a_picture_at_its_scale_is_cut_and_not_resized(pair):
    results = Compose([LoadLesionImage(), LoadLesionMask(), RandomScaleCrop([HEIGHT], 2048, (300, 400))])(dict(pair))
    found = cv2.matchTemplate(cv2.imread(pair["img_path"]), results["img"], cv2.TM_SQDIFF)
    y, x = np.unravel_index(found.argmin(), found.shape)
    assert np.array_equal(results["img"], cv2.imread(pair["img_path"])[y : y + 300, x : x + 400])
    assert np.array_equal(results["gt_seg_map"], LoadLesionMask()(dict(pair))["gt_seg_map"][y : y + 300, x : x + 400])


def test_no_edge_becomes_longer_than_allowed_and_small_pictures_stay_whole(pair):
    results = Compose([LoadLesionImage(), LoadLesionMask(), RandomScaleCrop([300], 308, (250, 400))])(dict(pair))
    assert results["img_shape"] == (200, 308)
    whole = cv2.resize(cv2.imread(pair["img_path"]), (308, 200))
    assert np.array_equal(results["img"], whole)


def test_the_window_is_drawn_from_everywhere(pair):
    ramp = np.broadcast_to(np.linspace(0, 255, WIDTH).astype(np.uint8)[:, None], (HEIGHT, WIDTH, 3))
    np.random.seed(0)
    windows = [RandomScaleCrop([200], 2048, (100, 100))(dict(img=ramp))["img"] for _ in range(200)]
    assert min(window.min() for window in windows) <= 3
    assert max(window.max() for window in windows) >= 252


def test_exif_orientation_turns_the_sizes_too(pair, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(pair["img_path"]).save(tmp_path / "turned.jpg", exif=exif)
    for min_short_edge, reduction in ((None, 1), (200, 2)):
        results = LoadLesionImage(min_short_edge)({"img_path": str(tmp_path / "turned.jpg")})
        assert results["ori_shape"] == (WIDTH, HEIGHT)
        assert results["img"].shape[:2] == (WIDTH // reduction, HEIGHT // reduction)


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_a_file_that_is_no_picture_is_named(tmp_path, data):
    (tmp_path / "x.jpg").write_bytes(data)
    with pytest.raises(DataError, match=r"x.jpg: not a readable picture"):
        LoadLesionImage()({"img_path": str(tmp_path / "x.jpg")})


def test_a_cut_off_image_is_named(pair, tmp_path):
    data = Path(pair["img_path"]).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"cut.jpg: the file breaks off"):
        LoadLesionImage()({"img_path": str(tmp_path / "cut.jpg")})


def albu():
    return LesionAlbu(
        transforms=[
            dict(type="Affine", rotate=(-45, 45), p=1.0),
            dict(type="HueSaturationValue", p=1.0),
        ]
    )


def test_albumentations_follow_the_seed_of_the_sample(pair):
    def augmented(seed, transform):
        pipeline = Compose([SeedSample(), LoadLesionImage(), LoadLesionMask(), transform])
        return pipeline(dict(pair, sample_idx=SeededIndex(0, seed)))

    first, again, other = augmented(1, albu()), augmented(1, albu()), augmented(2, albu())
    assert np.array_equal(first["img"], again["img"])
    assert np.array_equal(first["gt_seg_map"], again["gt_seg_map"])
    assert not np.array_equal(first["img"], other["img"])
    assert set(np.unique(first["gt_seg_map"])) == {0, 1}


def test_albumentations_draw_each_step_for_itself():
    """Albumentations' own seeding gives every step the same draws."""
    flips = LesionAlbu(transforms=[dict(type="HorizontalFlip", p=0.5), dict(type="VerticalFlip", p=0.5)])
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.random.seed(0)
    assert len({flips(dict(img=picture))["img"].tobytes() for _ in range(40)}) == 4


COLOURS = ((40, 40, 220), (220, 40, 40))  # BGR of the instances, red and blue; skin is green


def drawn_instances(*boxes):
    """A sample with an ellipse for each (x, y, half width, half height), of the colour that its label says."""
    image = np.full((90, 120, 3), (60, 200, 60), np.uint8)
    masks = np.zeros((len(boxes), 90, 120), np.uint8)
    for label, (x, y, *axes) in enumerate(boxes):
        cv2.ellipse(masks[label], (x, y), axes, 0, 0, 360, 1, -1)
        image[masks[label] > 0] = COLOURS[label]
    instances = BitmapMasks(masks, 90, 120)
    return dict(
        img=image,
        gt_seg_map=masks.any(0).astype(np.uint8),
        gt_masks=instances,
        gt_bboxes=instances.get_bboxes("hbox"),
        gt_bboxes_labels=np.arange(len(boxes)),
        gt_ignore_flags=np.zeros(len(boxes), bool),
    )


def test_masks_and_boxes_stay_on_what_albumentations_move():
    _, transform, _ = albumentations([{}, {}, {}])["train_pipeline"]
    transform = TRANSFORMS.build(transform)
    shapes = set()
    for seed in range(40):
        np.random.seed(seed)
        results = transform(drawn_instances((50, 40, 30, 18), (100, 75, 9, 6)))
        shapes.add(results["img_shape"])
        assert results["img"].shape[:2] == results["gt_seg_map"].shape == results["img_shape"]
        image = results["img"].astype(int)
        # What is black lies beyond the picture, or in a hole: under that, the lesion goes on.
        lit = image.max(2) > 40
        skin = image[..., 1] == image.max(2)
        assert (lit & (skin == (results["gt_seg_map"] == 1))).mean() < 0.02, seed
        masks, labels = results["gt_masks"].masks, results["gt_bboxes_labels"]
        assert np.array_equal(masks.any(0), results["gt_seg_map"])
        assert len(labels) == len(masks) == len(results["gt_bboxes"]) == len(results["gt_ignore_flags"])
        for mask, label, box in zip(masks, labels, results["gt_bboxes"].numpy(), strict=True):
            # More of it than in the mixtures along its edge.
            colour = image[..., 2 - 2 * label] - image[..., 1] > 80
            assert (colour & (mask == 0)).sum() <= 0.05 * mask.sum(), seed
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert shapes == {(90, 120), (120, 90)}


def test_instances_that_leave_the_picture_are_dropped_and_none_may_be_there():
    right = LesionAlbu(transforms=[dict(type="Affine", translate_px=dict(x=(60, 60), y=(0, 0)), p=1.0)])
    results = right(drawn_instances((100, 40, 8, 8), (30, 60, 20, 10)))
    assert results["gt_bboxes_labels"].tolist() == [1]
    assert results["gt_bboxes"].numpy().tolist() == [[70, 50, 111, 71]]
    turned = LesionAlbu(transforms=[dict(type="Transpose", p=1.0)])(drawn_instances())
    assert turned["gt_masks"].masks.shape == (0, 120, 90)
    assert turned["gt_bboxes"].numpy().shape == (0, 4)


def test_sampler_seeds_every_draw_and_skips_to_the_same_draws():
    def sampler():
        return SeededInfiniteSampler(range(5), seed=3)

    through = list(islice(sampler(), 20))
    resumed = sampler()
    resumed.skip(12)
    rest = list(islice(resumed, 8))
    assert [(i, i.seed) for i in rest] == [(i, i.seed) for i in through[12:]]
    assert len({i.seed for i in through}) == 20
    assert sorted(through[:5]) == [0, 1, 2, 3, 4]


def test_seeded_index_reaches_loader_processes():
    index = pickle.loads(pickle.dumps(SeededIndex(4, 77)))
    assert (index, index.seed) == (4, 77)


def test_samples_without_a_seed_leave_the_random_state_alone():
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    SeedSample()({"sample_idx": 3})
    assert np.random.rand() == expected
