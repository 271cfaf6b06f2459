"""What makes a training fast on a CPU."""

import subprocess
import sys

import pytest
import torch
from helpers import ROOT
from mmengine.model import MMDistributedDataParallel
from torch import nn

from lesionseg.engine import cpu_speed as cpu
from lesionseg.engine.config import Options, load_config
from lesionseg.engine.cpu_speed import Bfloat16OptimWrapper, use_channels_last, use_precision

R50 = str(ROOT / "configs/mask2former/mask2former_r50_1xb4-20k_isic2018-512x512.py")

# Straight from malloc: what Python and torch allocate in between can keep freed memory from being given back.
FAULTS = """
import ctypes, resource, sys
from lesionseg.engine.cpu_speed import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def step():
    blocks = [libc.malloc(8 << 20) for _ in range(16)]
    for block in blocks:
        libc.memset(block, 1, 8 << 20)
    for block in reversed(blocks):
        libc.free(block)
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_freed_memory_is_not_fetched_anew_from_the_kernel():
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", FAULTS, how], text=True, cwd=ROOT))
        for how in ("keep", "give back")
    }
    pages = 5 * 16 * (8 << 20) // 4096
    assert faults["give back"] > 0.3 * pages, "nothing to save: it is never given back"
    assert faults["keep"] < 0.01 * pages


def test_forward_pass_is_bfloat16_and_the_weights_learn_in_float32():
    model = nn.Linear(4, 2)
    wrapper = Bfloat16OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=1.0))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        output = model(torch.ones(3, 4))
    assert output.dtype == torch.bfloat16
    wrapper.backward(output.float().sum())
    assert model.weight.grad.dtype == torch.float32
    wrapper.step()
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, before - 3)


def precision_of(cfg, monkeypatch, gpu, instructions):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    for name in ("computes_in_bfloat16", "gpu_computes_in_bfloat16"):
        monkeypatch.setattr(cpu, name, lambda: instructions)
    told = use_precision(cfg)
    return told, cfg.optim_wrapper


@pytest.mark.parametrize(
    ("gpu", "instructions", "expected"),
    [
        (True, True, dict(type="AmpOptimWrapper", dtype="bfloat16", loss_scale=dict(enabled=False))),
        (True, False, dict(type="AmpOptimWrapper", loss_scale="dynamic")),
        (False, True, dict(type="Bfloat16OptimWrapper")),
        (False, False, dict(type="OptimWrapper")),
    ],
)
def test_mixed_precision_is_what_the_machine_can_do(gpu, instructions, expected, monkeypatch):
    told, found = precision_of(load_config(Options(R50, amp=True)), monkeypatch, gpu, instructions)
    assert {key: found[key] for key in ("type", "dtype", "loss_scale") if key in found} == expected
    assert bool(told) == (not gpu or instructions)
    assert found.clip_grad, "the rest of the settings is lost"


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (R50, ["optim_wrapper.type=AmpOptimWrapper", "optim_wrapper.dtype=float16"]),
        # MMDetection rounds regions to the precision of the features.
        (str(ROOT / "configs/mask_rcnn/mask-rcnn_r50_fpn_1xb8-amp-10k_isic2018-512x512.py"), []),
    ],
)
def test_float16_stays_where_it_is_asked_for(config, options, monkeypatch):
    cfg = load_config(Options(config, cfg_options=options))
    before = cfg.optim_wrapper.to_dict()
    told, found = precision_of(cfg, monkeypatch, gpu=True, instructions=True)
    assert told == ""
    assert found.to_dict() == before


def test_config_without_mixed_precision_stays_as_it_is():
    cfg = load_config(Options(R50))
    before = cfg.optim_wrapper.to_dict()
    assert use_precision(cfg) == ""
    assert cfg.optim_wrapper.to_dict() == before


def convolutions():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))


def test_features_take_over_the_layout_of_the_weights_and_stay_the_same():
    inputs = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(1))
    expected = convolutions()(inputs)
    model = convolutions()
    use_channels_last(model, load_config(Options(R50)))
    outputs = model(inputs)
    assert outputs.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("amp", [False, True])
def test_a_gpu_has_the_layout_in_mixed_precision(amp):
    model = convolutions().cuda()
    use_channels_last(model, load_config(Options(R50, amp=amp)))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last) == amp


def test_layout_stays_where_several_processes_gather_gradients():
    model = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    nn.Module.__init__(model)
    model.module = convolutions()
    use_channels_last(model, load_config(Options(R50)))
    assert all(parameter.is_contiguous() for parameter in model.parameters())
