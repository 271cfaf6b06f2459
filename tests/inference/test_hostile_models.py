"""Exported models that somebody changed: each is refused in one line that names the file, and nothing is left."""

import json
import os
import time
from dataclasses import replace

import cv2
import numpy as np
import onnx
import pytest
from drawn_models import CARD, instance_model, semantic_model
from helpers import draw_pair, load_tool
from onnx import TensorProto, helper, numpy_helper

from lesionseg.engine.families import INSTANCES
from lesionseg.errors import DataError, ModelError
from lesionseg.inference.opening import ENGINES, OPENVINO, open_model
from lesionseg.inference.prepare import _INTERPOLATIONS
from lesionseg.inference.runtimes import onnx_model
from lesionseg.inference.runtimes.model_card import INTERPOLATIONS, ModelCard
from lesionseg.inference.segmenter import Segmenter

main = load_tool("predict").main
FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
IMAGE, SCORES = ("N", 3, "H", "W"), ("N", 2, "H", "W")


@pytest.fixture
def predict(tmp_path, capsys):
    """Predict an image; the error's lines, where nothing may be left."""
    cv2.imwrite(str(tmp_path / "a.png"), draw_pair(0, 40, 56)[0])
    cv2.imwrite(str(tmp_path / "b.png"), draw_pair(1, 40, 56)[0])

    def run(model, *flags):
        images = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
        assert main([str(model), *images, "--out", str(tmp_path / "new" / "out"), *flags]) == 1
        assert not (tmp_path / "new").exists()
        return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]

    return run


def with_entry(path, name, value, card=CARD):
    """Write a model whose card has another entry: JSON, or text as it is."""
    model = onnx.load(semantic_model(path, card))
    text = value if isinstance(value, str) else json.dumps(value)
    del model.metadata_props[:]
    helper.set_model_props(model, card.properties() | {name: text})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("mean", ["a", "b", "c"], "3 of these: a number from -1000 to 1000"),
        ("quality", {"alone": 1}, "fitted maps"),
        ("mean", "abc", "Expecting value"),
        ("mean", [1.0, 2.0], "3 of these"),
        ("mean", [1.0, 2.0, float("nan")], "3 of these"),
        ("mean", 120, "3 of these"),
        ("mean", {"a": 1}, "3 of these"),
        ("mean", "[" * 100_000, "RecursionError"),
        ("std", [50.0, 0.0, 70.0], "3 of these: a number from 0.001 to 1000"),
        ("std", [50.0, 60.0, float("inf")], "3 of these"),
        ("std", [50.0, -60.0, 70.0], "3 of these"),
        ("std", [1e-30, 60.0, 70.0], "3 of these"),
        ("scale", [float("nan"), 72], "2 of these: a whole number from 1 to 8192"),
        ("scale", [96, 0], "2 of these"),
        ("scale", [96, -72], "2 of these"),
        ("scale", [1e9, 1e9], "2 of these"),
        ("scale", [96.5, 72], "2 of these"),
        ("scale", [True, True], "2 of these"),
        ("scale", None, "2 of these"),
        ("scale", 96, "2 of these"),
        ("interpolation", "poetry", "area or bilinear or nearest or bicubic or lanczos"),
        ("interpolation", ["bilinear"], "area or bilinear"),
        ("size_divisor", 0, "a whole number from 1 to 1024"),
        ("size_divisor", -16, "a whole number"),
        ("size_divisor", 10**12, "a whole number"),
        ("size_divisor", "9" * 5000, "damaged metadata (ValueError"),
        ("size_divisor", 16.0, "a whole number"),
        ("size_divisor", "null", "a whole number"),
        ("input_size", [-64, 96], "null or 2 of these: a whole number from 1 to 8192"),
        ("input_size", [64], "null or 2"),
        ("input_size", "false", "null or 2"),
        ("input_size", ["64", "96"], "null or 2"),
        ("min_score", '"much"', "a number from 0 to 1"),
        ("min_score", 2, "a number from 0 to 1"),
        ("min_score", float("nan"), "a number from 0 to 1"),
        ("classes", [], "2 or more names"),
        ("classes", ["lesion"], "2 or more names"),
        ("classes", [1, 2], "2 or more names"),
        ("classes", '"lesion"', "2 or more names"),
        ("channel_order", "GBR", "RGB or BGR"),
        ("score_rule", "union", "logits or mask_scores"),
        ("score_rule", "", "logits or mask_scores"),
        ("precision", "int8", "float32 or float16"),
        ("task", "detection", "semantic or instances"),
        ("versions", ["torch"], "texts by name"),
        ("versions", {"torch": 2}, "texts by name"),
    ],
)
def test_a_card_with_a_wrong_entry_is_refused(name, value, expected, predict, tmp_path):
    (line,) = predict(with_entry(tmp_path / "model.onnx", name, value))
    assert line.startswith(f"error: {tmp_path / 'model.onnx'}: damaged metadata (")
    assert expected in line
    assert line.endswith("Export the model again.")
    assert len(line) < 500


