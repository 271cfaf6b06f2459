"""A batch that is brought to the model as one tensor is what upstream makes of it image by image."""

import copy

import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData, PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample

from lesionseg.models.batch_preprocessor import BatchDetDataPreprocessor, BatchSegDataPreProcessor

NORMALISED = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def batch(sizes):
    generator = torch.Generator().manual_seed(0)
    images, samples = [], []
    for number, size in enumerate(sizes):
        images.append(torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator))
        labels = torch.randint(0, 2, (1, *size), generator=generator)
        labels[0, 0, 0] = 255
        metainfo = dict(image_id=str(number), img_shape=size, ori_shape=(9, 9))
        samples.append(SegDataSample(metainfo=metainfo, gt_sem_seg=PixelData(data=labels)))
    return dict(inputs=images, data_samples=samples)


ONE_SIZE, TWO_SIZES = [(16, 20)] * 3, [(16, 20), (16, 18)]
PADDED = dict(NORMALISED, bgr_to_rgb=True, size=(20, 24))
BY_DIVISOR = dict(NORMALISED, size_divisor=32, pad_val=7, seg_pad_val=3)


@pytest.mark.parametrize(
    ("settings", "training", "sizes"),
    [
        (PADDED, True, ONE_SIZE),
        (PADDED, True, TWO_SIZES),
        (PADDED, False, ONE_SIZE),
        (dict(PADDED, size=(16, 20)), True, ONE_SIZE),
        # As it comes, and larger than the size.
        (dict(size=(8, 8)), True, ONE_SIZE),
        (BY_DIVISOR, True, ONE_SIZE),
        (BY_DIVISOR, True, TWO_SIZES),
    ],
)
def test_a_batch_is_upstreams(settings, training, sizes):
    data = batch(sizes)
    theirs = SegDataPreProcessor(**settings)
    expected = theirs(copy.deepcopy(data), training)
    found = BatchSegDataPreProcessor(**settings)(data, training)
    assert torch.equal(found["inputs"], expected["inputs"])
    for ours, other in zip(found["data_samples"], expected["data_samples"], strict=True):
        assert torch.equal(ours.gt_sem_seg.data, other.gt_sem_seg.data)
        assert ours.gt_sem_seg.data.dtype == torch.int64
        assert ours.metainfo == other.metainfo


def test_the_batch_that_comes_is_left_as_it_is():
    data = batch([(16, 20)] * 2)
    before = copy.deepcopy(data)
    BatchSegDataPreProcessor(**NORMALISED, size=(32, 32))(data, True)
    assert all(torch.equal(*pair) for pair in zip(data["inputs"], before["inputs"], strict=True))
    for sample, other in zip(data["data_samples"], before["data_samples"], strict=True):
        assert torch.equal(sample.gt_sem_seg.data, other.gt_sem_seg.data)
        assert sample.metainfo == other.metainfo


def batch_of_instances(sizes):
    data = batch(sizes)
    data["data_samples"] = [DetDataSample(metainfo=sample.metainfo) for sample in data["data_samples"]]
    for sample in data["data_samples"]:
        boxes = HorizontalBoxes(torch.tensor([[1.0, 2.0, 9.0, 8.0]]))
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.zeros(1, dtype=torch.int64))
    return data


@pytest.mark.parametrize("settings", [dict(NORMALISED, bgr_to_rgb=True, pad_value=3), {}])
@pytest.mark.parametrize("divisor", [1, 32])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("sizes", [[(16, 20)] * 2, [(16, 20), (24, 18), (5, 32)]], ids=["one size", "several"])
def test_a_batch_of_instances_is_mmdetections(settings, divisor, training, sizes):
    data, settings = batch_of_instances(sizes), dict(settings, pad_size_divisor=divisor)
    expected = DetDataPreprocessor(**settings)(copy.deepcopy(data), training)
    found = BatchDetDataPreprocessor(**settings)(data, training)
    assert torch.equal(found["inputs"], expected["inputs"])
    for ours, other in zip(found["data_samples"], expected["data_samples"], strict=True):
        assert torch.equal(ours.gt_instances.bboxes, other.gt_instances.bboxes)
        assert ours.metainfo == other.metainfo


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_batch_on_a_gpu():
    data, settings = batch([(16, 20)] * 3), dict(NORMALISED, bgr_to_rgb=True, size=(20, 24))
    expected = SegDataPreProcessor(**settings)(copy.deepcopy(data), True)
    found = BatchSegDataPreProcessor(**settings).cuda()(data, True)
    torch.testing.assert_close(found["inputs"].cpu(), expected["inputs"], rtol=1e-6, atol=1e-6)
    for ours, other in zip(found["data_samples"], expected["data_samples"], strict=True):
        assert torch.equal(ours.gt_sem_seg.data.cpu(), other.gt_sem_seg.data)
