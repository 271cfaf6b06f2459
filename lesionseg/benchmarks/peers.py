"""Training steps of other projects' models, in their sizes for a config: what people would use in its place."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from torch import Tensor, nn

from lesionseg.engine.families import INSTANCES, family_of
from lesionseg.errors import DataError

MASK2FORMER, MASK_RCNN, UNET = PEERS = "transformers' Mask2Former", "torchvision's Mask R-CNN", "smp's U-Net"
_PACKAGES = {MASK2FORMER: "transformers", MASK_RCNN: "torchvision", UNET: "segmentation_models_pytorch"}
# Blocks of the stages of a ResNet, and whether they are bottlenecks, as in torchvision.
_RESNETS = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True), 101: ((3, 4, 23, 3), True)}


class Lesions(NamedTuple):
    """A batch as every peer takes it.

    Attributes:
        images: (N, 3, H, W) float32, normalised.
        masks: N tensors (K, H, W) bool, of the K lesions of an image.
        boxes: N tensors (K, 4) float32: left, top, right, bottom in pixels.
    """

    images: Tensor
    masks: list[Tensor]
    boxes: list[Tensor]


def peers_of(cfg: Config) -> list[str]:
    """The peers of a config: a Mask2Former or a Mask R-CNN of the same backbone and sizes, and a U-Net.

    Raises:
        DataError: the config's backbone is no ResNet that they have.
    """
    if cfg.model.backbone.get("depth") not in _RESNETS:
        raise DataError(
            f"{cfg.filename}: its backbone is a {cfg.model.backbone.type}, expected a ResNet with a depth of "
            f"{', '.join(map(str, _RESNETS))} for --peers. Choose another config, or leave --peers out."
        )
    if family_of(cfg).task == INSTANCES:
        return [MASK_RCNN, UNET]
    return [MASK2FORMER, UNET] if "Mask2Former" in cfg.model.decode_head.type else [UNET]


def check_peer(name: str) -> None:
    """See that a peer's package is installed.

    Raises:
        DataError: it is not.
    """
    from importlib.util import find_spec

    if find_spec(_PACKAGES[name]) is None:
        raise DataError(
            f"{_PACKAGES[name]}: not installed, expected it for --peers. Install the extra peers: `uv sync`, or "
            "`pip install .[peers]`."
        )


def build_peer(name: str, cfg: Config, bfloat16: bool) -> Callable[[Lesions], Tensor]:
    """Build a peer with random weights, and give its training step.

    Args:
        name: one of `PEERS`.
        cfg: the config whose backbone, sizes and optimizer it takes.
        bfloat16: whether it computes in mixed precision.

    Returns:
        takes a step of AdamW on a batch and gives the loss before it, a scalar.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model, loss = {MASK2FORMER: _mask2former, MASK_RCNN: _mask_rcnn, UNET: _unet}[name](cfg)
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step(batch: Lesions) -> Tensor:
        batch = Lesions(
            batch.images.to(device), [m.to(device) for m in batch.masks], [b.to(device) for b in batch.boxes]
        )
        with torch.autocast(device, torch.bfloat16) if bfloat16 else nullcontext():
            value = loss(batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.detach()

    return step


_Peer = tuple[nn.Module, Callable[[Lesions], Tensor]]


def _mask2former(cfg: Config) -> _Peer:
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig

    head = cfg.model.decode_head
    depths, bottleneck = _RESNETS[cfg.model.backbone.depth]
    layer = head.transformer_decoder.layer_cfg
    model = Mask2FormerForUniversalSegmentation(
        Mask2FormerConfig(  # type: ignore[call-arg]  # Its parent takes num_labels.
            backbone_config=ResNetConfig(  # type: ignore[call-arg]  # Out of a mixin it takes out_features.
                depths=list(depths),
                layer_type="bottleneck" if bottleneck else "basic",
                hidden_sizes=[width * (4 if bottleneck else 1) for width in (64, 128, 256, 512)],
                out_features=["stage1", "stage2", "stage3", "stage4"],
            ),
            feature_size=head.feat_channels,
            mask_feature_size=head.out_channels,
            hidden_dim=head.feat_channels,
            encoder_layers=head.pixel_decoder.encoder.num_layers,
            encoder_feedforward_dim=head.pixel_decoder.encoder.layer_cfg.ffn_cfg.feedforward_channels,
            # Its count has one for the queries before the first layer.
            decoder_layers=head.transformer_decoder.num_layers + 1,
            num_attention_heads=layer.cross_attn_cfg.num_heads,
            dim_feedforward=layer.ffn_cfg.feedforward_channels,
            num_queries=head.num_queries,
            train_num_points=head.train_cfg.num_points,
            num_labels=head.num_classes,
        )
    )

    def loss(batch: Lesions) -> Tensor:
        # The background is a class of its own to MMSegmentation.
        masks = [torch.cat([~each.any(dim=0, keepdim=True), each]).float() for each in batch.masks]
        labels = [torch.tensor([0] + [1] * (len(each) - 1), device=each.device) for each in masks]
        value: Tensor = model(pixel_values=batch.images, mask_labels=masks, class_labels=labels).loss
        return value.sum()

    return model, loss


def _mask_rcnn(cfg: Config) -> _Peer:
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    backbone = resnet_fpn_backbone(
        backbone_name=f"resnet{cfg.model.backbone.depth}", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
    )
    # Images come in their size, normalised.
    model = MaskRCNN(backbone, num_classes=2, min_size=1, max_size=10_000, image_mean=[0, 0, 0], image_std=[1, 1, 1])

    def loss(batch: Lesions) -> Tensor:
        model.transform.min_size = (min(batch.images.shape[-2:]),)
        targets = [
            {
                "boxes": boxes,
                "labels": torch.ones(len(boxes), dtype=torch.long, device=boxes.device),
                "masks": masks.byte(),
            }
            for boxes, masks in zip(batch.boxes, batch.masks, strict=True)
        ]
        return torch.stack(list(model(list(batch.images), targets).values())).sum()

    return model, loss


def _unet(cfg: Config) -> _Peer:
    import segmentation_models_pytorch as smp

    model = smp.Unet(f"resnet{cfg.model.backbone.depth}", encoder_weights=None)
    dice = smp.losses.DiceLoss("binary")

    def loss(batch: Lesions) -> Tensor:
        union = torch.stack([each.any(dim=0) for each in batch.masks])
        value: Tensor = dice(model(batch.images), union[:, None].float())
        return value

    return model, loss


def lesions(inputs: Tensor, data_samples: Sequence[Any]) -> Lesions:
    """Bring a batch of MMSegmentation or MMDetection, after its data preprocessor, into a peer's form."""
    masks = []
    for sample in data_samples:
        if "gt_sem_seg" in sample:
            label = sample.gt_sem_seg.data
            masks.append(label == 1)
        else:
            masks.append(sample.gt_instances.masks.to_tensor(torch.bool, inputs.device))
    return Lesions(inputs.float().contiguous(), masks, [_boxes(each) for each in masks])


def _boxes(masks: Tensor) -> Tensor:
    from torchvision.ops import masks_to_boxes

    boxes = masks_to_boxes(masks) if masks.any() else masks.new_zeros((len(masks), 4), dtype=torch.float)
    # Of pixels' edges, not of their centres.
    boxes[:, 2:] += 1
    return boxes
