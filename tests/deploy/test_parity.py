import json
import re
import time

import numpy as np
import pytest

from lesionseg.benchmarks.models import latencies
from lesionseg.deploy.parity import ImageParity, Parity, Thresholds, twins
from lesionseg.engine.families import INSTANCES, SEMANTIC
from lesionseg.inference.finder import Instances

SIZE = (40, 60)


def found(*detections):
    """Boxes (left, top, right, bottom), filled all over, with their scores."""
    masks = []
    for (left, top, right, bottom), _ in detections:
        masks.append(np.zeros(SIZE, bool))
        masks[-1][top:bottom, left:right] = True
    boxes = np.float32([box for box, _ in detections]).reshape(-1, 4)
    scores = np.float32([score for _, score in detections])
    return Instances(boxes, scores, np.arange(len(masks)), masks.__getitem__)


def test_twins_are_found_whatever_their_order():
    first = found(((0, 0, 10, 10), 0.9), ((20, 20, 40, 40), 0.8))
    second = found(((20, 20, 40, 30), 0.7), ((0, 0, 10, 10), 0.6))
    pairs = twins(first, second, 0.3)
    np.testing.assert_allclose(pairs, [(0.9, 0.6, 1, 1), (0.8, 0.7, 1 / 2, 1 / 2)], atol=1e-6)


def test_a_detection_without_a_twin_counts_on_either_side():
    lonely = found(((0, 0, 10, 10), 0.9))
    np.testing.assert_allclose(twins(lonely, found(), 0.3), [(0.9, 0, 0, 0)], atol=1e-6)
    np.testing.assert_allclose(twins(found(), lonely, 0.3), [(0, 0.9, 0, 0)], atol=1e-6)
    # Two cannot share a twin.
    pairs = twins(found(((0, 0, 10, 10), 0.9), ((0, 0, 10, 10), 0.8)), lonely, 0.3)
    np.testing.assert_allclose(pairs, [(0.9, 0.9, 1, 1), (0.8, 0, 0, 0)], atol=1e-6)


def test_low_scores_need_no_twin_but_may_be_one():
    weak, strong = found(((0, 0, 10, 10), 0.29)), found(((0, 0, 10, 10), 0.31))
    assert twins(weak, found(), 0.3) == []
    assert len(twins(weak, strong, 0.3)) == 1


def image(name="a.jpg", size=(64, 96), **values):
    defaults = dict(max_difference=1e-6, mean_difference=1e-7, agreement=1.0, jaccard=1.0)
    return ImageParity(name, size, **{**defaults, **values})


def test_semantic_models_have_to_agree_on_pixels():
    alike = Parity(SEMANTIC, "onnxruntime", Thresholds(), [image(), image(agreement=0.998)])
    assert alike.passed
    assert alike.agreement == pytest.approx(0.999)
    unlike = Parity(SEMANTIC, "onnxruntime", Thresholds(), [image(), image("b.jpg", agreement=0.9979, jaccard=0.9)])
    assert not unlike.passed
    assert unlike.worst.image == "b.jpg"


def test_every_instance_has_to_have_a_twin():
    parity = Parity(INSTANCES, "onnxruntime", Thresholds(), [image(detections=3, matched=3)])
    assert parity.passed
    parity = Parity(INSTANCES, "openvino", Thresholds(), [*parity.images, image("b.jpg", detections=2, matched=1)])
    assert not parity.passed
    assert parity.worst.image == "b.jpg"


def test_report_and_table_say_the_same():
    images = [image(), image("b.jpg", (64, 64), detections=2, matched=1, mask_iou=0.5, jaccard=0.7)]
    parity = Parity(
        INSTANCES,
        "onnxruntime",
        Thresholds(),
        [*images, image("c.jpg", (64, 64))],
        threads=2,
        latency=dict(pytorch=30.0, onnxruntime=10.0),
        peak_memory=dict(pytorch=900.0, onnxruntime=None),
        megabytes=12.5,
    )
    report = json.loads(parity.to_json())
    assert (report["detections"], report["matched"], report["least_mask_iou"]) == (2, 1, 0.5)
    assert report["jaccard"] == pytest.approx((1 + 0.7 + 1) / 3)
    assert report["input_sizes"] == [[64, 64], [64, 96]]
    assert report["worst"] == "b.jpg"
    table = parity.table()
    assert re.search(r"detections above 0.3 with a twin +1 of 2", table)
    assert re.search(r"onnxruntime +10.0, 3.00 times as fast", table)
    assert re.search(r"peak memory of a process, pytorch +900 MiB", table)
    assert "process, onnxruntime" not in table
    assert parity.typical == "b.jpg"


def test_a_table_without_detections_says_that_it_proves_nothing():
    table = Parity(INSTANCES, "onnxruntime", Thresholds(), [image()]).table()
    assert re.search(r"with a twin +0 of 0, which proves nothing", table)


class Spinning:
    """A model whose threads are busy for a while after each run."""

    busy_until = 0.0

    def __init__(self):
        self.runs = 0
        self.disturbed = 0

    def run(self, batch):
        self.runs += 1
        self.disturbed += time.monotonic() < Spinning.busy_until
        Spinning.busy_until = time.monotonic() + 0.05


def test_models_are_timed_in_turn_and_in_peace():
    models = dict(pytorch=Spinning(), onnxruntime=Spinning())
    times = latencies(models, np.zeros((1, 3, 32, 32), np.float32))
    assert times.keys() == models.keys()
    assert all(value >= 0 for value in times.values())
    assert models["pytorch"].runs == models["onnxruntime"].runs > 5
    # The first two runs of each are for warming up.
    assert sum(model.disturbed for model in models.values()) <= 4
