"""Other projects' models that tools/benchmark.py times beside ours."""

import pytest
import torch
from helpers import MASK2FORMER, ROOT
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData

from lesionseg.benchmarks import peers
from lesionseg.benchmarks.peers import MASK2FORMER as TRANSFORMERS
from lesionseg.benchmarks.peers import MASK_RCNN, PEERS, UNET, Lesions, build_peer, check_peer, lesions, peers_of
from lesionseg.engine.config import Options, load_config
from lesionseg.errors import DataError

CONFIGS = ROOT / "configs"
SMALL_MASK_RCNN = CONFIGS / "mask_rcnn/mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160.py"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (MASK2FORMER, [TRANSFORMERS, UNET]),
        (SMALL_MASK_RCNN, [MASK_RCNN, UNET]),
    ],
)
def test_peers_are_of_the_same_task(config, expected):
    assert peers_of(load_config(Options(config))) == expected


def test_a_backbone_that_peers_lack_is_told():
    config = CONFIGS / "segformer/segformer_mit-b0_1xb8-amp-albu-2500i_isic2018-128x128.py"
    with pytest.raises(DataError, match="MixVisionTransformer, expected a ResNet with a depth of 18, 34, 50, 101"):
        peers_of(load_config(Options(config)))


def test_a_peer_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(peers._PACKAGES, UNET, "no_such_package")
    with pytest.raises(DataError, match=r"no_such_package: not installed.*pip install \.\[peers\]"):
        check_peer(UNET)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_learns_a_batch(name):
    pytest.importorskip(peers._PACKAGES[name])
    masks = torch.zeros(1, 64, 96, dtype=torch.bool)
    masks[:, 16:48, 20:80] = True
    images = torch.where(masks, -1.0, 1.0).expand(2, 3, 64, 96)
    boxes = torch.tensor([[20.0, 16.0, 80.0, 48.0]])
    step = build_peer(name, load_config(Options(SMALL_MASK_RCNN if name == MASK_RCNN else MASK2FORMER)), bfloat16=False)
    losses = [step(Lesions(images, [masks, masks], [boxes, boxes])) for _ in range(3 if name == MASK_RCNN else 6)]
    assert min(losses) < losses[0]


def test_label_maps_and_instances_become_the_same_lesions():
    from mmdet.structures import DetDataSample
    from mmseg.structures import SegDataSample

    mask = torch.zeros(1, 5, 7, dtype=torch.uint8)
    mask[:, 1:3, 2:6] = 1
    semantic = SegDataSample(gt_sem_seg=PixelData(data=mask.long()))
    instances = DetDataSample(gt_instances=InstanceData(masks=BitmapMasks(mask.numpy(), 5, 7)))
    for sample in (semantic, instances):
        found = lesions(torch.zeros(1, 3, 5, 7), [sample])
        assert torch.equal(found.masks[0], mask.bool())
        assert found.boxes[0].tolist() == [[2, 1, 6, 3]]
