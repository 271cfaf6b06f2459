"""Mask R-CNN to ONNX by mmdeploy, equal to PyTorch."""

import copy
from os import PathLike

import torch
from mmdet.models import (
    FCNMaskHead,
    MaskRCNN,
    RPNHead,
    Shared2FCBBoxHead,
    Shared4Conv1FCBBoxHead,
    SingleRoIExtractor,
    StandardRoIHead,
    TwoStageDetector,
)
from mmengine import Config
from torch import nn

from lesionseg.deploy.mmdeploy_shims import mmdeploy_shims
from lesionseg.deploy.position_embeddings import traced_position_embeddings
from lesionseg.engine.families import INSTANCES
from lesionseg.errors import DataError
from lesionseg.files import write_aside
from lesionseg.inference.runtimes.model import INPUT, OUTPUTS
from lesionseg.models.mask_rcnn import LesionMaskRCNN


def export_mask_rcnn(model: nn.Module, deploy_cfg: Config, path: str | PathLike, input_hw: tuple[int, int]) -> None:
    """Write a Mask R-CNN of MMDetection as an ONNX file of standard operators.

    The file's input is `input` (N, 3, H, W) float32: images in the model's channel order, normalised, and padded at the
    bottom and the right with the preprocessor's value to a multiple of its size divisor. Its outputs, for the K
    detections that the model keeps at most:

    - `dets` (N, K, 5) float32: x1 y1 x2 y2 in pixels of the input and the score, best first;
    - `labels` (N, K) int64: the classes, from 0;
    - `masks` float32: probabilities (N, K, 28, 28) in their boxes, or (N, K, H, W) where the deploy config's
      `export_postprocess_mask` is set. A pixel is inside where it is at least the model's `mask_thr_binary`.

    Rows beyond the detections are 0 and have the label -1.

    Args:
        model: The detector, with its weights. It is not changed.
        deploy_cfg: One of `configs/deploy/instance-seg_*.py`.
        path: The file to write.
        input_hw: Height and width in pixels of the image that is traced; the size of all where the deploy config has
            no dynamic axes.

    Raises:
        DataError: The model is of a kind that is not supported.
    """
    check_supported(model)
    options = deploy_cfg.onnx_config
    axes = options.get("dynamic_axes")
    # Two images where their number is free, so that it cannot become a constant of the graph.
    example = torch.randn(2 if axes else 1, 3, *input_hw)
    with write_aside(path) as aside, mmdeploy_shims():
        # Here, because importing it makes the logger that the shims silence.
        from mmdeploy.apis.core.pipeline_manager import no_mp
        from mmdeploy.apis.onnx import export

        from lesionseg.deploy.mmdeploy_rewriters import parity_rewriters

        with no_mp(), parity_rewriters(), traced_position_embeddings(model):
            export(
                # mmdeploy replaces parts of the model for good.
                copy.deepcopy(model).cpu().eval(),
                example,
                str(aside.with_suffix("")),
                # The same standard operators serve every engine; mmdeploy has own ones for others.
                backend="onnxruntime",
                context_info=dict(deploy_cfg=deploy_cfg),
                input_names=[INPUT],
                output_names=list(OUTPUTS[INSTANCES]),
                opset_version=options.opset_version,
                dynamic_axes=axes and axes.to_dict(),
                keep_initializers_as_inputs=False,
            )


def check_supported(model: nn.Module) -> None:
    """Refuse what the graph does not compute.

    Raises:
        DataError: The model is not a Mask R-CNN, or a part of it is of another kind.
    """
    _check_kind("detector", model, MaskRCNN, LesionMaskRCNN, TwoStageDetector)
    _check_kind("RPN head", model.rpn_head, RPNHead)
    _check_kind("RoI head", model.roi_head, StandardRoIHead)
    _check_kind("mask head", getattr(model.roi_head, "mask_head", None), FCNMaskHead)
    _check_kind("box head", model.roi_head.bbox_head, Shared2FCBBoxHead, Shared4Conv1FCBBoxHead)
    for extractor in (model.roi_head.bbox_roi_extractor, model.roi_head.mask_roi_extractor):
        _check_kind("RoI extractor", extractor, SingleRoIExtractor)
    box_head = model.roi_head.bbox_head
    if box_head.custom_cls_channels or not box_head.with_reg:
        raise DataError(
            "The model's box head has scores of its loss's own kind or moves no boxes, expected softmax and boxes. "
            "Export a Mask R-CNN with cross-entropy."
        )
    for stage, numbers in (("rpn", ("nms_pre", "max_per_img")), ("rcnn", ("max_per_img",))):
        config = model.test_cfg[stage]
        kind = dict(config.get("nms") or {})
        if kind.keys() != {"type", "iou_threshold"} or kind["type"] != "nms":
            raise DataError(
                f"model.test_cfg.{stage}.nms: is {kind}, expected type='nms' and an iou_threshold. Set it, and measure "
                "the model with it first."
            )
        for number in numbers:
            if config.get(number, -1) < 1:
                raise DataError(f"model.test_cfg.{stage}.{number}: is not set, expected a positive number. Set it.")
    _check_padding(model.data_preprocessor)


def _check_kind(name: str, part: object, *kinds: type) -> None:
    if type(part) not in kinds:
        found = f"is a {type(part).__name__}" if part is not None else "is missing"
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise DataError(f"The model's {name} {found}, expected {expected}. Export a Mask R-CNN of these parts.")


def _check_padding(preprocessor: nn.Module) -> None:
    """Refuse a normalisation after which a pixel of an image may be equal to padding: the graph tells them apart."""
    values = torch.arange(256.0)
    if preprocessor._enable_normalize:
        values = (values - preprocessor.mean.flatten()[:, None]) / preprocessor.std.flatten()[:, None]
    if (values == preprocessor.pad_value).reshape(-1, 256).any(1).all():
        raise DataError(
            f"model.data_preprocessor: a normalised pixel may be {preprocessor.pad_value}, as padding is, expected a "
            "mean that is no whole number, as 123.675. Train with another mean, or set pad_value."
        )
