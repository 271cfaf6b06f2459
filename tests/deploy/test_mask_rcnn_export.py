"""Exports tiny Mask R-CNNs with random weights and compares them with MMDetection's own prediction."""

import copy
import io
import warnings
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers import ROOT, draw_pair
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope

import lesionseg.openmmlab  # noqa: F401
from lesionseg.deploy.mask_rcnn import export_mask_rcnn
from lesionseg.errors import DataError

openvino = pytest.importorskip("openvino")

CLASSES, MOST = 3, 8
TRACED = (64, 96)
# Heights and widths of the images of a batch; none was traced, and most have to be padded.
BATCHES = {
    "small": [(33, 47)],
    "high": [(160, 72)],
    "wide": [(70, 200)],
    "large": [(250, 300)],
    "unpadded": [(128, 96)],
    "mixed": [(64, 96), (90, 41), (50, 70)],
}


def deploy_config(name: str) -> Config:
    return Config.fromfile(str(ROOT / "configs/deploy" / f"instance-seg_{name}.py"))


def tiny_config(**changes) -> dict:
    """MMDetection's Mask R-CNN with few channels, classes and regions; `changes` by dotted names."""
    small = {
        "backbone.depth": 18,
        "backbone.base_channels": 8,
        "backbone.init_cfg": None,
        "neck.in_channels": [8, 16, 32, 64],
        "neck.out_channels": 8,
        "rpn_head.in_channels": 8,
        "rpn_head.feat_channels": 8,
        "roi_head.bbox_roi_extractor.out_channels": 8,
        "roi_head.bbox_head.in_channels": 8,
        "roi_head.bbox_head.fc_out_channels": 16,
        "roi_head.bbox_head.num_classes": CLASSES,
        "roi_head.mask_roi_extractor.out_channels": 8,
        "roi_head.mask_head.num_convs": 1,
        "roi_head.mask_head.in_channels": 8,
        "roi_head.mask_head.conv_out_channels": 8,
        "roi_head.mask_head.num_classes": CLASSES,
        # More than the coarse levels have anchors, and fewer than the others have.
        "test_cfg.rpn.nms_pre": 90,
        "test_cfg.rpn.max_per_img": 40,
        "test_cfg.rcnn.max_per_img": MOST,
        # Some images have fewer detections than rows.
        "test_cfg.rcnn.score_thr": 0.4,
    }
    config = Config.fromfile(str(ROOT / "configs/mask_rcnn/mask-rcnn_r50_fpn_1xb8-amp-10k_isic2018-512x512.py"))
    config = Config(dict(model=config.model))
    config.merge_from_dict({f"model.{key}": value for key, value in (small | changes).items()})
    return config.model


def build(config: dict) -> torch.nn.Module:
    """A model with random weights whose last layers are scaled so that boxes, scores and masks differ clearly."""
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(config).eval()
    spreads = {"rpn_cls": 1.5, "rpn_reg": 0.3, "fc_cls": 2.0, "fc_reg": 3.0, "conv_logits": 3.0}

    def scale(layer, _, output):
        spread = spreads.pop(names[layer], None)
        if spread is None:
            return output
        channels = [axis for axis in range(output.ndim) if axis != 1]
        gain = spread / output.std()
        mean = output.mean(channels)
        layer.weight.data *= gain
        layer.bias.data = (layer.bias.data - mean) * gain
        return (output - mean.view(1, -1, *[1] * (output.ndim - 2))) * gain

    names = {layer: name.split(".")[-1] for name, layer in model.named_modules()}
    hooks = [layer.register_forward_hook(scale) for layer, name in names.items() if name in spreads]
    reference(model, *preprocess(model, [(96, 128)]))
    for hook in hooks:
        hook.remove()
    assert not spreads
    return model


def preprocess(model: torch.nn.Module, sizes: list[tuple[int, int]]) -> tuple[torch.Tensor, list]:
    """Drawn images as the model gets them: a padded batch, and what MMDetection knows of each."""
    images, samples = [], []
    for number, (height, width) in enumerate(sizes):
        images.append(torch.from_numpy(draw_pair(number, height, width)[0]).permute(2, 0, 1))
        shape = (height, width)
        samples.append(DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))))
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples))
    return data["inputs"], data["data_samples"]


@torch.no_grad()
def reference(model: torch.nn.Module, inputs: torch.Tensor, samples: list) -> list:
    return [sample.pred_instances for sample in model.predict(inputs, samples, rescale=False)]


def run(path, inputs: torch.Tensor) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(str(path)).run(None, {"input": inputs.numpy()})


