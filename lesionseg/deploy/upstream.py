"""What OpenMMLab itself predicts: the side of a comparison that holds nothing of ours."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmseg.structures import SegDataSample
from torch import nn

from lesionseg.engine.families import SEMANTIC
from lesionseg.inference.finder import Image, Instances, Prediction
from lesionseg.inference.prepare import prepare
from lesionseg.inference.runtimes.model_card import ModelCard
from lesionseg.pixels.findings import has_finding
from lesionseg.pixels.instances import choose_instances


class Upstream:
    """OpenMMLab's own `predict` as a method; see `lesionseg.inference.finder.Finder`.

    Args:
        module: EncoderDecoder or Mask R-CNN in evaluation mode.
        card: how images go in, and which instances count.
    """

    def __init__(self, module: nn.Module, card: ModelCard) -> None:
        self.module = module
        self.card = card
        self.task = card.task

    @torch.inference_mode()
    def find(self, images: Sequence[Image], keep_scores: bool = False) -> list[Prediction]:
        """Let OpenMMLab bring prepared images back to their original sizes, one by one."""
        return [self._find(image.pixels) for image in images]

    def _find(self, pixels: np.ndarray) -> Prediction:
        prepared = prepare(pixels, self.card)
        inputs = torch.from_numpy(prepared.tensor)[None].to(next(self.module.parameters()).device)
        height, width = prepared.content
        shapes = dict(img_shape=prepared.content, ori_shape=prepared.original, pad_shape=tuple(inputs.shape[-2:]))
        if self.task == SEMANTIC:
            padding = (0, inputs.shape[3] - width, 0, inputs.shape[2] - height)
            sample = SegDataSample(metainfo=dict(shapes, img_padding_size=padding))
            found = self.module.predict(inputs, [sample])[0]
            codes = found.pred_sem_seg.data[0].cpu().numpy()
            findings = {
                name: Prediction.of_mask(has_finding(codes, number)) for number, name in enumerate(self.card.findings)
            }
            class_scores = found.seg_logits.data.cpu().numpy()
            return Prediction.of_mask(codes > 0, class_scores=class_scores, findings=findings)
        factors = (width / prepared.original[1], height / prepared.original[0])
        sample = DetDataSample(metainfo=dict(shapes, scale_factor=factors, batch_input_shape=shapes["pad_shape"]))
        found = self.module.predict(inputs, [sample])[0].pred_instances
        lesions = found[found.labels == 0]
        masks, scores = lesions.masks.cpu().numpy(), lesions.scores.cpu().numpy()
        chosen = choose_instances(scores, self.card.score_rule, self.card.min_score)
        instances = Instances(lesions.bboxes.cpu().numpy(), scores, chosen, masks.__getitem__)
        return Prediction.of_mask(masks[chosen].any(0), instances=instances)
