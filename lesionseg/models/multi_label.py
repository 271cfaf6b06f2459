"""Segmentation of several findings, of which a pixel may belong to more than one: a sigmoid channel for each."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads import SegformerHead
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional

from lesionseg.pixels.findings import IGNORED, has_finding


class MultiLabelHead:
    """What a decode head of MMSegmentation becomes with this class before it: one that tells findings apart.

    Its losses take (N, C, H, W) logits and targets, see `lesionseg.models.losses`. Binary segmentation is one finding.

    Args:
        num_classes: how many findings there are; no background is among them.
        kwargs: as for the head.
    """

    loss_decode: nn.Module
    out_channels: int
    align_corners: bool

    def __init__(self, *, num_classes: int, **kwargs: Any) -> None:
        # Where there is one channel, upstream decides at 0.3.
        super().__init__(num_classes=num_classes, out_channels=num_classes, threshold=0.5, **kwargs)  # type: ignore[call-arg]

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            seg_logits: (N, C, h, w), a channel for each finding.
            batch_data_samples: `gt_sem_seg` holds the codes of `lesionseg.pixels.findings`, see `multi_label_targets`.

        Returns:
            float32 scalars by name.
        """
        targets = multi_label_targets(batch_data_samples, self.out_channels)
        logits = resize(seg_logits, targets.shape[2:], mode="bilinear", align_corners=self.align_corners)
        losses = self.loss_decode if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]
        with torch.autocast(logits.device.type, enabled=False):
            return {loss.loss_name: loss(logits.float(), targets) for loss in losses}


@MODELS.register_module()
class MultiLabelSegformerHead(MultiLabelHead, SegformerHead):
    """SegFormer's (Xie et al. 2021, arXiv 2105.15203), with a channel for each finding."""


def multi_label_targets(samples: Sequence[SegDataSample], findings: int) -> Tensor:
    """Take the true findings from data samples.

    Args:
        samples: `gt_sem_seg` is a (1, H, W) tensor of codes, 255 beyond the picture. Where a sample has `findings`, all
            names, those that are not in its `mask_paths` were not looked for.
        findings: how many there are.

    Returns:
        (N, C, H, W) uint8, 1 = there, 0 = not there, 255 = not known.
    """
    codes = torch.cat([sample.gt_sem_seg.data for sample in samples]).to(torch.uint8)
    targets = torch.stack([has_finding(codes, number) for number in range(findings)], 1).to(torch.uint8)
    targets.masked_fill_((codes == IGNORED)[:, None], IGNORED)
    for target, sample in zip(targets, samples, strict=True):
        for number, finding in enumerate(sample.metainfo.get("findings", ())):
            if finding not in sample.mask_paths:
                target[number] = IGNORED
    return targets


@MODELS.register_module()
class MultiLabelEncoderDecoder(EncoderDecoder):
    """Predicts every finding for itself: it is where its logit is above 0, a probability of one half.

    `pred_sem_seg` holds codes, see `lesionseg.pixels.findings`, which of a single finding are class indices;
    `seg_logits` is (C, H, W), one channel for each finding.
    """

    def postprocess_result(
        self, seg_logits: Tensor, data_samples: Sequence[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Bring logits to the original images and decide; see `EncoderDecoder`."""
        # To upstream, a single channel is something else than one of several: it gets a background, which goes again.
        samples = super().postprocess_result(functional.pad(seg_logits, (0, 0, 0, 0, 1, 0)), data_samples)
        for sample in samples:
            logits = sample.seg_logits.data[1:]
            sample.set_data(dict(seg_logits=PixelData(data=logits), pred_sem_seg=PixelData(data=codes_of(logits))))
        return samples


def codes_of(logits: Tensor) -> Tensor:
    """Decide which findings are where: (C, H, W) logits -> (1, H, W) int64 codes."""
    bits = 2 ** torch.arange(len(logits), device=logits.device)
    return ((logits > 0) * bits[:, None, None]).sum(0, keepdim=True)
