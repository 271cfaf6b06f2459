"""What tools/benchmark.py counts in a training step."""

import pytest
import torch

from lesionseg.benchmarks.costs import dispatched_operators, gpu_work


def test_operators_of_forward_and_backward_count():
    weight = torch.ones(3, requires_grad=True)
    forward = dispatched_operators(lambda: (weight * 2).sum())
    assert forward == 2
    # A gradient of 1, spread over the vector, times 2, and taken into weight.grad.
    assert dispatched_operators(lambda: (weight * 2).sum().backward()) == forward + 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_waits_for_the_gpu_count():
    values = torch.ones(3, device="cuda")
    work = gpu_work(lambda: (values * 2).sum().item())
    assert work.kernels >= 3  # product, sum, and the copy of the result
    assert work.waits == 1
    assert gpu_work(lambda: (values * 2).sum()).waits == 0
