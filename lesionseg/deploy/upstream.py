"""What OpenMMLab itself predicts: the side of a comparison that holds nothing of ours."""

import torch
from mmdet.structures import DetDataSample
from mmseg.structures import SegDataSample
from torch import nn

from lesionseg.deploy.card import ModelCard
from lesionseg.deploy.found import Found
from lesionseg.deploy.pipeline import Prepared
from lesionseg.engine.families import SEMANTIC
from lesionseg.pixels.instances import choose_instances


@torch.inference_mode()
def predict(module: nn.Module, prepared: Prepared, card: ModelCard) -> Found:
    """Let OpenMMLab's own `predict` bring a prepared image back to its original size.

    Args:
        module: EncoderDecoder or Mask R-CNN in evaluation mode.
        prepared: the image.
        card: of the model.
    """
    device = next(module.parameters()).device
    inputs = torch.from_numpy(prepared.tensor)[None].to(device)
    height, width = prepared.content
    shapes = dict(img_shape=prepared.content, ori_shape=prepared.original, pad_shape=tuple(inputs.shape[-2:]))
    if card.task == SEMANTIC:
        padding = (0, inputs.shape[3] - width, 0, inputs.shape[2] - height)
        sample = SegDataSample(metainfo=dict(shapes, img_padding_size=padding))
        found = module.predict(inputs, [sample])[0]
        return Found(found.pred_sem_seg.data[0].cpu().numpy() > 0, found.seg_logits.data.cpu().numpy())
    factors = (width / prepared.original[1], height / prepared.original[0])
    sample = DetDataSample(metainfo=dict(shapes, scale_factor=factors, batch_input_shape=shapes["pad_shape"]))
    found = module.predict(inputs, [sample])[0].pred_instances
    lesions = found[found.labels == 0]
    masks, scores = lesions.masks.cpu().numpy(), lesions.scores.cpu().numpy()
    kept = choose_instances(scores, card.score_rule, card.min_score)
    return Found(masks[kept].any(0), None, lesions.bboxes.cpu().numpy(), scores, masks)
