"""Deformable attention against a loop that follows the definition."""

import math
from itertools import product

import lesionseg  # noqa: F401  # isort: skip  It has to come before mmcv.ops, which then finds its operators.
import pytest
import torch
from kernel_checks import compile_for_a_gpu, run_interpreted
from mmcv.ops import multi_scale_deform_attn as attention
from operator_inputs import random
from torch.autograd import gradcheck

from lesionseg import ops
from lesionseg.ops import attention as own_attention

SIZES = [(4, 7), (2, 3)]
STARTS = torch.tensor([0, 28])


def attention_inputs(dtype=torch.float32):
    """Value, sizes, starts, locations (some outside), weights of 2 images, 34 cells, 5 queries, 2 heads, 2 levels."""
    generator = torch.Generator().manual_seed(0)
    locations = 1.4 * torch.rand(2, 5, 2, 2, 3, 2, generator=generator, dtype=dtype) - 0.2
    weights = torch.rand(2, 5, 2, 2, 3, generator=generator, dtype=dtype)
    return random(2, 34, 2, 4, dtype=dtype), torch.tensor(SIZES), STARTS, locations, weights


def loop_attention(value, locations, weights):
    def at(cells, y, x):
        """Bilinear value of (H, W, C), with zeros around."""
        total = torch.zeros(cells.shape[2])
        for row, column in product((math.floor(y), math.floor(y) + 1), (math.floor(x), math.floor(x) + 1)):
            if 0 <= row < cells.shape[0] and 0 <= column < cells.shape[1]:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * cells[row, column]
        return total

    batch, queries, heads, _, points = locations.shape[:5]
    output = torch.zeros(batch, queries, heads, value.shape[3])
    for b, q, head, (level, (height, width)), point in product(
        range(batch), range(queries), range(heads), enumerate(SIZES), range(points)
    ):
        start = int(STARTS[level])
        cells = value[b, start : start + height * width, head].view(height, width, -1)
        x, y = locations[b, q, head, level, point].tolist()
        output[b, q, head] += weights[b, q, head, level, point] * at(cells, y * height - 0.5, x * width - 0.5)
    return output.flatten(2)


@pytest.mark.parametrize("most", [1, 2**25])
def test_attention_follows_the_definition(monkeypatch, most):
    monkeypatch.setattr(own_attention, "MOST_ELEMENTS", most)
    value, sizes, starts, locations, weights = attention_inputs()
    output = ops.ms_deform_attn_forward(value, sizes, starts, locations, weights, im2col_step=64)
    torch.testing.assert_close(output, loop_attention(value, locations, weights), atol=1e-5, rtol=1e-5)
    expected = attention.multi_scale_deformable_attn_pytorch(value, sizes, locations, weights)
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("most", [1, 2**25])
def test_attention_gradient(monkeypatch, most):
    monkeypatch.setattr(own_attention, "MOST_ELEMENTS", most)
    value, sizes, starts, locations, weights = attention_inputs(torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]

    def attend(value, locations, weights):
        return attention.MultiScaleDeformableAttnFunction.apply(value, sizes, starts, locations, weights, 64)

    assert gradcheck(attend, inputs, fast_mode=True)


def test_attention_in_half_precision_rounds_only_the_result():
    value, sizes, starts, locations, weights = attention_inputs(torch.float16)
    output = attention.MultiScaleDeformableAttnFunction.apply(value, sizes, starts, locations, weights, 64)
    expected = ops.ms_deform_attn_forward(value.float(), sizes, starts, locations.float(), weights.float(), 64)
    torch.testing.assert_close(output, expected.half(), atol=0, rtol=0)


def test_attention_is_an_operator_that_tracing_understands():
    value, _, _, locations, weights = attention_inputs()
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    sizes = [edge for size in SIZES for edge in size]
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(own_attention.deformable_attention, (inputs[0], sizes, *inputs[1:]), test_utils=checks)


INTERPRETED = """
import torch
from torch.testing import assert_close
from lesionseg.ops.attention import deformable_attention, deformable_attention_backward
import lesionseg.ops.attention_kernels as kernels

sizes = (4, 7, 2, 3)
torch.manual_seed(0)
# 3 images of 34 cells; 5 queries, 2 heads of 6 channels, 2 levels, 3 points, some of them outside, and one far away.
locations, weights = 1.6 * torch.rand(3, 5, 2, 2, 3, 2) - 0.3, torch.rand(3, 5, 2, 2, 3)
locations[0, 0, 0, 0, 0] = 1e9
for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
    value, gradient = torch.randn(3, 34, 2, 6).to(dtype), torch.randn(3, 5, 12).to(dtype)
    output = kernels.attend(value, sizes, locations, weights)
    expected = deformable_attention(value, list(sizes), locations, weights)
    assert_close(output, expected, rtol=tolerance, atol=tolerance)
    gradients = kernels.attend_backward(gradient, value, sizes, locations, weights)
    expected = deformable_attention_backward(gradient, value, list(sizes), locations, weights)
    assert_close(gradients, expected, rtol=tolerance, atol=tolerance)
"""


def test_kernels_give_what_plain_pytorch_gives():
    run_interpreted(INTERPRETED)


def test_kernels_compile_for_a_gpu_that_is_not_there(tmp_path):
    types = dict(value="*bf16", gradient="*bf16", output="*bf16", sizes="*i32", locations="*fp32", weights="*fp32")
    types.update(of_value="*fp32", of_locations="*fp32", of_weights="*fp32")
    fixed = dict(HEADS=8, CHANNELS=32, LEVELS=3, POINTS=4, BLOCK=16, WIDTH=32)
    compile_for_a_gpu("attention", ["_attend", "_attend_backward"], types, fixed, tmp_path)


def attention_module_call(device="cpu"):
    """Output and parameters' gradients of the public module."""
    torch.manual_seed(0)
    module = attention.MultiScaleDeformableAttention(16, num_heads=4, num_levels=2, num_points=3, batch_first=True)
    torch.nn.init.normal_(module.sampling_offsets.weight, std=0.3)
    # Drawn on the CPU: a GPU's generator draws other numbers.
    module = module.to(device).eval()
    query = random(2, 34, 16).to(device)
    output = module(
        query,
        reference_points=torch.rand(2, 34, 2, 2, generator=torch.Generator().manual_seed(1)).to(device),
        spatial_shapes=torch.tensor(SIZES, device=device),
        level_start_index=STARTS.to(device),
    )
    return output, torch.autograd.grad(output.square().sum(), list(module.parameters()))


def test_attention_module_is_the_same_with_the_operator(monkeypatch):
    expected = attention_module_call()

    def attend(value, sizes, locations, weights):
        return attention.MultiScaleDeformableAttnFunction.apply(value, sizes, STARTS, locations, weights, 64)

    # On the CPU the module would use its own slower way.
    monkeypatch.setattr(attention, "multi_scale_deformable_attn_pytorch", attend)
    torch.testing.assert_close(attention_module_call(), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_attention_module_on_a_gpu():
    on_cpu, on_gpu = attention_module_call("cpu"), attention_module_call("cuda")
    torch.testing.assert_close(on_gpu, on_cpu, check_device=False, atol=1e-4, rtol=1e-4)
