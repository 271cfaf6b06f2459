"""How many images are read before the model asks for them."""

import time

import cv2
import numpy as np
import pytest
from drawn_models import semantic_model

from lesionseg.commands import predict as predict_files
from lesionseg.inference.inputs import find_inputs
from lesionseg.inference.segmenter import Prediction, Segmenter


@pytest.mark.parametrize(("waiting", "ahead"), [(predict_files._WAITING, range(3, 6)), (2 * 1200, range(3))])
def test_images_are_read_ahead_as_far_as_memory_allows(tmp_path, monkeypatch, waiting, ahead):
    model = semantic_model(tmp_path / "model.onnx")
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), np.full((30, 40, 3), 200, np.uint8))
    read, predicted, unused = [], [], []

    def read_image(path, max_pixels):
        read.append(path)
        return np.full((30, 40, 3), 200, np.uint8)

    def predict_batch(images):
        time.sleep(0.05)
        predicted.extend(images)
        unused.append(len(read) - len(predicted))
        return [Prediction(np.zeros((30, 40), bool), np.zeros((30, 40), np.float32)) for _ in images]

    segmenter = Segmenter(model)
    monkeypatch.setattr(segmenter, "predict_batch", predict_batch)
    monkeypatch.setattr(predict_files, "read_image", read_image)
    monkeypatch.setattr(predict_files, "_WAITING", waiting)
    outputs = predict_files.Outputs(tmp_path / "out")
    predict_files.predict_files(segmenter, find_inputs([str(tmp_path)]).images, outputs)
    assert len(predicted) == 12
    assert max(unused) in ahead
