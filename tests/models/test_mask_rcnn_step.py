"""A training step of all images at once, against MMDetection's of one after the other."""

import numpy as np
import pytest
import torch
from helpers import ROOT
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from lesionseg.engine.config import Options, load_config
from lesionseg.inference.runtimes.torch_model import build_module
from lesionseg.models import mask_rcnn
from lesionseg.models.mask_rcnn import best_of_levels, pool_regions
from lesionseg.models.region_targets import IGNORED, NEGATIVE, draw

SMALL = str(ROOT / "configs/mask_rcnn/mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160.py")
# Nothing is left to draw.
ALL_REGIONS = ["model.train_cfg.rpn.sampler.num=9999", "model.train_cfg.rcnn.sampler.num=999"]
HEIGHT, WIDTH = 64, 96


def build(*options):
    torch.manual_seed(0)
    return build_module(load_config(Options(SMALL, cfg_options=options)), SMALL).train()


def both(*options):
    """The model of the config, and MMDetection's with the same weights."""
    model, upstream = build(*options), build("model.type=MaskRCNN", *options)
    upstream.load_state_dict(model.state_dict())
    return model, upstream


def draw_image(boxes, height=HEIGHT, width=WIDTH):
    """An image of noise, and its lesions as a data sample; a lesion fills all of its box but a corner."""
    masks = np.zeros((len(boxes), height, width), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 1
        mask[top : (top + bottom) // 2, left : (left + right) // 2] = 0
    sample = DetDataSample(metainfo=dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1, 1)))
    sample.gt_instances = InstanceData(
        bboxes=HorizontalBoxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4)),
        labels=torch.zeros(len(boxes), dtype=torch.int64),
        masks=BitmapMasks(masks, height, width),
    )
    sample.ignored_instances = InstanceData(bboxes=HorizontalBoxes(torch.zeros(0, 4)))
    noise = torch.randint(256, (3, height, width), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return noise, sample


def losses_of(model, images):
    """Losses by name, and the gradients of their sum."""
    inputs, samples = zip(*images, strict=True)
    batch = model.data_preprocessor(dict(inputs=list(inputs), data_samples=list(samples)), training=True)
    torch.manual_seed(2)
    total, named = model.parse_losses(model(**batch, mode="loss"))
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(total, list(parameters.values()))
    return named, dict(zip(parameters, gradients, strict=True))


@pytest.mark.parametrize(
    "images",
    [
        # One, several that overlap and at the border, none, and a smaller image that is padded.
        [
            ([[20, 10, 70, 50]],),
            ([[0, 0, 30, 40], [10, 5, 44, 64], [50, 20, 96, 60]],),
            ([],),
            ([[5, 5, 30, 25]], 32, 64),
        ],
        [([],), ([],)],
    ],
)
@pytest.mark.parametrize("on_a_gpu", [False, True])
def test_losses_and_gradients_are_upstreams_where_all_regions_are_drawn(images, on_a_gpu, monkeypatch):
    monkeypatch.setattr(mask_rcnn, "shapes_stay", lambda tensor: on_a_gpu)
    results = [losses_of(model, [draw_image(*image) for image in images]) for model in both(*ALL_REGIONS)]
    (losses, gradients), (expected, expected_gradients) = results
    assert losses.keys() == expected.keys()
    torch.testing.assert_close(losses, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradients, expected_gradients, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("options", [[], ["model.train_cfg.rpn_proposal.max_per_img=7"]])
def test_a_gpu_proposes_the_same_regions(options):
    model = build("model.train_cfg.rpn_proposal.min_bbox_size=12", *options)
    generator = torch.Generator().manual_seed(0)
    counts = [60, 0, 33, 5]
    boxes = 80 * torch.rand(3, sum(counts), 4, generator=generator)
    boxes[..., 2:] = boxes[..., :2] + 40 * torch.rand(3, sum(counts), 2, generator=generator)
    scores = torch.rand(3, sum(counts), generator=generator)
    scores[0, 10:30], scores[1, 5:9], scores[2, :] = -1, 0.5, -1
    boxes[1, :20] = boxes[1, :1]
    expected = model._suppress(boxes, scores, counts)
    iou_threshold = model.train_cfg.rpn_proposal.nms.iou_threshold
    found = best_of_levels(boxes, scores, counts, iou_threshold, most=expected.boxes.shape[1])
    assert torch.equal(found.usable.sum(1), expected.usable.sum(1))
    assert expected.usable.sum(1).min() == 0
    assert torch.equal(found.boxes[found.usable], expected.boxes[expected.usable])


def test_settings_that_a_step_at_once_does_not_know_train_as_upstream():
    options = ["model.train_cfg.rcnn.sampler.neg_pos_ub=3", "model.train_cfg.rcnn.sampler.num=8"]
    images = [([[20, 10, 70, 50]],), ([[0, 0, 30, 40]],)]
    (losses, _), (expected, _) = (
        losses_of(model, [draw_image(*image) for image in images]) for model in both(*options)
    )
    # The draw of the regions, too, is upstream's.
    assert losses == expected


ASSIGNER, RPN, ROI = "model.train_cfg.rpn.assigner.", "model.rpn_head.", "model.roi_head."


@pytest.mark.parametrize(
    "options",
    [
        ["model.train_cfg.rpn.sampler={'_delete_':True,'type':'PseudoSampler'}"],
        [ASSIGNER + "iou_calculator.type=BboxOverlaps2D_GLIP"],
        [ASSIGNER + "gt_max_assign_all=False"],
        [RPN + "bbox_coder.clip_border=False"],
        [RPN + "bbox_coder.add_ctr_clamp=True"],
        [RPN + "anchor_generator.centers=[(8,8),(16,16),(32,32),(64,64),(128,128)]"],
        # Its statistics would be of regions, too, that are not drawn.
        [ROI + "mask_head.norm_cfg.type=BN"],
        [ROI + "bbox_head.type=Shared4Conv1FCBBoxHead", ROI + "bbox_head.norm_cfg.type=SyncBN"],
        ["model.train_cfg.rpn_proposal.nms.split_thr=100"],
        ["model.train_cfg.rpn_proposal={'_delete_':True,'max_per_img':50,'nms':{'iou_threshold':0.7}}"],
    ],
    ids=lambda options: options[-1].rsplit(".", 1)[-1][:40],
)
def test_other_parts_and_settings_are_left_to_upstream(options):
    model = build(*options)
    noise, sample = draw_image([[20, 10, 70, 50]])
    batch = model.data_preprocessor(dict(inputs=[noise], data_samples=[sample]), training=True)
    assert model.stack_truth(batch["data_samples"]) is None


def test_a_few_instances_are_drawn_and_background_fills_up():
    assigned = torch.full((3, 50), IGNORED)
    assigned[0, :20] = torch.arange(20) % 3
    assigned[0, 20:45] = NEGATIVE
    assigned[1, 7] = 2
    assigned[1, 10:40] = NEGATIVE
    assigned[2, 30:33] = NEGATIVE
    seen = set()
    for seed in range(30):
        torch.manual_seed(seed)
        index, drawn = draw(assigned, count=12, most_positive=4)
        assert index.shape == drawn.shape == (3, 12)
        found = [assigned[row][index[row][drawn[row]]] for row in range(3)]
        assert [(int((each >= 0).sum()), int((each == NEGATIVE).sum())) for each in found] == [(4, 8), (1, 11), (0, 3)]
        assert all(len(set(row.tolist())) == 12 for row in index)
        seen |= set(index[0].tolist())
    assert seen == set(range(45))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("on_a_gpu", [False, True])
def test_regions_keep_their_precision_whatever_the_maps_have(dtype, on_a_gpu, monkeypatch):
    monkeypatch.setattr(mask_rcnn, "shapes_stay", lambda tensor: on_a_gpu)
    layer = dict(type="RoIAlign", output_size=2, sampling_ratio=0)
    extractor = SingleRoIExtractor(layer, out_channels=3, featmap_strides=[4, 8], finest_scale=56)
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, size, size, generator=generator).to(dtype) for size in (128, 64)]
    # Of the second map, of the first, and of the first again; bfloat16 has steps of two pixels here.
    rois = torch.tensor([[0, 301.25, 303.5, 500.75, 480], [1, 290.25, 291, 330.5, 321.75], [0, 257, 259, 299, 311]])
    expected = extractor([each.float() for each in maps], rois).to(dtype)
    torch.testing.assert_close(pool_regions(extractor, maps, rois), expected, atol=0, rtol=0)
    assert pool_regions(extractor, maps, rois[:0]).shape == (0, 3, 2, 2)
