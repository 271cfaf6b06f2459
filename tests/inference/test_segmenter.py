from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import PIL.Image
import pytest
from drawn_models import CARD, instance_model, semantic_model
from helpers import draw_pair

from lesionseg.errors import DataError
from lesionseg.inference.postprocess import PostProcessing
from lesionseg.inference.runtimes.model_card import MASK_SCORES
from lesionseg.inference.segmenter import Segmenter
from lesionseg.pixels.masks import read_mask

# In pixels of the model's input, which is the image where that has 96x72 pixels.
BOXES = [((10, 10, 40, 50), 0.6, 0), ((30, 20, 70, 30), 0.9, 0), ((0, 0, 96, 72), 0.95, 1), ((80, 60, 90, 70), 0.4, 0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(folder):
    return semantic_model(folder / "export" / "model.onnx")


@pytest.fixture(scope="module")
def lopsided(folder):
    """A model that looks four columns to the left, of the resized image."""
    return semantic_model(folder / "lopsided.onnx", aside=4)


@pytest.fixture(scope="module")
def detector(folder):
    return instance_model(folder / "detector.onnx", BOXES)


def test_the_lesion_is_found(model):
    image, truth = draw_pair(3)
    prediction = Segmenter(model).predict(image)
    assert np.array_equal(prediction.mask, truth > 0)
    assert prediction.probability.dtype == np.float32
    # Of the score (128 - gray) / 20, as the model is drawn.
    expected = 1 / (1 + np.exp(-(128 - image.mean(2)) / 20))
    assert np.abs(prediction.probability - expected).max() < 1e-5
    assert prediction.boxes is None


@pytest.mark.parametrize("size", [(72, 96), (144, 192), (33, 150), (1, 1), (300, 77)])
def test_masks_have_the_size_of_the_image(model, size):
    image = cv2.resize(draw_pair(4)[0], size[::-1])
    prediction = Segmenter(model).predict(image)
    assert prediction.mask.shape == prediction.probability.shape == size


def test_files_and_folders_are_taken_as_well(model, tmp_path):
    image, truth = draw_pair(5)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    assert np.array_equal(Segmenter(str(model.parent)).predict(tmp_path / "a.png").mask, truth > 0)


def test_one_function_does_it_all(model, tmp_path):
    image, truth = draw_pair(6)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    mask = Segmenter(model).predict_mask(tmp_path / "a.png", tmp_path / "new" / "mask.png")
    assert (mask.dtype, mask.shape) == (np.uint8, (72, 96))
    assert np.array_equal(mask, truth)
    assert np.array_equal(read_mask(tmp_path / "new" / "mask.png"), truth)
    segmenter = Segmenter(model, postprocess=PostProcessing(min_area=0.99))
    assert not segmenter.predict_mask(str(tmp_path / "a.png")).any()


def test_pictures_of_pillow_are_taken_upright(model):
    image, truth = draw_pair(6)
    upright = PIL.Image.fromarray(image[..., ::-1])
    assert np.array_equal(Segmenter(model).predict(upright).mask, truth > 0)
    lying = upright.convert("RGBA").transpose(PIL.Image.Transpose.ROTATE_90)
    lying.getexif()[0x0112] = 6  # To be turned clockwise by a quarter.
    assert np.array_equal(Segmenter(model).predict(lying).mask, truth > 0)


def test_a_batch_is_its_images(model):
    images = [draw_pair(number)[0] for number in range(3)] + [draw_pair(3, 50, 90)[0]]
    for tta in (False, True):
        segmenter = Segmenter(model, tta=tta)
        for image, together in zip(images, segmenter.predict_batch(images), strict=True):
            alone = segmenter.predict(image)
            assert np.array_equal(alone.probability, together.probability)
            assert np.array_equal(alone.mask, together.mask)


def test_threads_get_what_one_gets(lopsided):
    segmenter = Segmenter(lopsided, tta=True, postprocess=PostProcessing(fill_holes=True))
    images = [draw_pair(number, 60 + 8 * (number % 4), 120)[0] for number in range(24)]
    expected = [segmenter.predict(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(segmenter.predict, images))
    for one, other in zip(expected, found, strict=True):
        assert np.array_equal(one.probability, other.probability)
        assert np.array_equal(one.mask, other.mask)


def flipped_probabilities(segmenter, image):
    """What the model says of the image and of its three flipped copies, each turned back."""
    for axes in ((), (1,), (0,), (0, 1)):
        soft = segmenter.predict(np.ascontiguousarray(np.flip(image, axes))).probability
        yield np.flip(soft, axes)


def test_flips_are_averaged_for_semantic_models(lopsided):
    image, _ = draw_pair(7)
    plain = Segmenter(lopsided)
    one, *_ = views = list(flipped_probabilities(plain, image))
    assert np.count_nonzero((one > 0.5) != (views[1] > 0.5)) > 100
    average = np.mean(views, 0)
    found = Segmenter(lopsided, tta=True).predict(image)
    # With logits and two classes, shares are probabilities.
    assert np.abs(found.probability - average).max() < 1e-5
    # Where two copies outweigh the two others exactly, rounding decides.
    decided = np.abs(average - 0.5) > 1e-5
    assert decided.mean() > 0.99
    assert np.count_nonzero((found.mask != (average > 0.5))[decided]) == 0
    assert np.count_nonzero((found.mask != (one > 0.5))[decided]) > 0


def test_flips_are_averaged_for_instances(detector):
    image, _ = draw_pair(8)
    one, *_ = views = list(flipped_probabilities(Segmenter(detector), image))
    average = np.mean(views, 0)
    found = Segmenter(detector, tta=True).predict(image)
    assert np.abs(found.probability - average).max() < 1e-6
    # Half of the copies are enough.
    assert np.array_equal(found.mask, average >= 0.5)
    assert 0 < np.count_nonzero(one > 0.5) < np.count_nonzero(found.mask)


def test_instances_make_one_mask(detector):
    image, _ = draw_pair(9)
    first, second = np.zeros((72, 96), bool), np.zeros((72, 96), bool)
    first[10:50, 10:40] = second[20:30, 30:70] = True
    union = Segmenter(detector).predict(image)
    assert np.array_equal(union.mask, first | second)
    assert union.boxes.tolist() == [[30, 20, 70, 30], [10, 10, 40, 50]]
    assert union.scores.tolist() == pytest.approx([0.9, 0.6])
    assert np.array_equal(Segmenter(detector, instances="top1").predict(image).mask, second)
    assert np.array_equal(Segmenter(detector, min_score=0.7).predict(image).mask, second)
    assert Segmenter(detector, min_score=0.3).predict(image).scores.tolist() == pytest.approx([0.9, 0.6, 0.4])


def test_boxes_are_those_of_the_original_image(detector):
    image = cv2.resize(draw_pair(9)[0], (192, 144))
    prediction = Segmenter(detector).predict(image)
    assert prediction.boxes.tolist() == [[60, 40, 140, 60], [20, 20, 80, 100]]
    assert np.argwhere(prediction.mask).min(0).tolist() == [20, 20]


def test_no_instance_is_an_empty_mask(folder):
    prediction = Segmenter(instance_model(folder / "nothing.onnx", [])).predict(draw_pair(0)[0])
    assert not prediction.mask.any()
    assert prediction.boxes.shape == (0, 4)


@pytest.mark.parametrize("rule", [CARD.score_rule, MASK_SCORES])
def test_the_mask_is_where_the_probability_is_above_one_half(folder, rule):
    segmenter = Segmenter(semantic_model(folder / f"{rule}.onnx", replace(CARD, score_rule=rule)))
    run = segmenter.finder.model.run
    # Scores that differ by less than a float32 next to one half.
    segmenter.finder.model.run = lambda batch: [scores * np.float32(1e-8) for scores in run(batch)]
    prediction = segmenter.predict(np.random.default_rng(0).integers(126, 131, (72, 96, 3), np.uint8))
    assert 0.05 < prediction.mask.mean() < 0.95
    assert np.array_equal(prediction.mask, prediction.probability > 0.5)


def test_post_processing_changes_the_mask_only(detector):
    image, _ = draw_pair(10)
    plain = Segmenter(detector, min_score=0.3).predict(image)
    largest = Segmenter(detector, min_score=0.3, postprocess=PostProcessing(largest=True)).predict(image)
    assert np.count_nonzero(plain.mask) - np.count_nonzero(largest.mask) == 100
    assert np.array_equal(plain.probability, largest.probability)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((20, 30), np.uint8),
        np.zeros((20, 30, 4), np.uint8),
        np.zeros((20, 30, 3), np.float32),
        np.zeros((0, 30, 3), np.uint8),
        np.zeros((2, 20, 30, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_images(model, array):
    with pytest.raises(DataError, match=r"^image: an array of shape \(.*\) and type .*, expected \(H, W, 3\) uint8"):
        Segmenter(model).predict(array)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            None,
            r"^image: NoneType, expected a path, an array or a picture of Pillow\. cv2\.imread gives None for what it",
        ),
        (7, r"^image: int, expected a path, an array or a picture of Pillow\."),
        ([[0]], r"^image: list, expected a path, an array or a picture of Pillow\."),
        ("/nowhere.jpg", r"^/nowhere\.jpg: No such file or directory, expected a path that exists\. Check the path\.$"),
        ("/", r"^/: Is a directory, expected a file\. Choose another path"),
    ],
)
def test_what_is_no_image(model, image, message):
    segmenter = Segmenter(model)
    for call in (segmenter.predict, lambda image: segmenter.predict_batch([draw_pair(0)[0], image])):
        with pytest.raises(DataError, match=message):
            call(image)


def test_in_no_images_nothing_is_found(model, detector):
    for each in (model, detector):
        assert Segmenter(each, tta=True).predict_batch([]) == []


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (dict(instances="best"), r"^score_rule is 'best', expected union or top1\. Correct it\.$"),
        (dict(instances=""), r"^score_rule is '', expected union or top1\."),
        (dict(min_score=1.5), r"^min_score is 1\.5, expected a number from 0 to 1\."),
        (dict(min_score=float("nan")), r"^min_score is nan, expected a number"),
        (dict(min_score="0.5"), r"^min_score is '0\.5', expected a number"),
    ],
)
def test_choices_that_cannot_be(detector, choice, message):
    with pytest.raises(DataError, match=message):
        Segmenter(detector, **choice)


