import re

import cv2
import numpy as np
import pytest
from helpers import draw_pair

from lesionseg.errors import DataError
from lesionseg.inference import PostProcessing, Segmenter
from lesionseg.inference.finder import Prediction
from lesionseg.pages.demo import Seen, agreement, look, masks, model_name, view

SIZE = (60, 80)


def square(left, right):
    mask = np.zeros(SIZE, bool)
    mask[10:20, left:right] = True
    return Prediction(mask, mask.astype(np.float32))


def seen(*found, truth=None):
    return Seen("/uploads/1/a <b>.png", np.full((*SIZE, 3), 200, np.uint8), found, truth)


def text(html):
    return re.sub("<[^>]+>", " ", html)


def test_a_photograph_is_looked_at_once(tmp_path, model):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), draw_pair(0)[0])
    segmenter = Segmenter(model)
    calls = []
    find = segmenter.finder.find
    segmenter.finder.find = lambda images, keep_scores=False: calls.append(images) or find(images)
    first = look([segmenter], str(path))
    assert np.array_equal(masks(first, "lesion", PostProcessing())[0], draw_pair(0)[1] > 0)
    truth = tmp_path / "truth.png"
    cv2.imwrite(str(truth), draw_pair(0)[1])
    second = look([segmenter], str(path), str(truth), first)
    assert np.array_equal(second.truth, draw_pair(0)[1] > 0)
    assert len(calls) == 1
    assert look([segmenter], str(path), None, second).truth is None
    cv2.imwrite(str(truth), np.eye(5, 7) * 255)
    with pytest.raises(DataError, match=r"truth\.png: 7x5 pixels, expected the 96x72 of the photograph"):
        look([segmenter], str(path), str(truth), first)
    assert len(calls) == 1


def test_two_models_agree_by_their_dice():
    one, other = square(0, 20), square(10, 40)
    both = seen({"acne": one}, {"acne": other})
    assert text(agreement(both, masks(both, "acne", PostProcessing()))).split() == (
        f"Dice between A and B {2 * 10 / 50:.3f} , Jaccard {10 / 40:.3f}".split()
    )
    alone = seen({"acne": one})
    assert agreement(alone, masks(alone, "acne", PostProcessing())) == ""


def test_a_model_that_does_not_look_for_a_finding_says_so():
    both = seen({"acne": square(0, 20)}, {"mela": square(10, 40)})
    assert both.findings == ["acne", "mela"]
    found = masks(both, "mela", PostProcessing())
    assert found[0] is None
    assert agreement(both, found) == ""
    assert "does not look for mela" in view(both, 0, "one", "mela", found[0])


def test_figures_of_a_mask():
    truth = square(0, 10).mask
    shown = view(seen({"lesion": square(0, 20)}, truth=truth), 0, "best <1>", "lesion", square(0, 20).mask)
    assert "best &lt;1&gt;" in shown
    assert f"{200 / 4800:.2%} of the photograph, 200 pixels" in text(shown)
    assert f"Dice {2 * 100 / 300:.3f}, Jaccard {100 / 200:.3f}" in text(shown)
    assert shown.count('<path class="truth"') == shown.count('<path class="prediction"') == 1


def test_holes_are_outlined_and_the_soft_mask_is_as_opaque_as_sure():
    import base64

    mask = square(0, 20).mask
    mask[14:16, 5:8] = False
    probability = np.zeros(SIZE, np.float32)
    probability[:30] = 0.4
    shown = view(seen({"lesion": Prediction(mask, probability)}), 0, "one", "lesion", mask)
    assert re.search('class="prediction" d="([^"]+)"', shown)[1].count("M") == 2
    data = base64.b64decode(re.search('src="data:image/png;base64,([^"]+)"', shown)[1])
    layer = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert layer.shape == (*SIZE, 4)
    assert set(layer[:30, :, 3].flat) == {round(0.4 * 255)}
    assert not layer[30:, :, 3].any()


def test_models_are_called_by_their_files(tmp_path):
    assert model_name("work_dirs/export/model.onnx") == "export"
    assert model_name(tmp_path) == tmp_path.name
    assert model_name("configs/best.py") == "best"
