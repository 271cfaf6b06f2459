"""Equal to the official scorer of the ISIC challenge, to the last digit."""

import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from drawn_pairs import draw_pair, make_sample
from helpers import load_tool

from lesionseg.evaluation.lesion_metric import LesionMetric
from lesionseg.evaluation.report_file import Report
from lesionseg.evaluation.scores import PER_IMAGE, Confusion, mean_scores, per_image_scores
from lesionseg.pixels.masks import lesion_pixels, read_mask

# The scorer imports this compiled module, which reads a rare kind of zip file; folders need none of it.
sys.modules.setdefault("zipfile_deflate64", zipfile)

from isic_challenge_scoring import metrics  # noqa: E402
from isic_challenge_scoring.segmentation import SegmentationScore  # noqa: E402


def official_scores(pairs) -> dict[str, float]:
    images = [
        SimpleNamespace(truth_image=truth, prediction_image=prediction, image_id=f"ISIC_{index:07}")
        for index, (truth, prediction) in enumerate(pairs)
    ]
    return SegmentationScore(images).macro_average.to_dict()


def our_scores(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    return per_image_scores(Confusion.from_masks(lesion_pixels(truth), lesion_pixels(prediction)))


def as_gray(mask: np.ndarray) -> np.ndarray:
    return mask * np.uint8(255)


def gray_pair(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw masks of every gray, most of them next to the threshold of 128."""
    return tuple(np.random.default_rng(index).choice(np.array([0, 127, 128, 129, 255], np.uint8), (2, 24, 36)))


UNIFORM = [
    tuple(np.full((24, 36), gray, np.uint8) for gray in pair) for pair in ((0, 0), (0, 255), (255, 0), (128, 129))
]
PAIRS = UNIFORM + [tuple(map(as_gray, draw_pair(index))) for index in range(40)] + [gray_pair(i) for i in range(10)]


@pytest.mark.parametrize("pair", PAIRS)
def test_scores_of_one_image(pair):
    official = official_scores([pair])
    assert our_scores(*pair) == {name: official[name] for name in PER_IMAGE}


def test_scores_of_large_counts():
    rng = np.random.default_rng(0)
    for tp, tn, fp, fn in rng.integers(0, 10_036_224, (200, 4)):
        series = pd.Series(dict(TP=tp, TN=tn, FP=fp, FN=fn))
        official = {name: getattr(metrics, f"binary_{name}")(series) for name in PER_IMAGE}
        assert per_image_scores(Confusion(int(tp), int(tn), int(fp), int(fn))) == official


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 127, 128, 129, 1000])
def test_means_over_images(count):
    # Numpy sums up to 8 and up to 128 numbers in other ways than more of them.
    pairs = [gray_pair(index) for index in range(count)] if count < 1000 else PAIRS * 20
    means = mean_scores([our_scores(*pair) for pair in pairs])
    official = official_scores(pairs)
    assert means == {name: official[name] for name in PER_IMAGE}


def test_folders_of_masks_that_the_metric_wrote(tmp_path):
    truths, submission = tmp_path / "truth", tmp_path / "submission"
    truths.mkdir()
    metric = LesionMetric(out_dir=str(submission))
    order = np.random.default_rng(0).permutation(150)  # the official scorer reads them sorted by name
    for index in order:
        path = truths / f"ISIC_{index:07}_segmentation.png"
        gray = gray_pair(index)[0] if index % 2 else as_gray(draw_pair(index)[0])
        cv2.imwrite(str(path), gray)
        sample = make_sample(f"images/ISIC_{index:07}.jpg", path, lesion_pixels(read_mask(path)), draw_pair(index)[1])
        metric.process({}, [sample.to_dict()])
    ours = metric.evaluate(len(order))
    official = SegmentationScore.from_dir(truths, submission).macro_average.to_dict()
    assert {name: ours[f"lesion/{name}"] for name in PER_IMAGE} == {name: official[name] for name in PER_IMAGE}

    # And as the tool for folders scores them.
    assert load_tool("evaluate").main([str(truths), str(submission), "--out", str(tmp_path / "out")]) == 0
    assert Report.read(tmp_path / "out" / "submission").per_image == {name: official[name] for name in PER_IMAGE}


@pytest.mark.shared_data
def test_real_masks():
    truths = (
        Path(__file__).resolve().parents[3] / "shared" / "data" / "isic2018" / "ISIC2018_Task1_Validation_GroundTruth"
    )
    if not truths.is_dir():
        pytest.skip(f"the development data is not there: {truths}")
    masks = [read_mask(path) for path in sorted(truths.glob("*.png"))[:40]]
    pairs = [(mask, np.roll(mask, (7, 11), (0, 1))) for mask in masks]
    official = official_scores(pairs)
    assert mean_scores([our_scores(*pair) for pair in pairs]) == {name: official[name] for name in PER_IMAGE}
