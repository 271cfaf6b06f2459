"""Numbers that say how good a mask is, and the Jaccard that they let expect."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from drawn_models import CARD, instance_model, semantic_model
from helpers import draw_pair

from lesionseg.errors import DataError
from lesionseg.inference import Segmenter
from lesionseg.inference.quality import (
    QualityMap,
    expected_of_others,
    is_quality,
    mean_pairwise_dice,
    quality_file,
    read_quality,
    soft_dice,
    write_quality,
)

FLAT = {"curves": {"soft_dice": [[0.0, 1.0], [0.2, 0.2]]}, "fitted_on": []}


def test_a_mask_is_compared_with_its_soft_mask():
    probability = np.float32([[1.0, 0.75, 0.45, 0.3]])
    mask = np.array([[True, True, False, False]])
    # 2 (1 + 0.75) / (1 + 0.75 + 0.45 + 2): what is below 0.4 is the ground level of the skin.
    assert soft_dice(probability, mask) == pytest.approx(3.5 / 4.2)
    assert soft_dice(mask.astype(np.float32), mask) == 1
    assert soft_dice(probability, np.zeros_like(mask)) == 0


def test_masks_agree_by_their_mean_dice():
    one, two, none = np.array([[[1, 1, 0]], [[0, 1, 1]], [[0, 0, 0]]], bool)
    assert mean_pairwise_dice([one, two]) == 1 / 2
    assert mean_pairwise_dice([one, two, none]) == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert mean_pairwise_dice([none, none]) == 1


def test_an_expected_jaccard_never_falls_where_a_number_rises():
    values = np.array([0.1, 0.2, 0.3, 0.4, 0.4])
    # The first two are pooled to 0.15, and images of one value to their mean.
    fitted = QualityMap.fit({"flips": values}, np.array([0.2, 0.1, 0.5, 0.7, 0.9]), [])
    assert [fitted.expected({"flips": value}) for value in (0, 0.15, 0.25, 0.3, 0.4, 1)] == pytest.approx(
        [0.15, 0.15, (0.15 + 0.5) / 2, 0.5, 0.8, 0.8]
    )
    assert fitted.expected({}) is None


def test_several_numbers_are_averaged():
    both = QualityMap({"soft_dice": ((0, 1), (0, 1)), "flips": ((0, 1), (0.5, 0.5))})
    assert both.expected({"soft_dice": 0.9, "flips": 0.1}) == pytest.approx(0.7)
    assert both.expected({"soft_dice": 0.9}) == pytest.approx(0.9)


def test_what_is_expected_of_an_image_does_not_know_it():
    # The only image that is bad for all its confidence would be expected to be so by a map that has seen it.
    jaccard = np.full(20, 0.8)
    jaccard[-1] = 0
    numbers = {"flips": np.linspace(0.05, 1, 20)}
    assert expected_of_others(numbers, jaccard)[-1] == pytest.approx(0.8)


def test_maps_lie_beside_their_checkpoint(tmp_path, capsys):
    checkpoint = tmp_path / "best.pth"
    checkpoint.write_bytes(b"weights")
    image = tmp_path / "a.png"
    image.write_bytes(b"pixels")
    fitted = QualityMap.fit({"soft_dice": np.array([0.2, 0.9])}, np.array([0.3, 0.8]), [image])
    path = write_quality(checkpoint, tta=False, fitted=fitted)
    assert path == quality_file(checkpoint) == tmp_path / "best.quality.json"
    write_quality(checkpoint, tta=True, fitted=fitted)
    sha256 = json.loads(path.read_text())["checkpoint_sha256"]
    maps = read_quality(checkpoint, sha256)
    assert maps["alone"] == maps["tta"] == json.loads(json.dumps(asdict(fitted)))
    assert len(maps["tta"]["fitted_on"][0]) == 12

    assert read_quality(checkpoint, "another") == {}
    assert "left out, as it was fitted for other weights" in capsys.readouterr().err
    # What was fitted for other weights is replaced.
    other = path.with_suffix("").with_suffix(".pth")
    other.write_bytes(b"other weights")
    write_quality(other, tta=True, fitted=fitted)
    assert list(json.loads(path.read_text())["maps"]) == ["tta"]
    assert capsys.readouterr().err == ""
    path.write_text('{"maps": 1}')
    with pytest.raises(DataError, match=r"best\.quality\.json: damaged .*Remove it, and fit it again"):
        read_quality(checkpoint, sha256)


@pytest.mark.parametrize(
    "curve",
    [[[0.5], []], [[], []], [[1, 0], [0, 1]], [[0, 2], [0, 1]], [[0, 1], [0, float("nan")]], [0, 1], [["a"], ["b"]]],
    ids=str,
)
def test_damaged_maps_are_known(curve):
    assert is_quality({"alone": FLAT, "tta": FLAT})
    assert not is_quality({"alone": {"curves": {"flips": curve}, "fitted_on": []}})
    assert not is_quality({"other": FLAT})


def test_an_exported_model_tells_what_to_expect(tmp_path):
    image = draw_pair(0)[0]
    model = semantic_model(tmp_path / "m.onnx", replace(CARD, quality={"alone": FLAT}), aside=8)
    found = Segmenter(model).predict(image)
    assert found.expected_jaccard == pytest.approx(0.2)
    assert found.numbers == {"soft_dice": pytest.approx(soft_dice(found.probability, found.mask))}
    # Nothing was fitted for flips; where the model looks aside, they disagree.
    found = Segmenter(model, tta=True).predict(image)
    assert found.expected_jaccard is None
    assert 0.3 < found.numbers["flips"] < 0.9
    upright = Segmenter(semantic_model(tmp_path / "upright.onnx"), tta=True).predict(image)
    assert upright.numbers["flips"] == pytest.approx(1, abs=0.01)


def test_instances_tell_by_their_best_score(tmp_path):
    model = instance_model(tmp_path / "m.onnx", [((8, 8, 40, 40), 0.9, 0), ((50, 8, 80, 40), 0.6, 0)])
    image = draw_pair(0)[0]
    assert Segmenter(model).predict(image).numbers == {"score": pytest.approx(0.9)}
    assert Segmenter(model, min_score=0.95).predict(image).numbers == {"score": 0}