def test_every_entry_of_a_card_has_a_form():
    assert CARD.faults() == []
    detector = replace(CARD, task=INSTANCES, classes=("lesion",), score_rule="top1", input_size=(64, 96))
    assert detector.faults() == []
    assert [fact for fact, _ in replace(detector, score_rule="best").faults()] == ["score_rule is 'best'"]
    assert list(_INTERPOLATIONS) == list(INTERPOLATIONS)
    with pytest.raises(DataError, match="std is") as raised:
        ModelCard.from_properties(replace(CARD, std=(0, 0, 0), mean=()).properties(), "model.onnx")
    assert len(raised.value.args) == 2


def graph(path, nodes, inputs, outputs, constants=(), card=CARD):
    """Write a model of any kind."""
    infos = [
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in each] for each in (inputs, outputs)
    ]
    weights = [numpy_helper.from_array(array, name) for name, array in dict(constants).items()]
    model = helper.make_model(
        helper.make_graph(nodes, "drawn", *infos, weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    )
    helper.set_model_props(model, card.properties())
    onnx.save(model, path)
    return path


def convolution(path, filters=2, stride=1, weight=0.1, inputs=(("input", FLOAT, IMAGE),), output="scores", card=CARD):
    weights = np.full((filters, 3, 1, 1), weight, np.float32)
    node = helper.make_node("Conv", [inputs[0][0], "weight"], [output], strides=[stride, stride])
    shape = ("N", filters, "h", "w")
    return graph(path, [node], list(inputs), [(output, FLOAT, shape)], dict(weight=weights), card)


def of_doubles(path):
    nodes = [
        helper.make_node("Cast", ["input"], ["single"], to=FLOAT),
        helper.make_node("Conv", ["single", "weight"], ["scores"]),
    ]
    weight = np.ones((2, 3, 1, 1), np.float32)
    inputs = [("input", TensorProto.DOUBLE, IMAGE)]
    return graph(path, nodes, inputs, [("scores", FLOAT, SCORES)], dict(weight=weight))


def of_rank_3(path):
    node = helper.make_node("ReduceSum", ["input", "axis"], ["scores"], keepdims=0)
    return graph(path, [node], [("input", FLOAT, IMAGE)], [("scores", FLOAT, None)], dict(axis=np.int64([1])))


FIXED = replace(CARD, input_size=(64, 96))


@pytest.mark.parametrize(
    ("write", "fact"),
    [
        (lambda path: convolution(path, inputs=[("picture", FLOAT, IMAGE)]), "its inputs are picture, expected input"),
        (
            lambda path: convolution(path, output="masks"),
            "it has no output scores, expected float32 (any, 2, any, any)",
        ),
        (of_doubles, "its input is tensor(double) (any, 3, any, any), expected float32 (any, 3, any, any)"),
        (of_rank_3, ", expected float32 ("),
        (
            lambda path: convolution(path, filters=3),
            "its output scores is float32 (any, 3, any, any), expected float32 (",
        ),
        (
            lambda path: convolution(path, inputs=[("input", FLOAT, ("N", 3, 64, 64))]),
            "its input is float32 (any, 3, 64, 64), expected float32 (any, 3, any, any)",
        ),
        (
            lambda path: convolution(path, inputs=[("input", FLOAT, ("N", 3, 64, 64))], card=FIXED),
            "its input is float32 (any, 3, 64, 64), expected float32 (any, 3, 64, 96)",
        ),
        (
            lambda path: convolution(path, inputs=[("input", FLOAT, (4, 3, "H", "W"))]),
            "its input is float32 (4, 3, any, any), expected float32 (any, 3, any, any)",
        ),
        (lambda path: instance_model(path, [], CARD), "it has no output scores, expected"),
        (lambda path: convolution(path, weight=np.nan), "gave scores that are not finite, expected numbers"),
        (lambda path: convolution(path, stride=2), "gave float32 (1, 2, "),
    ],
)
@pytest.mark.parametrize("engine", ENGINES[:2])
def test_a_model_with_another_interface_is_refused(write, fact, engine, predict, tmp_path):
    (line,) = predict(write(tmp_path / "model.onnx"), "--engine", engine)
    assert line.startswith(f"error: {tmp_path / 'model.onnx'}: ")
    assert "Exception from" not in line
    if engine != OPENVINO:
        assert fact in line
    assert ", expected " in line
    assert ". Export " in line


def test_detections_that_do_not_belong_together_are_refused(predict, tmp_path):
    path = tmp_path / "model.onnx"
    instance_model(path, [((1, 2, 30, 40), 0.9, 0)])
    model = onnx.load(path)
    kept = [weight for weight in model.graph.initializer if weight.name != "labels_of_one"]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, numpy_helper.from_array(np.int64([[0, 0]]), "labels_of_one")])
    onnx.save(model, path)
    assert "gave int64 (1, 2) as labels, expected int64 (1, 1)" in predict(path)[0]
    instance_model(path, [((1, 2, 30, np.inf), 0.9, 0)])
    assert "gave dets that are not finite" in predict(path)[0]