def assert_equal(expected: list, outputs: list[np.ndarray], samples: list) -> None:
    """Whether boxes, scores, classes and masks of each image are those of MMDetection, in its order."""
    # Not at the top, where it would come before lesionseg, which gives mmcv its operators.
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    dets, labels, masks = outputs
    assert dets.shape == (len(expected), MOST, 5)
    assert dets.dtype == masks.dtype == np.float32
    assert labels.dtype == np.int64
    for image, instances in enumerate(expected):
        count = len(instances)
        np.testing.assert_allclose(dets[image, :count, :4], instances.bboxes, atol=1e-3)
        np.testing.assert_allclose(dets[image, :count, 4], instances.scores, atol=1e-5)
        assert labels[image, :count].tolist() == instances.labels.tolist()
        assert not dets[image, count:].any()
        assert not masks[image, count:].any()
        assert (labels[image, count:] == -1).all()
        height, width = samples[image].img_shape
        if masks.shape[-1] == 28:
            found = torch.from_numpy(masks[image, :count, None])
            found = _do_paste_mask(found, instances.bboxes, height, width, skip_empty=False)[0].numpy()
        else:
            found = masks[image, :count, :height, :width]
        assert ((found >= 0.5) != instances.masks.numpy()).sum() <= 1e-4 * found.size


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return build(tiny_config())


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    export_mask_rcnn(model, deploy_config("onnxruntime_dynamic"), path, TRACED)
    return path


@pytest.mark.parametrize("sizes", BATCHES.values(), ids=BATCHES)
def test_it_gives_what_mmdetection_gives(model, exported, sizes):
    inputs, samples = preprocess(model, sizes)
    expected = reference(model, inputs, samples)
    assert all(len(instances) > 1 for instances in expected)
    assert_equal(expected, run(exported, inputs), samples)


def test_boxes_end_where_the_image_does_and_not_its_padding(model, exported):
    inputs, samples = preprocess(model, BATCHES["mixed"])
    ends = run(exported, inputs)[0][:, :, 2:4].max(1)
    sizes = np.array([sample.img_shape[::-1] for sample in samples])
    assert (ends <= sizes).all()
    # Boxes that reach the end exactly were clipped there, before the padding's end.
    assert ((ends == sizes) & (sizes < inputs.shape[:1:-1])).any()


def test_an_image_without_proposals_has_no_detections(model, exported):
    inputs, samples = preprocess(model, [(64, 96)])
    # All of it is padding, so no proposal has an area.
    batch = torch.cat([torch.zeros_like(inputs), inputs])
    dets, labels, masks = run(exported, batch)
    assert not dets[0].any()
    assert not masks[0].any()
    assert (labels[0] == -1).all()
    assert_equal(reference(model, inputs, samples), [dets[1:], labels[1:], masks[1:]], samples)
    assert not run(exported, torch.zeros_like(inputs))[0].any()


def test_other_kinds_of_backbones_and_heads_and_pasted_masks(tmp_path):
    vit = dict(type="TIMMVisionTransformer", model_name="vit_tiny_patch16_224", img_size=64, embed_dim=8, depth=4)
    changes = {
        "backbone": dict(_delete_=True, **vit, num_heads=2, out_indices=(0, 1, 2, 3)),
        "neck": [
            dict(type="mmseg.Feature2Pyramid", embed_dim=8, norm_cfg=dict(type="BN")),
            dict(type="FPN", in_channels=[8] * 4, out_channels=8, num_outs=5),
        ],
        "rpn_head.loss_cls": dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
        "roi_head.bbox_head.reg_class_agnostic": True,
        "roi_head.mask_head.class_agnostic": True,
        "test_cfg.rpn.min_bbox_size": 8,
    }
    model = build(tiny_config(**changes))
    export_mask_rcnn(model, deploy_config("onnxruntime-pasted_dynamic"), tmp_path / "pasted.onnx", TRACED)
    inputs, samples = preprocess(model, BATCHES["mixed"])
    outputs = run(tmp_path / "pasted.onnx", inputs)
    assert outputs[2].shape == (3, MOST, *inputs.shape[2:])
    assert_equal(reference(model, inputs, samples), outputs, samples)


def test_static_size(model, tmp_path):
    export_mask_rcnn(model, deploy_config("onnxruntime_static-512x512"), tmp_path / "static.onnx", (128, 96))
    graph = onnx.load(tmp_path / "static.onnx").graph
    assert [size.dim_value for size in graph.input[0].type.tensor_type.shape.dim] == [1, 3, 128, 96]
    inputs, samples = preprocess(model, [(121, 90)])
    assert_equal(reference(model, inputs, samples), run(tmp_path / "static.onnx", inputs), samples)


