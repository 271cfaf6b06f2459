import sys

import lesionseg  # noqa: F401  # isort: skip  It has to come before mmcv.ops, which then finds its operators.
import mmcv.ops  # noqa: F401
import pytest

from lesionseg import ops


@pytest.fixture(autouse=True)
def _plain_operators(monkeypatch):
    """mmcv's functions and classes call the plain operators, also where compiled ones are installed."""
    for name in ("nms", "roi_align", "multi_scale_deform_attn", "focal_loss", "modulated_deform_conv"):
        monkeypatch.setattr(sys.modules[f"mmcv.ops.{name}"], "ext_module", ops)
