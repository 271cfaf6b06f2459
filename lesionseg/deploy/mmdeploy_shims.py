"""What mmdeploy 1.3.1, the last one published, needs on today's torch. Everything is undone after use."""

import functools
import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch.onnx
from mmengine.logging import MMLogger


@contextmanager
def mmdeploy_shims() -> Iterator[None]:
    """Let mmdeploy export to ONNX inside the block, quietly, and leave nothing of it behind.

    Each shim can go when this project needs no mmdeploy, or at the version that is named beside it.
    """
    with ExitStack() as stack:
        # Since torch 2.9 the exporter that mmdeploy's rewriters are written for, which traces, has to be asked for.
        # Goes with an mmdeploy that says so itself; breaks with the torch that drops it.
        traced_export = functools.partial(torch.onnx.export, dynamo=False)
        stack.enter_context(mock.patch.object(torch.onnx, "export", traced_export))
        # mmdeploy's RoIAlign imports it, and torch 2.9 has it no more. Goes with an mmdeploy that does not import it.
        # The module by its name: the attribute of torch.onnx is another one.
        symbolic_opset9 = importlib.import_module("torch.onnx.symbolic_opset9")
        stack.enter_context(mock.patch.object(symbolic_opset9, "_cast_Long", _cast_to_int64, create=True))
        stack.enter_context(_quiet_logger())
        # Tracing warns of every branch in MMDetection that a graph cannot have; tests of parity tell more.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


def _cast_to_int64(graph: Any, value: Any, non_blocking: bool) -> Any:
    """ONNX's Cast, as a symbolic function of the tracing exporter."""
    return graph.op("Cast", value, to_i=torch.onnx.TensorProtoDataType.INT64)


@contextmanager
def _quiet_logger() -> Iterator[None]:
    """Hear only errors of mmdeploy's logger, and forget it afterwards.

    MMEngine's `print_log(logger="current")` writes to the youngest logger: one that stays would swallow a training's
    messages. Goes when mmdeploy logs by Python's own loggers.
    """
    loggers = MMLogger._instance_dict
    known = "mmdeploy" in loggers
    logger = MMLogger.get_instance("mmdeploy")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if not known:
            del loggers["mmdeploy"]
