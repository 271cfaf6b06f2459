from dataclasses import replace

import numpy as np
import onnx
import pytest
from helpers import MASK2FORMER, ROOT
from mmengine.config import Config
from small_networks import SEGFORMER, VIT, save_random_weights

from lesionseg.deploy.graph import finish
from lesionseg.deploy.segmentor import export_segmentor
from lesionseg.engine.config import Options
from lesionseg.errors import DataError
from lesionseg.inference.runtimes.model_card import LOGITS, MASK_SCORES
from lesionseg.inference.runtimes.onnx_model import OnnxModel
from lesionseg.inference.runtimes.torch_model import TorchModel

DEPLOY = ROOT / "configs/deploy"
# (images, height, width): none of them is what was traced; larger, smaller, flat and tall, one and three at once.
SHAPES = [(1, 128, 128), (3, 96, 160), (1, 320, 96), (2, 64, 352), (1, 288, 384)]


@pytest.fixture(scope="module", params=["mask2former", "segformer", "vit"])
def exported(request, tmp_path_factory):
    """The model in PyTorch and in onnxruntime."""
    folder = tmp_path_factory.mktemp(request.param)
    config = MASK2FORMER
    if request.param != "mask2former":
        config = str(folder / "config.py")
        (folder / "config.py").write_text(dict(segformer=SEGFORMER, vit=VIT)[request.param].format(root=ROOT))
    original = TorchModel(Options(config), save_random_weights(config, folder / "random.pth"), "cpu")
    deploy_cfg = Config.fromfile(DEPLOY / "segmentation_onnxruntime_dynamic.py")
    export_segmentor(original.module, folder / "raw.onnx", deploy_cfg)
    finish(folder / "raw.onnx", folder / "model.onnx", original.card)
    return original, OnnxModel(folder / "model.onnx"), folder


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_scores_equal_pytorch_at_sizes_that_were_not_traced(exported, shape):
    original, model, _ = exported
    count, height, width = shape
    batch = np.random.default_rng(0).normal(size=(count, 3, height, width)).astype(np.float32)
    [expected], [scores] = original.run(batch), model.run(batch)
    assert scores.shape == expected.shape == (count, 2, height, width)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    lesion = expected.argmax(1)
    # Nothing is proven by an empty mask.
    assert 0 < lesion.mean() < 1
    assert np.mean(scores.argmax(1) == lesion) > 0.9999


def test_one_image_gives_the_same_alone_and_among_others(exported):
    _, model, _ = exported
    batch = np.random.default_rng(1).normal(size=(3, 3, 96, 128)).astype(np.float32)
    [together] = model.run(batch)
    [alone] = model.run(batch[1:2])
    np.testing.assert_allclose(together[1], alone[0], rtol=1e-4, atol=1e-4)


def test_the_file_holds_standard_operators_only(exported):
    graph = onnx.load(exported[2] / "model.onnx")
    assert {node.domain for node in graph.graph.node} == {""}
    assert graph.opset_import[0].version == 17


def test_the_original_still_tests(exported):
    """The exporter puts what it exports into training mode if that is how it comes."""
    assert not exported[0].module.training


def test_the_rule_of_the_scores_is_that_of_the_head(exported):
    rule = exported[1].card.score_rule
    assert rule == (MASK_SCORES if "mask2former" in str(exported[2]) else LOGITS)


def test_fixed_input(exported, tmp_path):
    original = exported[0]
    deploy_cfg = Config.fromfile(DEPLOY / "segmentation_onnxruntime_static-512x512.py")
    deploy_cfg.onnx_config.input_shape = (96, 64)
    export_segmentor(original.module, tmp_path / "static.onnx", deploy_cfg)
    graph = onnx.load(tmp_path / "static.onnx").graph
    assert [size.dim_value for size in graph.input[0].type.tensor_type.shape.dim] == [1, 3, 64, 96]
    finish(tmp_path / "static.onnx", tmp_path / "static.onnx", replace(original.card, input_size=(64, 96)))
    batch = np.random.default_rng(2).normal(size=(1, 3, 64, 96)).astype(np.float32)
    np.testing.assert_allclose(
        OnnxModel(tmp_path / "static.onnx").run(batch)[0], original.run(batch)[0], rtol=1e-4, atol=1e-4
    )


def test_sliding_windows_cannot_be_exported(exported, tmp_path, monkeypatch):
    module = exported[0].module
    monkeypatch.setitem(module.test_cfg, "mode", "slide")
    with pytest.raises(DataError, match=r"model.test_cfg.mode=slide: cannot be exported, expected whole"):
        export_segmentor(module, tmp_path / "x.onnx", Config.fromfile(DEPLOY / "segmentation_onnxruntime_dynamic.py"))
    assert not list(tmp_path.iterdir())
