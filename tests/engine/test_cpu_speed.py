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
from lesionseg.engine.cpu_speed import Bfloat16OptimWrapper, use_channels_last, use_cpu_precision

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


@pytest.mark.parametrize(
    ("gpu", "instructions", "expected"),
    [(True, True, "AmpOptimWrapper"), (False, True, "Bfloat16OptimWrapper"), (False, False, "OptimWrapper")],
)
def test_mixed_precision_is_what_the_machine_can_do(gpu, instructions, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(cpu, "computes_in_bfloat16", lambda: instructions)
    cfg = load_config(Options(R50, amp=True))
    told = use_cpu_precision(cfg)
    assert cfg.optim_wrapper.type == expected
    assert bool(told) == (not gpu)
    assert gpu or "loss_scale" not in cfg.optim_wrapper
    assert cfg.optim_wrapper.clip_grad, "the rest of the settings is lost"


def test_config_without_mixed_precision_stays_as_it_is():
    cfg = load_config(Options(R50))
    before = cfg.optim_wrapper.to_dict()
    assert use_cpu_precision(cfg) == ""
    assert cfg.optim_wrapper.to_dict() == before


def convolutions():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))


def test_features_take_over_the_layout_of_the_weights_and_stay_the_same():
    inputs = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(1))
    expected = convolutions()(inputs)
    model = convolutions()
    use_channels_last(model)
    outputs = model(inputs)
    assert outputs.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-5)


def test_layout_stays_where_several_processes_gather_gradients():
    model = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    nn.Module.__init__(model)
    model.module = convolutions()
    use_channels_last(model)
    assert all(parameter.is_contiguous() for parameter in model.parameters())
