"""Losses of several findings, each against the rest, by MONAI.

MMSegmentation 1.4.2's own are not right for class indices: its DiceLoss of one channel is inverted, its FocalLoss fails
on a CPU, and pixels that are to be ignored count in Dice's denominator.
"""

from typing import Any

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from lesionseg.pixels.findings import IGNORED


class _LossOfFindings(nn.Module):
    """The mean over images and findings of what a loss of MONAI gives for each.

    A finding that is ignored all over an image has no part in the mean.

    Args:
        loss_weight: what the mean is multiplied by.
        loss_name: its name in the log; begins with `loss_`.
        settings: of MONAI's class.
    """

    def __init__(self, loss_weight: float, loss_name: str, **settings: Any) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.loss_name = loss_name
        self._settings = dict(settings, reduction="none", ignore_index=IGNORED)
        self._loss: nn.Module | None = None

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: (N, C, H, W) float32, a channel for each finding.
            targets: (N, C, H, W) uint8, 1 where the finding is, 0 where it is not, 255 where that is not known.

        Returns:
            a scalar, 0 where nothing is known.
        """
        if self._loss is None:
            self._loss = self._monai()
        # One channel after the other: of several, MONAI ignores what has none of them.
        logits, targets = (each.flatten(0, 1)[:, None] for each in (logits, targets))
        known = (targets != IGNORED).flatten(1).sum(1)
        loss = self._of_each(self._loss(self._input(logits), targets.float()), known)
        return self.loss_weight * loss.sum() / (known > 0).sum().clamp(min=1)

    def _monai(self) -> nn.Module:
        raise NotImplementedError

    def _input(self, logits: Tensor) -> Tensor:
        return logits

    def _of_each(self, loss: Tensor, known: Tensor) -> Tensor:
        """What MONAI gave -> (N x C,), the loss of each finding in each image, 0 where it is ignored all over."""
        raise NotImplementedError


@MODELS.register_module()
class MultiLabelFocalLoss(_LossOfFindings):
    """Focal loss (Lin et al. 2017, arXiv 1708.02002), the mean over the pixels of each image and finding.

    Args:
        gamma: how much less pixels count that are right already; 0 is binary cross entropy.
        alpha: weight of pixels with the finding, 0..1, and its rest that of those without; None weighs them alike.
        loss_weight: what the mean is multiplied by.
        loss_name: its name in the log.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | None = None,
        loss_weight: float = 1.0,
        loss_name: str = "loss_focal",
    ) -> None:
        super().__init__(loss_weight, loss_name, gamma=gamma, alpha=alpha)

    def _monai(self) -> nn.Module:
        # MONAI takes ten seconds to import, and only trainings need it.
        from monai.losses import FocalLoss

        return FocalLoss(**self._settings)

    def _of_each(self, loss: Tensor, known: Tensor) -> Tensor:
        return loss.flatten(1).sum(1) / known.clamp(min=1)


@MODELS.register_module()
class MultiLabelDiceLoss(_LossOfFindings):
    """One minus the soft Dice of each image and finding (Milletari et al. 2016, arXiv 1606.04797).

    Args:
        smooth: pixels that are added to both parts of the fraction, so that a finding that is nowhere costs nothing
            where nothing is predicted, and pulls at what is.
        loss_weight: what the mean is multiplied by.
        loss_name: its name in the log.
    """

    def __init__(self, smooth: float = 1.0, loss_weight: float = 1.0, loss_name: str = "loss_dice") -> None:
        super().__init__(loss_weight, loss_name, smooth_nr=smooth, smooth_dr=smooth)

    def _monai(self) -> nn.Module:
        from monai.losses import DiceLoss

        return DiceLoss(**self._settings)

    def _input(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits)

    def _of_each(self, loss: Tensor, known: Tensor) -> Tensor:
        return loss.flatten() * (known > 0)
