"""Averaging over flipped copies of an image."""

from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.models import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from lesionseg.models.multi_label import MultiLabelEncoderDecoder, codes_of


@MODELS.register_module()
class FlipTTAModel(SegTTAModel):
    """Averages over copies flipped in any direction.

    MMSegmentation flips predictions back that were flipped horizontally or vertically, and fails on an assertion for
    `diagonal`, which is both at once.
    """

    def test_step(self, data: dict[str, Any]) -> list[SegDataSample]:
        """Predict; see `mmengine.model.BaseTTAModel`.

        Args:
            data: `inputs` and `data_samples`, each a list per view with an entry per image.
        """
        for view in data["data_samples"]:
            for sample in view:
                if sample.metainfo.get("flip_direction") == "diagonal":
                    # Upstream takes this half of it back.
                    sample.set_metainfo(dict(flip_direction="vertical", flipped_horizontally_too=True))
        return super().test_step(data)

    def merge_preds(self, data_samples_list: list[list[SegDataSample]]) -> list[SegDataSample]:
        """Average the predictions of each image.

        Args:
            data_samples_list: a list per image with an entry per view, `seg_logits` (classes, H, W) float32.

        Returns:
            a sample per image. Its `seg_logits` have the averaged probabilities as their softmax, or as their sigmoid
            where findings do not exclude each other; `flip_masks` (views, findings, H, W) bool is what each view has
            as lesion.
        """
        for views in data_samples_list:
            for sample in views:
                if sample.metainfo.get("flipped_horizontally_too"):
                    sample.set_data(dict(seg_logits=PixelData(data=sample.seg_logits.data.flip(-1))))
        # Upstream's sample is the last view's.
        logits = [[view.seg_logits.data.float() for view in views] for views in data_samples_list]
        merged = super().merge_preds(data_samples_list)
        for sample, views in zip(merged, logits, strict=True):
            if isinstance(self.module, MultiLabelEncoderDecoder):
                shares = torch.stack([view.sigmoid() for view in views]).mean(0)
                # Upstream takes the classes of several channels to exclude each other.
                sample.set_data(dict(pred_sem_seg=PixelData(data=codes_of(shares - 0.5))))
                joined, masks = shares.logit(), [view > 0 for view in views]
            else:
                joined = torch.stack([view.softmax(0) for view in views]).mean(0).log()
                masks = [view[1:].amax(0, keepdim=True) > view[:1] for view in views]
            sample.set_data(dict(seg_logits=PixelData(data=joined), flip_masks=torch.stack(masks)))
        return merged
