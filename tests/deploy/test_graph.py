import os

import numpy as np
import onnx
import pytest
from drawn_models import CARD, semantic_model, without_card
from onnx import TensorProto, helper, numpy_helper

from lesionseg.deploy.graph import finish, load_graph, simplify
from lesionseg.errors import DataError
from lesionseg.inference.runtimes.model_card import ModelCard
from lesionseg.inference.runtimes.onnx_model import OnnxModel

BATCHES = [np.random.default_rng(n).normal(size=shape).astype(np.float32) for n, shape in enumerate([(2, 3, 48, 80)])]


@pytest.fixture
def roundabout(tmp_path):
    """A model that folds constants and passes through nodes without effect."""
    model = onnx.load(semantic_model(tmp_path / "roundabout.onnx"))
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.float32([[[0]], [[4]]]), "four"))
    graph.initializer.append(numpy_helper.from_array(np.float32(2), "two"))
    graph.node[0].output[0] = "raw"
    graph.node.extend(
        [
            helper.make_node("Div", ["four", "two"], ["half"]),
            helper.make_node("Identity", ["raw"], ["same"]),
            helper.make_node("Add", ["same", "half"], ["scores"]),
        ]
    )
    onnx.save(model, tmp_path / "roundabout.onnx")
    return tmp_path / "roundabout.onnx"


def test_simplify_folds_what_is_constant(roundabout, tmp_path):
    target = tmp_path / "simple.onnx"
    assert simplify(roundabout, target, BATCHES)
    kinds = [node.op_type for node in onnx.load(target).graph.node]
    assert "Div" not in kinds
    assert "Identity" not in kinds
    for batch in BATCHES:
        np.testing.assert_array_equal(OnnxModel(target).run(batch)[0], OnnxModel(roundabout).run(batch)[0])
    assert {entry.domain for entry in onnx.load(target).opset_import} == {""}
    assert {path.name for path in tmp_path.iterdir()} == {"roundabout.onnx", "simple.onnx"}


def test_simplify_keeps_a_model_whose_outputs_would_differ(roundabout, tmp_path):
    model = onnx.load(roundabout)
    model.graph.node[-1].output[0] = "sum"
    # onnxruntime draws by the number of the node, which changes where nodes before it go.
    model.graph.node.append(helper.make_node("RandomNormalLike", ["sum"], ["scores"]))
    onnx.save(model, roundabout)
    assert not simplify(roundabout, tmp_path / "simple.onnx", BATCHES)
    assert [path.name for path in tmp_path.iterdir()] == ["roundabout.onnx"]


def test_finish_writes_the_card_in_place_of_any_other(tmp_path):
    path = without_card(tmp_path / "model.onnx")
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"author": "someone"})
    onnx.save(model, path)
    finish(path, path, CARD)
    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert properties == CARD.properties()
    assert ModelCard.from_properties(properties, path) == CARD
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_finish_refuses_operators_that_are_not_onnx_own(tmp_path):
    model = onnx.load(semantic_model(tmp_path / "model.onnx"))
    model.graph.node[0].domain = "mmdeploy"
    model.graph.node[0].op_type = "MMCVRoiAlign"
    model.opset_import.append(helper.make_opsetid("mmdeploy", 1))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(DataError, match="mmdeploy::MMCVRoiAlign are no standard ONNX operators"):
        finish(tmp_path / "model.onnx", tmp_path / "finished.onnx", CARD)
    assert not (tmp_path / "finished.onnx").exists()


@pytest.mark.parametrize("fault", ["shape", "unknown operator", "unknown input"])
def test_finish_refuses_what_the_checker_refuses(fault, tmp_path):
    path = semantic_model(tmp_path / "model.onnx")
    model = onnx.load(path)
    if fault == "shape":
        model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, ("N", 7, "H", "W")))
    elif fault == "unknown operator":
        model.graph.node[0].op_type = "Convolution"
    else:
        model.graph.node[0].input[1] = "nothing"
    onnx.save(model, path)
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"model\.onnx: does not pass ONNX's checker \(.+\), expected") as raised:
        finish(path, path, CARD)
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_models_of_more_than_2_gb_are_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.touch()
    # Takes no space on the disk.
    os.truncate(path, 2**31)
    with pytest.raises(DataError, match=r"model\.onnx: weights of more than 2 GB"):
        load_graph(path)


def test_weights_in_other_files_are_refused(tmp_path):
    model = onnx.load(semantic_model(tmp_path / "model.onnx"))
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    with pytest.raises(DataError, match="weights of more than 2 GB"):
        finish(tmp_path / "model.onnx", tmp_path / "finished.onnx", CARD)


def test_a_cut_off_file_is_refused(tmp_path):
    path = semantic_model(tmp_path / "model.onnx")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match="not a readable ONNX file"):
        load_graph(path)
