"""The focal loss, forward and backward."""

import torch
from torch import Tensor

from lesionseg.ops.kernels import torchvision
from lesionseg.ops.limits import at_least_float32


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Focal loss (https://arxiv.org/abs/1708.02002), which MMSeg and MMDet compute by an operator on CUDA only.

    Args:
        input: (N, C) float logits.
        target: (N,) int64 class, C or more for none.
        weight: (C,) of the target's class, or empty.
        output: (N, C), written.
        gamma: Focusing exponent.
        alpha: Weight of the positive class; the negative's is 1 - alpha.
    """
    output.copy_(_focal_loss(at_least_float32(input), target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss' derivative by its own logit to `grad_input` (N, C). Arguments as in the forward function."""
    logits = at_least_float32(input).detach().requires_grad_()
    with torch.enable_grad():
        loss = _focal_loss(logits, target, weight, gamma, alpha).sum()
    grad_input.copy_(torch.autograd.grad(loss, logits)[0])


def _focal_loss(logits: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    positive = target[:, None] == torch.arange(logits.shape[1], device=logits.device)
    loss = torchvision.ops.sigmoid_focal_loss(logits, positive.to(logits), alpha, gamma)
    return loss * weight[target][:, None] if weight.numel() else loss
