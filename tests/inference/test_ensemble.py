"""Several networks as one: their soft masks are averaged, whatever family they are of."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn_models import CARD, findings_model, instance_model, semantic_model
from helpers import draw_pair, load_tool

from lesionseg.errors import DataError
from lesionseg.files import file_sha256
from lesionseg.inference.ensemble_card import EnsembleCard, Member
from lesionseg.inference.finder import Image
from lesionseg.inference.opening import find_paths, open_finder
from lesionseg.inference.quality import QualityMap, soft_dice, write_quality
from lesionseg.inference.segmenter import Segmenter

BOXES = [((0, 0, 48, 72), 0.8, 0), ((0, 0, 96, 72), 0.5, 0), ((0, 0, 96, 72), 0.9, 1)]
IMAGE = Image(draw_pair(0)[0])


def make(folder, threshold=0.5, weights=(0.25, 0.75)):
    """An ensemble of a semantic model and one that finds the left half, and all, of every image."""
    files = [semantic_model(folder / "a/model.onnx"), instance_model(folder / "b/model.onnx", BOXES)]
    members = [
        Member(f"../{file.parent.name}/model.onnx", None, weight, file_sha256(file))
        for file, weight in zip(files, weights, strict=True)
    ]
    EnsembleCard(tuple(members), threshold).write(folder / "ensemble")
    return folder / "ensemble"


def test_families_join_as_probabilities(tmp_path):
    folder = make(tmp_path)
    semantic = open_finder(tmp_path / "a/model.onnx").find([IMAGE])[0].probability
    # 1 - (1 - 0.8) (1 - 0.5) = 0.9 in the left half but for its edge, 0.5 elsewhere; what is no lesion has no say.
    (found,) = open_finder(folder).find([IMAGE])
    for columns, instances in ((slice(2, 44), 0.9), (slice(52, 94), 0.5)):
        expected = 0.25 * semantic[2:-2, columns] + 0.75 * instances
        assert np.abs(found.probability[2:-2, columns] - expected).max() < 1e-5
        assert np.array_equal(found.mask[2:-2, columns], expected > 0.5)
    assert found.instances is None


def test_the_threshold_lies_at_one_half(tmp_path):
    (low,), (high,) = (open_finder(make(tmp_path, value)).find([IMAGE], keep_scores=True) for value in (0.3, 0.7))
    assert low.mask.sum() > high.mask.sum() > 0
    for found in (low, high):
        assert np.array_equal(found.probability > 0.5, found.mask)
        assert 0 <= found.probability.min() <= found.probability.max() <= 1
        assert np.array_equal(found.class_scores.argmax(0) == 1, found.mask)


def test_how_far_the_networks_agree_tells_how_sure_they_are(tmp_path):
    folder = make(tmp_path)
    masks = [open_finder(tmp_path / name).find([IMAGE])[0].mask for name in ("a", "b")]
    (found,) = open_finder(folder).find([IMAGE])
    dice = 2 * np.count_nonzero(masks[0] & masks[1]) / sum(map(np.count_nonzero, masks))
    assert 0 < dice < 1
    assert found.numbers == {
        "soft_dice": pytest.approx(soft_dice(found.probability, found.mask)),
        "members": pytest.approx(dice),
    }
    assert found.expected_jaccard is None


def test_what_was_fitted_for_an_ensemble_is_told_of_its_masks(tmp_path, capsys):
    folder = make(tmp_path)
    fitted = QualityMap({"members": ((0.0, 1.0), (0.5, 0.5))})
    assert write_quality(folder / "ensemble.json", False, fitted) == folder / "ensemble.quality.json"
    assert open_finder(folder).find([IMAGE])[0].expected_jaccard == 0.5
    assert open_finder(folder, tta=True).find([IMAGE])[0].expected_jaccard is None
    # Fitted for other weights.
    make(tmp_path, weights=(0.5, 0.5))
    assert open_finder(folder).find([IMAGE])[0].expected_jaccard is None
    assert "left out, as it was fitted for other weights" in capsys.readouterr().err


def test_members_average_over_flips(tmp_path):
    folder = make(tmp_path, weights=(1, 1e-9))
    plain, flipped = (open_finder(folder, tta=tta).find([IMAGE])[0].probability for tta in (False, True))
    alone = open_finder(tmp_path / "a/model.onnx", tta=True).find([IMAGE])[0].probability
    assert np.abs(flipped - alone).max() < 1e-5
    assert plain.shape == flipped.shape


def test_tools_take_an_ensemble_like_a_model(tmp_path, capsys):
    folder = make(tmp_path)
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos/x.png"), IMAGE.pixels)
    command = [str(folder), str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--threads", "1"]
    assert load_tool("predict").main(command) == 0
    mask = cv2.imread(str(tmp_path / "out/x_segmentation.png"), cv2.IMREAD_GRAYSCALE) > 128
    assert np.array_equal(mask, Segmenter(folder).predict(IMAGE).mask)
    assert "predicted 1 images, 0 without a lesion" in capsys.readouterr().out
    assert load_tool("predict").main([*command, "--overwrite", "--top1"]) == 1
    assert "an ensemble has no instances to choose from" in capsys.readouterr().err


def test_members_that_are_not_those_of_the_weights(tmp_path):
    folder = make(tmp_path)
    semantic_model(tmp_path / "a/model.onnx", replace(CARD, size_divisor=32))
    with pytest.raises(DataError, match=r"a/model.onnx: another file than when the ensemble .* was made"):
        find_paths(folder)
    (tmp_path / "a/model.onnx").unlink()
    with pytest.raises(DataError, match=r"ensemble.json: its member ../a/model.onnx is not there"):
        find_paths(folder)


def test_a_member_of_several_findings_is_refused(tmp_path):
    file = findings_model(tmp_path / "model.onnx")
    EnsembleCard((Member("model.onnx", None, 1, file_sha256(file)),), 0.5).write(tmp_path)
    (tmp_path / "model.onnx").rename(tmp_path / "other.onnx")
    card = (tmp_path / "ensemble.json").read_text().replace("model.onnx", "other.onnx")
    (tmp_path / "ensemble.json").write_text(card)
    with pytest.raises(DataError, match="a member tells dark, red apart"):
        open_finder(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(lesionseg_ensemble=2), "no card of an ensemble of format 1"),
        (dict(threshold=1), "threshold is 1, expected a number above 0 and below 1"),
        (dict(threshold=True), "threshold is True"),
        (dict(members=[]), "no members, expected one or more"),
        (dict(members=["a"]), "member 0 is a, expected model, checkpoint, weight and sha256"),
        (dict(model="a.pth"), "the model of member 0 is 'a.pth', expected the path of a config or an ONNX file"),
        (dict(model="a.py"), "the checkpoint of member 0 is None, expected a path for a config"),
        (dict(checkpoint="a.pth"), "the checkpoint of member 0 is 'a.pth', expected a path for a config, else none"),
        (dict(weight=0), "the weight of member 0 is 0, expected a number above 0"),
        (dict(weight=float("nan")), "the weight of member 0 is nan"),
        (dict(sha256=None), "the sha256 of member 0 is None"),
    ],
)
def test_damaged_cards(tmp_path, changes, message):
    card = EnsembleCard((Member("a.onnx", None, 1, "0"),), 0.5).properties()
    for name, value in changes.items():
        (card if name in (*card, "members") else card["members"][0])[name] = value
    (tmp_path / "ensemble.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match=rf"ensemble.json: {message}"):
        EnsembleCard.read(tmp_path)


def test_a_card_that_is_no_json(tmp_path):
    (tmp_path / "ensemble.json").write_text("{")
    with pytest.raises(DataError, match=r"ensemble\.json: not JSON"):
        find_paths(tmp_path)
