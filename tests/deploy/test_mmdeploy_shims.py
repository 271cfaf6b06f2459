"""What the shims change is as before once they are left, also by an error."""

import importlib
import logging
import warnings

import pytest
import torch.onnx
from mmengine.logging import MMLogger

from lesionseg.deploy.mmdeploy_shims import mmdeploy_shims

symbolics = importlib.import_module("torch.onnx.symbolic_opset9")


def state() -> tuple:
    return torch.onnx.export, hasattr(symbolics, "_cast_Long"), dict(MMLogger._instance_dict), list(warnings.filters)


def test_everything_is_undone():
    before = state()
    with mmdeploy_shims():
        assert torch.onnx.export is not before[0]
        assert symbolics._cast_Long
        assert MMLogger.get_instance("mmdeploy").level == logging.ERROR
    assert state() == before


def test_everything_is_undone_after_an_error():
    before = state()
    with pytest.raises(KeyboardInterrupt), mmdeploy_shims():
        raise KeyboardInterrupt
    assert state() == before


def test_the_current_logger_is_the_one_from_before():
    own = MMLogger.get_instance("own", log_level="INFO")
    try:
        with mmdeploy_shims():
            assert MMLogger.get_current_instance() is not own
        assert MMLogger.get_current_instance() is own
    finally:
        del MMLogger._instance_dict["own"]


def test_a_logger_of_mmdeploy_that_was_there_keeps_its_level():
    logger = MMLogger.get_instance("mmdeploy", log_level="INFO")
    level = logger.level
    try:
        with mmdeploy_shims():
            assert logger.level == logging.ERROR
        assert MMLogger.get_instance("mmdeploy") is logger
        assert logger.level == level
    finally:
        del MMLogger._instance_dict["mmdeploy"]
