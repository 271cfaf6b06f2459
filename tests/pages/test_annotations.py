import cv2
import numpy as np
import pytest
from helpers import draw_pair

from lesionseg.errors import DataError
from lesionseg.inference import Segmenter
from lesionseg.inference.finder import Prediction
from lesionseg.inference.inputs import find_inputs
from lesionseg.pages import LESION
from lesionseg.pages.annotation_page import pack, unpack
from lesionseg.pages.annotations import Annotations, Drawn, to_original
from lesionseg.pages.photographs import working_size
from lesionseg.pixels.masks import encode_mask, lesion_pixels, read_mask

LARGE = (1200, 1500)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "photos"
    (folder / "clinic").mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), draw_pair(0)[0])
    cv2.imwrite(str(folder / "clinic" / "b.jpg"), draw_pair(1, *LARGE)[0])
    return folder


@pytest.fixture
def masks(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    return folder


def annotations(images, masks, **more):
    return Annotations(find_inputs([str(images)]).images, masks, **more)


def disc(size, centre, radius):
    mask = np.zeros(size, np.uint8)
    cv2.circle(mask, centre, radius, 1, -1)
    return mask > 0


def test_the_working_copy_has_at_most_1024_pixels_an_edge():
    assert working_size(1536, 2048) == (1024, 768)
    assert working_size(72, 96) == (96, 72)
    assert working_size(3, 10**5) == (1024, 1)


@pytest.mark.parametrize("size", [(72, 96), (1, 7), (13, 11)])
def test_bits_and_back(size):
    mask = np.random.default_rng(0).random(size) > 0.5
    assert np.array_equal(unpack(pack(mask), size), mask)


def test_bits_of_another_size_are_refused():
    with pytest.raises(ValueError, match="a mask of 4 bytes for 96x72 pixels"):
        unpack(pack(np.ones((5, 6), bool)), (72, 96))


def test_a_mask_goes_back_to_the_size_of_its_image(images, masks):
    work = annotations(images, masks)
    drawn = disc(working_size(*LARGE)[::-1], (400, 300), 200)
    stamps = work.save(1, {LESION: Drawn(drawn, "", replace=False)})
    mask = lesion_pixels(read_mask(masks / "clinic" / "b.png"))
    assert mask.shape == LARGE
    true = disc(LARGE, (586, 440), 293)
    assert (mask & true).sum() / (mask | true).sum() > 0.99
    opened = work.open(1)
    assert opened.stamps == stamps
    assert opened.size == LARGE
    assert opened.picture.shape == (819, 1024, 3)
    assert (opened.masks[LESION] & drawn).sum() / (opened.masks[LESION] | drawn).sum() > 0.99


def test_what_is_not_drawn_over_keeps_its_pixels():
    before = np.random.default_rng(0).random(LARGE) > 0.5
    before[:, :450] = False
    small = cv2.resize(before.astype(np.uint8), working_size(*LARGE), interpolation=cv2.INTER_NEAREST_EXACT) > 0
    assert np.array_equal(to_original(small, LARGE, before), before)
    drawn = small.copy()
    drawn[:, :300] = True
    after = to_original(drawn, LARGE, before)
    assert after[:, :430].all()
    assert np.array_equal(after[:, 445:], before[:, 445:])


def test_saving_needs_a_word_and_the_mask_that_was_shown(images, masks):
    work = annotations(images, masks)
    mask = disc((72, 96), (40, 30), 20)
    (masks / "a_segmentation.png").write_bytes(encode_mask(~mask))
    work = annotations(images, masks)
    stamp = work.open(0).stamps[LESION]
    before = (masks / "a_segmentation.png").read_bytes()
    with pytest.raises(DataError, match="a mask is there already, expected none"):
        work.save(0, {LESION: Drawn(mask, stamp, replace=False)})
    for other in ("", "0" * 64):
        with pytest.raises(DataError, match="was written by someone else since it was shown"):
            work.save(0, {LESION: Drawn(mask, other, replace=True)})
    assert (masks / "a_segmentation.png").read_bytes() == before
    work.save(0, {LESION: Drawn(mask, stamp, replace=True)})
    assert np.array_equal(lesion_pixels(read_mask(masks / "a_segmentation.png")), mask)
    assert [path.name for path in masks.iterdir()] == ["a_segmentation.png"]


def test_of_several_findings_none_is_written_where_one_may_not_be(images, masks):
    work = annotations(images, masks, findings=["acne", "mela"])
    mask = disc((72, 96), (40, 30), 20)
    work.save(0, {"mela": Drawn(mask, "", replace=False)})
    assert [work.is_done(0, name) for name in ("acne", "mela")] == [False, True]
    with pytest.raises(DataError, match="mela"):
        work.save(0, {name: Drawn(mask, "", replace=True) for name in ("acne", "mela")})
    assert not (masks / "acne").exists()


def test_an_empty_mask_says_that_there_is_nothing(images, masks):
    work = annotations(images, masks, findings=["acne"])
    work.save(0, {"acne": Drawn(np.zeros((72, 96), bool), "", replace=False)})
    assert work.is_done(0, "acne")
    assert not read_mask(masks / "acne" / "a.png").any()


def test_all_faults_are_told_at_once(images, masks):
    (images / "c.png").write_bytes(b"no picture")
    (masks / "a.png").write_bytes(encode_mask(np.eye(5, 7) > 0))
    (masks / "clinic").mkdir()
    cv2.imwrite(str(masks / "clinic" / "b.png"), np.full(LARGE, 1, np.uint8))
    with pytest.raises(DataError) as error:
        annotations(images, masks).check()
    assert len(error.value.args) == 3
    told = str(error.value)
    assert f"{masks / 'a.png'}: 7x5 pixels, expected the 96x72 of its image. Put the matching mask there" in told
    assert f"{masks / 'clinic' / 'b.png'}: a mask of the value" in told
    assert f"{images / 'c.png'}: not a readable picture" in told


def test_two_masks_of_one_image_are_told(images, masks):
    for name in ("a.png", "a_segmentation.png"):
        (masks / name).write_bytes(encode_mask(draw_pair(0)[1] > 0))
    with pytest.raises(DataError, match=r"1 images have two masks \(a\), expected one"):
        annotations(images, masks)


class FindsAcne:
    """Tells two findings apart: the upper and the lower half."""

    task = "semantic"

    def find(self, images, keep_scores=False):
        found = []
        for image in images:
            upper = np.zeros(image.pixels.shape[:2], bool)
            upper[: len(upper) // 2] = True
            parts = {
                name: Prediction(part, part.astype(np.float32)) for name, part in (("acne", upper), ("mela", ~upper))
            }
            found.append(Prediction(upper | ~upper, np.ones(upper.shape, np.float32), findings=parts))
        return found


def test_a_model_that_tells_findings_apart_fills_their_layers(images, masks):
    model = Segmenter(FindsAcne())
    found = annotations(images, masks, findings=["mela", "hemo", "acne"], segmenter=model).predict(1, "hemo")
    assert list(found) == ["acne", "mela"]
    assert found["acne"].shape == (819, 1024)
    assert found["acne"][:409].all()
    assert not found["acne"][410:].any()
    whole = annotations(images, masks, segmenter=model).predict(0, LESION)
    assert whole[LESION].all()
    with pytest.raises(DataError, match="finds acne, mela, expected hemo"):
        annotations(images, masks, findings=["hemo"], segmenter=model).predict(0, "hemo")


def test_a_model_of_one_finding_fills_the_layer_that_is_drawn(images, masks, model):
    work = annotations(images, masks, findings=["acne", "mela"], segmenter=Segmenter(model))
    found = work.predict(0, "mela")
    assert list(found) == ["mela"]
    assert np.array_equal(found["mela"], draw_pair(0)[1] > 0)


def test_without_a_model_nothing_is_predicted(images, masks):
    with pytest.raises(DataError, match="--model MODEL"):
        annotations(images, masks).predict(0, LESION)