def test_giant_files_are_refused_without_being_read(predict, tmp_path):
    path = semantic_model(tmp_path / "model.onnx")
    with path.open("r+b") as file:
        file.truncate(100 * 2**30)
    started = time.monotonic()
    (line,) = predict(path)
    assert "model.onnx: 100.0 GiB, expected 2 at most" in line
    assert time.monotonic() - started < 2


def test_files_cut_off_anywhere_are_refused(predict, tmp_path):
    data = semantic_model(tmp_path / "model.onnx").read_bytes()
    for length in (0, 1, len(data) // 3, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.onnx").write_bytes(data[:length])
        (line,) = predict(tmp_path / "cut.onnx")
        assert line.startswith(f"error: {tmp_path / 'cut.onnx'}: ")
        assert line.endswith(("Export the model again.", "tools/export.py."))


def endless(path):
    """A model that adds its input to itself for ever."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Add", ["value", "value"], ["sum"])],
        "body",
        [
            helper.make_tensor_value_info(name, kind, shape)
            for name, kind, shape in (("number", INT, ()), ("go", TensorProto.BOOL, ()), ("value", FLOAT, IMAGE))
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("sum", FLOAT, IMAGE),
        ],
    )
    nodes = [
        helper.make_node("Loop", ["most", "true", "input"], ["last"], body=body),
        helper.make_node("Slice", ["last", "first", "end", "axis"], ["scores"]),
    ]
    constants = dict(
        most=np.int64(2**62), true=np.array(True), first=np.int64([0]), end=np.int64([2]), axis=np.int64([1])
    )
    return graph(path, nodes, [("input", FLOAT, IMAGE)], [("scores", FLOAT, SCORES)], constants)


def test_an_endless_graph_ends(predict, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_model, "_LEAST_SECONDS", 0.5)
    monkeypatch.setattr(onnx_model, "_SECONDS_PER_MEGAPIXEL", 1)
    (line,) = predict(endless(tmp_path / "model.onnx"))
    assert "model.onnx: has not ended after 1 seconds with 1 images of 96x80 pixels, expected a small part" in line
    (line,) = predict(endless(tmp_path / "model.onnx"), "--engine", OPENVINO)
    assert "model.onnx: has loops, in which OpenVINO cannot be stopped, expected none. Use the engine onnxrunt" in line


def giant(path):
    """A model whose scores would take 4 EB."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceMax", ["input"], ["most"], keepdims=0),
        helper.make_node("Add", ["zeros", "most"], ["scores"]),
    ]
    shape = np.int64([1, 2, 2**28, 2**29])
    return graph(path, nodes, [("input", FLOAT, IMAGE)], [("scores", FLOAT, None)], dict(shape=shape))


def test_a_giant_graph_is_told(predict, tmp_path):
    first, _, last = predict(giant(tmp_path / "model.onnx"))
    assert first.startswith(f"error: {tmp_path / 'a.png'}: too large for the memory that is free (")
    assert last.startswith("error: 2 of 2 images were not predicted")


def test_a_model_for_one_image_at_a_time_takes_more(tmp_path):
    path = convolution(tmp_path / "model.onnx", inputs=[("input", FLOAT, (1, 3, "H", "W"))])
    images = [draw_pair(number, 40, 56)[0] for number in range(3)]
    assert len(Segmenter(path).predict_batch(images)) == 3


def test_an_engine_that_is_not_installed_is_named(tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    path = semantic_model(tmp_path / "model.onnx")
    monkeypatch.setattr(onnx_model, "import_module", missing)
    with pytest.raises(DataError, match=r"^onnxruntime: not installed, expected it .* pip install onnxruntime\.$"):
        open_model(path)


def test_a_model_that_fails_is_no_fault_of_an_image(tmp_path):
    path = convolution(tmp_path / "model.onnx", weight=np.inf)
    with pytest.raises(ModelError, match="not finite"):
        Segmenter(path).predict(draw_pair(0, 40, 56)[0])
    assert os.listdir(tmp_path) == ["model.onnx"]
