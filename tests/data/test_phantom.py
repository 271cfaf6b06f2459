import cv2
import numpy as np
import pytest

from lesionseg.data.phantoms.close_up import draw_close_up
from lesionseg.data.phantoms.phantom import LARGEST_SHARE, SMALLEST_SHARE, draw_phantom, draw_release
from lesionseg.errors import DataError


@pytest.fixture(scope="module")
def phantoms():
    return [draw_phantom(seed, 72, 96) for seed in range(200)]


def test_same_seed_same_bytes_and_another_seed_another_image():
    image, mask = draw_phantom(7, 72, 96)
    image_again, mask_again = draw_phantom(7, 72, 96)
    image_of_8, mask_of_8 = draw_phantom(8, 72, 96)
    assert np.array_equal(image, image_again)
    assert np.array_equal(mask, mask_again)
    assert not np.array_equal(image, image_of_8)
    assert not np.array_equal(mask, mask_of_8)


@pytest.mark.parametrize(("height", "width"), [(32, 33), (72, 96), (131, 65)])
def test_shapes_and_types(height, width):
    image, mask = draw_phantom(3, height, width)
    assert (image.shape, image.dtype) == ((height, width, 3), np.uint8)
    assert (mask.shape, mask.dtype) == ((height, width), np.uint8)


@pytest.mark.parametrize(("height", "width", "fault"), [(31, 64, "small"), (32, 100_000, "large")])
def test_too_small_and_too_large(height, width, fault):
    with pytest.raises(DataError, match=rf"{height} x {width} pixels: too {fault}, expected 32 to 4096 each way"):
        draw_phantom(0, height, width)


@pytest.mark.parametrize(("height", "width"), [(32, 33), (72, 96), (192, 128)])
def test_close_ups_have_small_red_spots(height, width):
    reds = []
    for seed in range(20):
        image, mask = draw_close_up(seed, height, width)
        assert (image.shape, mask.shape) == ((height, width, 3), (height, width))
        assert 0.002 <= np.mean(mask == 255) <= 0.009
        assert np.mean(mask == 0) == 1 - np.mean(mask == 255)
        around = cv2.dilate(mask, np.ones((9, 9), np.uint8)) != mask
        # Blood takes green and leaves red.
        reds.append([image[where].mean(0)[1] / image[where].mean(0)[2] for where in (mask > 0, around)])
    assert np.mean([spot < skin for spot, skin in reds]) > 0.9


def test_spots_cover_the_share_that_was_asked_for():
    shares = [np.mean(draw_close_up(seed, 128, 160, (0.0005, 0.002))[1] > 0) for seed in range(40)]
    assert min(shares) >= 0.0005
    assert max(shares) <= 0.002
    assert min(shares) < 0.0008, "none is small"
    assert max(shares) > 0.0014, "none is large"


@pytest.mark.parametrize(
    "spot_share", [(0, 0.01), (0.00005, 0.002), (0.002, 0.003), (0.009, 0.002), (0.05, 0.2)], ids=str
)
def test_spots_that_cannot_be_drawn_are_refused_and_nothing_is_written(tmp_path, spot_share):
    with pytest.raises(DataError, match=r"of 128 x 160 pixels: expected a least of 9.8e-05 or more.*--spot-share"):
        draw_release(tmp_path / "release", height=128, width=160, spot_share=spot_share)
    assert not list(tmp_path.iterdir())


def test_masks_hold_0_and_255_only(phantoms):
    assert all(set(np.unique(mask)) == {0, 255} for _, mask in phantoms)


def test_lesion_share_is_in_the_promised_range_and_spread_over_it(phantoms):
    shares = [np.mean(mask > 0) for _, mask in phantoms]
    assert min(shares) >= SMALLEST_SHARE
    assert max(shares) <= LARGEST_SHARE
    assert min(shares) < 0.06
    assert max(shares) > 0.5


def test_every_border_can_be_seen(phantoms):
    """The colours on both sides of the border differ by more than the skin's own texture."""
    differences = []
    for image, mask in phantoms:
        inner = (mask > 0) & (cv2.erode(mask, np.ones((7, 7))) == 0)
        outer = (mask == 0) & (cv2.dilate(mask, np.ones((7, 7))) > 0)
        differences.append(np.linalg.norm(image[inner].mean(axis=0) - image[outer].mean(axis=0)))
    assert min(differences) > 12
    assert min(differences) < 35, "none is faint"
    assert max(differences) > 120, "none is strong"


