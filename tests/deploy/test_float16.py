from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lesionseg.deploy.float16 import to_float16

RNG = np.random.default_rng(0)
BATCH = RNG.normal(size=(2, 3, 24, 40)).astype(np.float32)
WEIGHTS = dict(
    first=RNG.normal(size=(16, 3, 3, 3)).astype(np.float32) / 5,
    second=RNG.normal(size=(32, 16, 3, 3)).astype(np.float32) / 12,
    third=RNG.normal(size=(2, 32, 3, 3)).astype(np.float32) / 17,
)


def _write(path: Path, nodes: list, constants: dict, rank: int = 4, kind: int = TensorProto.FLOAT) -> Path:
    graph = helper.make_graph(
        nodes,
        "drawn",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ("N", 3, "H", "W"))],
        [helper.make_tensor_value_info("scores", kind, tuple("ABCD"[:rank]))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def _convolutions() -> list:
    return [
        helper.make_node("Conv", ["input", "first"], ["a"], name="/backbone/conv1/Conv", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], name="relu1"),
        helper.make_node("Conv", ["b", "second"], ["c"], name="/backbone/conv2/Conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["d"], name="relu2"),
        helper.make_node("Conv", ["d", "third"], ["e"], name="/head/Conv", pads=[1] * 4),
    ]


@pytest.fixture
def network(tmp_path) -> Path:
    nodes = [*_convolutions(), helper.make_node("Softmax", ["e"], ["scores"], name="softmax", axis=1)]
    return _write(tmp_path / "model.onnx", nodes, WEIGHTS)


def _run(path: Path, batch: np.ndarray = BATCH) -> np.ndarray:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"input": batch})[0]


def _types(path: Path) -> dict[str, int]:
    """The type of every tensor by name."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True).graph
    typed = {value.name: value.type.tensor_type.elem_type for value in [*graph.input, *graph.output, *graph.value_info]}
    return typed | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _inputs(path: Path, kind: str) -> list[int]:
    """The types of the first inputs of all nodes of a kind."""
    types = _types(path)
    return [types[node.input[0]] for node in onnx.load(path).graph.node if node.op_type == kind]


def test_float16_halves_the_file_and_keeps_the_scores(network, tmp_path):
    target = tmp_path / "half.onnx"
    to_float16(network, target)
    assert target.stat().st_size < 0.65 * network.stat().st_size
    scores, expected = _run(target), _run(network)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=2e-3)
    assert not np.array_equal(scores, expected)


def test_float16_computes_convolutions_in_float16_and_softmax_in_float32(network, tmp_path):
    to_float16(network, tmp_path / "half.onnx")
    assert _inputs(tmp_path / "half.onnx", "Conv") == [TensorProto.FLOAT16] * 3
    assert _inputs(tmp_path / "half.onnx", "Relu") == [TensorProto.FLOAT16] * 2
    assert _inputs(tmp_path / "half.onnx", "Softmax") == [TensorProto.FLOAT]
    # One on the way in, one before the softmax.
    assert len(_inputs(tmp_path / "half.onnx", "Cast")) == 2


def test_float16_lets_several_float32_operators_read_one_tensor(tmp_path):
    nodes = [
        *_convolutions(),
        helper.make_node("Softmax", ["e"], ["f"], axis=1),
        helper.make_node("Sigmoid", ["e"], ["g"]),
        helper.make_node("Mul", ["f", "g"], ["scores"]),
    ]
    path = _write(tmp_path / "model.onnx", nodes, WEIGHTS)
    to_float16(path, tmp_path / "half.onnx")
    np.testing.assert_allclose(_run(tmp_path / "half.onnx"), _run(path), atol=2e-3)


def test_float16_keeps_coordinates(tmp_path):
    """Places up to 4096 pixels: in float16 those above 2048 would be even only."""
    nodes = [
        helper.make_node("Range", ["zero", "end", "one"], ["columns"]),
        helper.make_node("Unsqueeze", ["columns", "axis"], ["row"]),
        helper.make_node("Reshape", ["row", "flat"], ["places"]),
        helper.make_node("ReduceSum", ["input"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "nothing"], ["zeros"]),
        helper.make_node("Add", ["places", "zeros"], ["scores"]),
    ]
    constants = dict(
        zero=np.float32(0),
        end=np.float32(4096),
        one=np.float32(1),
        axis=np.int64([0]),
        flat=np.int64([-1]),
        nothing=np.float32(0),
    )
    path = _write(tmp_path / "model.onnx", nodes, constants, rank=1)
    to_float16(path, tmp_path / "half.onnx")
    np.testing.assert_array_equal(_run(tmp_path / "half.onnx"), np.arange(4096, dtype=np.float32))


def test_float16_computes_in_float32_what_detections_are_chosen_by(tmp_path):
    nodes = [
        *_convolutions(),
        helper.make_node("Flatten", ["e"], ["flat"]),
        helper.make_node("TopK", ["flat", "five"], ["scores", "places"]),
    ]
    path = _write(tmp_path / "model.onnx", nodes, WEIGHTS | dict(five=np.int64([5])), rank=2)
    to_float16(path, tmp_path / "half.onnx")
    assert _inputs(tmp_path / "half.onnx", "Conv") == [TensorProto.FLOAT] * 3
    assert (tmp_path / "half.onnx").stat().st_size < 0.65 * path.stat().st_size
    rounded = {name: array.astype(np.float16).astype(np.float32) for name, array in WEIGHTS.items()}
    expected = _write(tmp_path / "rounded.onnx", nodes, rounded | dict(five=np.int64([5])), rank=2)
    np.testing.assert_array_equal(_run(tmp_path / "half.onnx"), _run(expected))


def test_float16_keeps_what_branches_read(tmp_path):
    """The branches of an If read tensors of the graph around them by name, not as inputs."""
    shape = helper.make_tensor_value_info("out", TensorProto.FLOAT, tuple("ABCD"))
    positive = helper.make_graph([helper.make_node("Exp", ["e"], ["out"])], "then", [], [shape])
    negative = helper.make_graph([helper.make_node("Neg", ["e"], ["out"])], "else", [], [shape])
    nodes = [
        *_convolutions(),
        helper.make_node("ReduceSum", ["input"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["bright"]),
        helper.make_node("If", ["bright"], ["scores"], then_branch=positive, else_branch=negative),
    ]
    path = _write(tmp_path / "model.onnx", nodes, WEIGHTS | dict(zero=np.float32(0)))
    to_float16(path, tmp_path / "half.onnx")
    for batch in (np.abs(BATCH), -np.abs(BATCH)):
        np.testing.assert_allclose(_run(tmp_path / "half.onnx", batch), _run(path, batch), rtol=5e-3, atol=5e-3)


def test_float16_leaves_whole_numbers_alone(tmp_path):
    nodes = [
        helper.make_node("Shape", ["input"], ["shape"]),
        helper.make_node("Reshape", ["shape", "column"], ["sizes"]),
        helper.make_node("MatMul", ["row", "sizes"], ["scores"]),
    ]
    constants = dict(row=np.int64([[100_001, 1, 1, 1]]), column=np.int64([4, 1]))
    path = _write(tmp_path / "model.onnx", nodes, constants, rank=2, kind=TensorProto.INT64)
    to_float16(path, tmp_path / "half.onnx")
    assert _run(tmp_path / "half.onnx").tolist() == [[2 * 100_001 + 3 + 24 + 40]]