def test_the_file_is_valid_and_of_standard_operators(exported):
    onnx.checker.check_model(str(exported), full_check=True)
    graph = onnx.shape_inference.infer_shapes(onnx.load(exported), strict_mode=True)
    assert {node.domain for node in graph.graph.node} == {""}
    assert [entry.domain for entry in graph.opset_import] == [""]
    assert [value.name for value in graph.graph.input] == ["input"]
    assert [value.name for value in graph.graph.output] == ["dets", "labels", "masks"]


def test_openvino_runs_the_same_file(model, exported):
    # Some processors would compute in bfloat16.
    compiled = openvino.Core().compile_model(str(exported), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for name in ("small", "wide", "mixed"):
        inputs, samples = preprocess(model, BATCHES[name])
        outputs = compiled(inputs.numpy())
        assert_equal(reference(model, inputs, samples), [outputs[index] for index in range(3)], samples)


def test_an_export_changes_nothing_else(model, exported, tmp_path):
    def plain_export() -> bytes:
        buffer = io.BytesIO()
        layer = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.GELU(), torch.nn.AdaptiveAvgPool2d(1))
        layer.load_state_dict({key: torch.ones_like(value) for key, value in layer.state_dict().items()})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(layer, torch.zeros(1, 3, 32, 48), buffer, dynamo=False, opset_version=17)
        return buffer.getvalue()

    from mmdeploy.core import FUNCTION_REWRITER

    inputs, samples = preprocess(model, BATCHES["mixed"])
    types = [type(module) for module in model.modules()]
    functions = (torch.topk, torch.Tensor.__setitem__, type(model).forward, type(model.rpn_head).predict_by_feat)
    records = copy.deepcopy({path: len(found) for path, found in FUNCTION_REWRITER._registry._rewrite_records.items()})
    before, predicted = plain_export(), reference(model, inputs, samples)

    export_mask_rcnn(model, deploy_config("onnxruntime_dynamic"), tmp_path / "again.onnx", TRACED)

    assert (tmp_path / "again.onnx").read_bytes() == exported.read_bytes()
    assert plain_export() == before
    assert functions == (
        *(torch.topk, torch.Tensor.__setitem__, type(model).forward, type(model.rpn_head).predict_by_feat),
    )
    assert records == {path: len(found) for path, found in FUNCTION_REWRITER._registry._rewrite_records.items()}
    assert types == [type(module) for module in model.modules()]
    for one, other in zip(predicted, reference(model, inputs, samples), strict=True):
        assert torch.equal(one.bboxes, other.bboxes)
        assert torch.equal(one.masks, other.masks)


def other(name: str) -> Callable[[dict], dict]:
    """Replaces the model by one of MMDetection's own configs."""
    return lambda _: dict(get_config(f"mmdet::{name}").model, backbone=dict(type="ResNet", depth=18))


def no_masks(config: dict) -> dict:
    roi_head = {key: value for key, value in config["roi_head"].items() if "mask" not in key}
    return dict(config, type="TwoStageDetector", roi_head=roi_head)


def soft_nms(config: dict) -> dict:
    config["test_cfg"]["rcnn"]["nms"] = dict(type="soft_nms", iou_threshold=0.5)
    return config


def all_anchors(config: dict) -> dict:
    config["test_cfg"]["rpn"]["nms_pre"] = -1
    return config


def whole_mean(config: dict) -> dict:
    config["data_preprocessor"]["mean"] = [128, 128, 128]
    return config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other("cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py"), r"detector is a CascadeRCNN, expected MaskRCNN"),
        (other("retinanet/retinanet_r50_fpn_1x_coco.py"), r"detector is a RetinaNet, expected MaskRCNN"),
        (no_masks, r"mask head is missing, expected FCNMaskHead"),
        (soft_nms, r"test_cfg\.rcnn\.nms: is .*soft_nms"),
        (all_anchors, r"test_cfg\.rpn\.nms_pre: is not set"),
        (whole_mean, r"a normalised pixel may be 0, as padding is"),
    ],
)
def test_what_it_cannot_export_is_refused(change, message, tmp_path):
    with DefaultScope.overwrite_default_scope("mmdet"):
        unsupported = MODELS.build(change(tiny_config()))
    with pytest.raises(DataError, match=message):
        export_mask_rcnn(unsupported, deploy_config("onnxruntime_dynamic"), tmp_path / "model.onnx", TRACED)
    assert not list(tmp_path.iterdir())
