"""How many operators a training step of the small configs dispatches, so that waste does not creep back."""

import copy

import pytest
import torch
from helpers import ROOT

from lesionseg.benchmarks.costs import dispatched_operators, gpu_work
from lesionseg.benchmarks.training import OURS, build_training
from lesionseg.engine.config import Options, load_config

# A tenth above what was counted, in float32 and with two images.
MOST = {
    "mask2former/mask2former_r18c4-w64_1xb8-amp-albu-2500i_isic2018-128x128.py": 2083,
    "mask_rcnn/mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160.py": 1574,
    "segformer/segformer_mit-b0_1xb8-amp-albu-2500i_isic2018-128x128.py": 1937,
}
# The waits of a step for a GPU; what is logged takes more, every `log_interval`.
MOST_WAITS = 5


@pytest.fixture(params=MOST)
def step(request, coco_folder):
    """The path of a config, and a training step of it."""
    changes = [f"data_root={coco_folder}", "train_dataloader.batch_size=2", "optim_wrapper.type=OptimWrapper"]
    cfg = load_config(Options(str(ROOT / "configs" / request.param), cfg_options=changes))
    cfg.optim_wrapper.pop("dtype", None)
    training = build_training(cfg, OURS)

    def take() -> None:
        training.step(copy.deepcopy(training.batches[0]))

    take()  # What is made once, and kept.
    return request.param, take


@pytest.mark.slow
def test_a_step_dispatches_no_more_operators(step):
    config, take = step
    assert dispatched_operators(take) <= MOST[config]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_step_hardly_waits_for_the_gpu(step):
    config, take = step
    take()
    assert gpu_work(take).waits <= MOST_WAITS, config