def test_most_lesions_are_darker_than_the_skin(phantoms):
    darker = [image[mask > 0].mean() < image[mask == 0].mean() for image, mask in phantoms]
    assert np.mean(darker) > 0.9


def test_mask_border_is_half_way_between_skin_and_lesion(phantoms):
    """Just outside and just inside of it, on average, the image is as far from the skin as from the lesion."""
    halves = []
    for image, mask in phantoms:
        gray = image.mean(axis=2)
        lesion = mask > 0
        inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
        outside = cv2.distanceTransform(255 - mask, cv2.DIST_L2, 5)
        if inside.max() < 8:
            continue
        deep, far = gray[(inside > 4) & (inside < 7)].mean(), gray[(outside > 4) & (outside < 7)].mean()
        at_border = (gray[lesion & (inside < 1.3)].mean() + gray[~lesion & (outside < 1.3)].mean()) / 2
        if far - deep > 30:
            halves.append((far - at_border) / (far - deep))
    assert len(halves) > 50
    assert np.median(halves) == pytest.approx(0.5, abs=0.06)


def test_some_touch_the_border_some_have_two_parts_some_a_hole(phantoms):
    touching = two_parts = holes = 0
    for _, mask in phantoms:
        edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        touching += edge.any()
        two_parts += cv2.connectedComponents(mask)[0] > 2
        _, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        holes += (hierarchy[0, :, 3] >= 0).any()
    assert 20 <= touching <= 120
    assert 5 <= two_parts <= 60
    assert 1 <= holes <= 30


def test_release_has_the_names_of_isic_2018_and_complete_pairs(tmp_path):
    folder = tmp_path / "release"
    draw_release(folder, training=4, validation=2, test=3, height=48, width=64)
    ids, images = [], []
    for split, count in (("Training", 4), ("Validation", 2), ("Test", 3)):
        inputs = folder / f"ISIC2018_Task1-2_{split}_Input"
        truths = folder / f"ISIC2018_Task1_{split}_GroundTruth"
        own = sorted(path.stem for path in inputs.glob("*.jpg"))
        assert len(own) == count
        assert sorted(path.name for path in truths.glob("*.png")) == [f"{name}_segmentation.png" for name in own]
        for part in (inputs, truths):
            assert "CC0" in (part / "LICENSE.txt").read_text()
            assert "lesionseg" in (part / "ATTRIBUTION.txt").read_text()
        for name in own:
            image = cv2.imread(str(inputs / f"{name}.jpg"))
            mask = cv2.imread(str(truths / f"{name}_segmentation.png"), cv2.IMREAD_UNCHANGED)
            assert image.shape == (48, 64, 3)
            assert mask.shape == (48, 64)
            assert set(np.unique(mask)) == {0, 255}
            images.append(image.tobytes())
        ids += own
    assert ids == [f"ISIC_{number:07d}" for number in range(9)]
    assert len(set(images)) == 9


def test_release_of_the_same_seed_is_the_same_and_of_another_differs(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        draw_release(tmp_path / name, training=2, validation=0, test=0, seed=seed, height=48, width=64)
    image = "ISIC2018_Task1-2_Training_Input/ISIC_0000001.jpg"
    first, same, other = ((tmp_path / name / image).read_bytes() for name in "abc")
    assert first == same
    assert first != other


def test_a_split_of_no_images_is_left_out(tmp_path):
    draw_release(tmp_path / "release", training=1, validation=0, test=0, height=48, width=64)
    assert sorted(path.name for path in (tmp_path / "release").iterdir()) == [
        "ISIC2018_Task1-2_Training_Input",
        "ISIC2018_Task1_Training_GroundTruth",
    ]


def test_release_does_not_touch_a_folder_that_holds_something(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="already there, expected a new or empty folder"):
        draw_release(tmp_path, training=1, height=48, width=64)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_release_of_too_many_is_not_begun(tmp_path):
    with pytest.raises(DataError, match=r"10000000, 1 and 0 images, expected 1 to 10000000 in all"):
        draw_release(tmp_path / "release", training=10**7, validation=1, test=0)


def test_release_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="too small"):
        draw_release(tmp_path / "release", training=2, height=16, width=64)
    assert list(tmp_path.iterdir()) == []
