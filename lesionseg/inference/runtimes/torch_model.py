"""A config and its checkpoint, run as an exported model is."""

from os import PathLike

import numpy as np
import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.models.segmentors import EncoderDecoder
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from lesionseg.engine.checkpoint import check_fit, load_file
from lesionseg.engine.config import Options, check_checkpoint, load_config, told_as_misfit
from lesionseg.engine.families import SEMANTIC, family_of
from lesionseg.errors import DataError
from lesionseg.inference.runtimes.config_card import make_card
from lesionseg.models.multi_label import MultiLabelEncoderDecoder

_SUPPORTED = "MMSegmentation's EncoderDecoder (Mask2Former, SegFormer and others) or MMDetection's Mask R-CNN"


class TorchModel:
    """A trained model in PyTorch, on the GPU if there is one; see `lesionseg.inference.runtimes.model.Model`.

    Args:
        options: config and flags.
        checkpoint: a `.pth` file.
        device: such as `cpu`; None takes the GPU where there is one.

    Attributes:
        cfg: the config.
        module: the model of OpenMMLab, in evaluation mode.

    Raises:
        DataError: the config or the checkpoint cannot be used, they do not fit, or the model is of an unknown kind.
    """

    def __init__(self, options: Options, checkpoint: str | PathLike, device: str | None = None) -> None:
        check_checkpoint(checkpoint)
        self.path, self.batches = str(checkpoint), True
        self.cfg = load_config(options)
        init_default_scope(family_of(self.cfg).scope)
        with told_as_misfit(options.config):
            self.module = build_module(self.cfg, options.config)
        weights = load_file(checkpoint, "cpu", options.trust_checkpoint)
        check_fit(self.module, weights, str(checkpoint))
        self.module.load_state_dict(weights.get("state_dict", weights))
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.module.to(self.device)
        with told_as_misfit(options.config):
            self.card = make_card(self.cfg, self.module, options.config, checkpoint)

    @torch.inference_mode()
    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        inputs = torch.from_numpy(batch).to(self.device)
        run = semantic_scores if self.card.task == SEMANTIC else instances
        return [output.cpu().numpy() for output in run(self.module, inputs)]


def build_module(cfg: Config, config: str) -> nn.Module:
    """Build the model of a config for evaluation, without weights.

    Raises:
        DataError: its kind is not supported.
    """
    module = revert_sync_batchnorm(family_of(cfg).registry.MODELS.build(cfg.model)).eval()
    if isinstance(module, EncoderDecoder):
        if module.out_channels < 2 and not isinstance(module, MultiLabelEncoderDecoder):
            raise DataError(
                f"{config}: a head with one output channel, expected one for each class and the background. Train "
                "with out_channels=2, or a MultiLabelEncoderDecoder."
            )
        return module
    roi_head = module.roi_head if isinstance(module, TwoStageDetector) else None
    if type(roi_head) is StandardRoIHead and isinstance(getattr(roi_head, "mask_head", None), FCNMaskHead):
        return module
    parts = type(module).__name__ + (f" with {type(roi_head).__name__}" if roi_head else "")
    raise DataError(f"{config}: a model of the kind {parts}, expected {_SUPPORTED}. Only these can be used here.")


def semantic_scores(module: EncoderDecoder, inputs: torch.Tensor) -> list[torch.Tensor]:
    """Run a segmentor.

    Args:
        module: the model.
        inputs: (N, 3, H, W) float32.

    Returns:
        [(N, C, H, W) float32], what the model's `score_rule` says.
    """
    size = tuple(inputs.shape[-2:])
    shapes = dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size)
    return [module.inference(inputs, [shapes] * len(inputs))]


def instances(module: TwoStageDetector, inputs: torch.Tensor) -> list[torch.Tensor]:
    """Run a Mask R-CNN up to the masks of its head.

    Args:
        module: the model.
        inputs: (N, 3, H, W) float32, padded with zeros.

    Returns:
        [(N, K, 5) float32 boxes in pixels of the input, and scores, (N, K) int64 labels, (N, K, h, w) float32 masks],
        K the most that was found in an image of the batch; unused places have score 0.
    """
    metas = [dict(img_shape=content_size(image)) for image in inputs]
    features = module.extract_feat(inputs)
    proposals = module.rpn_head.predict(features, [DetDataSample(metainfo=meta) for meta in metas], rescale=False)
    head = module.roi_head
    found = head.predict_bbox(features, metas, proposals, head.test_cfg)
    counts = [len(instances) for instances in found]
    if not sum(counts):
        return [inputs.new_zeros(len(inputs), 0, *shape) for shape in ((5,), (), (1, 1))]
    maps = head._mask_forward(features, bbox2roi([instances.bboxes for instances in found]))["mask_preds"].sigmoid()
    if not head.mask_head.class_agnostic:
        classes = torch.cat([instances.labels for instances in found])
        maps = maps[torch.arange(len(maps)), classes][:, None]
    dets = [torch.cat([instances.bboxes, instances.scores[:, None]], 1) for instances in found]
    labels, masks = [instances.labels for instances in found], maps[:, 0].split(counts)
    return [pad_sequence(parts, batch_first=True) for parts in (dets, labels, masks)]


def content_size(image: torch.Tensor) -> tuple[int, int]:
    """The (height, width) of a normalised image, (3, H, W), without the zeros that it was padded with.

    No gray level less a mean that is not whole gives zero, so that zeros in a whole row or column are padding.
    """
    filled = (image != 0).any(0)
    height, width = (int(filled.any(axis).nonzero().max()) + 1 for axis in (1, 0))
    return height, width
