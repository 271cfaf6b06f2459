"""What is not here."""

import lesionseg  # noqa: F401  # isort: skip  It has to come before mmcv.ops, which then finds its operators.
import mmcv.ops
import pytest
from operator_inputs import random

from lesionseg.errors import DataError


def test_another_operator_says_how_to_get_it():
    with pytest.raises(
        DataError, match=r"modulated_deform_conv_forward.*uv sync --reinstall-package onedl-mmcv"
    ) as info:
        mmcv.ops.modulated_deform_conv2d(
            random(1, 2, 5, 6), random(1, 18, 5, 6), random(1, 9, 5, 6), random(3, 2, 3, 3), None, 1, 1
        )
    assert "\n" not in str(info.value)