def test_views_of_arrays_are_images(model):
    image, _ = draw_pair(11)
    segmenter = Segmenter(model, tta=True)
    mirrored = segmenter.predict(image[:, ::-1]).mask
    assert np.array_equal(mirrored, segmenter.predict(np.ascontiguousarray(image[:, ::-1])).mask)
    assert segmenter.predict(image[10:50:2, ::3]).mask.shape == (20, 32)


def test_models_that_do_not_do(model, folder):
    with pytest.raises(DataError, match=r"needs no checkpoint, but there is a\.pth"):
        Segmenter(model, "a.pth")
    with pytest.raises(DataError, match=r"a config alone has no weights"):
        Segmenter("config.py")
    with pytest.raises(DataError, match=r"no such model, expected an ONNX file"):
        Segmenter(folder / "empty")
    with pytest.raises(DataError, match=r"ncnn: no such engine, expected onnxruntime"):
        Segmenter(model, engine="ncnn")
    with pytest.raises(DataError, match=r"model\.onnx: has no instances to choose from, .* Leave out min_score"):
        Segmenter(model, min_score=0.5)
    for threads in (0, -1, 10**9):
        with pytest.raises(
            DataError, match=rf"^threads: {threads}, expected a whole number from 1 to \d+\. Correct it"
        ):
            Segmenter(model, threads=threads)
