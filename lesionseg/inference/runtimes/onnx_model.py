"""The engines that run an exported model. onnxruntime and OpenVINO need neither torch nor OpenMMLab."""

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from os import PathLike
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from lesionseg.errors import DataError, ModelError, is_out_of_memory
from lesionseg.inference.runtimes.interface import Port, check_ports, takes_batches
from lesionseg.inference.runtimes.model import INPUT, OUTPUTS
from lesionseg.inference.runtimes.model_card import ModelCard

if TYPE_CHECKING:
    import openvino

# What protobuf can read, and so what a whole ONNX file can have.
MOST_BYTES = 2**31
# Of one run: a hundred times what Mask2Former takes on two cores. A graph can have loops without an end.
_LEAST_SECONDS, _SECONDS_PER_MEGAPIXEL = 30.0, 120.0
_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "f32": "float32", "i64": "int64"}


class OnnxModel:
    """An exported model in onnxruntime; `run` may be called from several threads at once.

    Args:
        path: an ONNX file of `tools/export.py`.
        threads: CPU threads that one run may use; None lets onnxruntime take all cores.

    Raises:
        DataError: not an ONNX file, or not one that this project exported, or onnxruntime is not there.
    """

    def __init__(self, path: str | PathLike, threads: int | None = None) -> None:
        onnxruntime = _import_engine("onnxruntime")
        _check_size(path)
        self._run_options = onnxruntime.RunOptions
        options = onnxruntime.SessionOptions()
        # Faults are raised, too; printed, they would only come twice.
        options.log_severity_level = 4
        if threads:
            options.intra_op_num_threads = threads
        offered = onnxruntime.get_available_providers()
        providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in offered]
        with _opening(path):
            self._session = onnxruntime.InferenceSession(str(path), options, providers)
        self.path = str(path)
        self.card = ModelCard.from_properties(self._session.get_modelmeta().custom_metadata_map, path)
        inputs = list(map(_port, self._session.get_inputs()))
        check_ports(inputs, list(map(_port, self._session.get_outputs())), self.card, path)
        self.batches = takes_batches(inputs[0])

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        options = self._run_options()
        options.log_severity_level = 4
        seconds = _most_seconds(batch)
        timer = threading.Timer(seconds, setattr, [options, "terminate", True])
        # Where the run fails in another way, the process need not wait for it.
        timer.daemon = True
        timer.start()
        try:
            with _running(self.path):
                return self._session.run(list(OUTPUTS[self.card.task]), {INPUT: batch}, options)
        except ModelError as error:
            raise _too_slow(self.path, batch, seconds) if options.terminate else error from error.__cause__
        finally:
            timer.cancel()


class OpenVinoModel:
    """An exported model in OpenVINO; as `OnnxModel`.

    Args:
        path: as for `OnnxModel`.
        threads: as for `OnnxModel`.
        precision: that OpenVINO computes in, `f32`, or `bf16` on CPUs that have it.
    """

    def __init__(self, path: str | PathLike, threads: int | None = None, precision: str = "f32") -> None:
        core = _openvino_core()
        _check_size(path)
        hints: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        if threads:
            hints["INFERENCE_NUM_THREADS"] = threads
        with _opening(path):
            model = core.read_model(str(path))
        if any(operator.get_type_name() in ("Loop", "TensorIterator") for operator in model.get_ops()):
            raise DataError(
                f"{path}: has loops, in which OpenVINO cannot be stopped, expected none. Use the engine onnxruntime."
            )
        properties = {}
        if model.has_rt_info(["framework"]):
            properties = model.get_rt_info(["framework"]).value
        self.path = str(path)
        self.card = ModelCard.from_properties(properties, path)
        inputs = list(map(_openvino_port, model.inputs))
        check_ports(inputs, list(map(_openvino_port, model.outputs)), self.card, path)
        self.batches = takes_batches(inputs[0])
        with _opening(path):
            self._model = core.compile_model(model, "CPU", hints)

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        seconds = _most_seconds(batch)
        with _running(self.path):
            # Requests are not shared between threads.
            request = self._model.create_infer_request()
            request.start_async({INPUT: batch})
            if not request.wait_for(int(1000 * seconds)):
                request.cancel()
                raise _too_slow(self.path, batch, seconds)
            return [np.asarray(request.results[name]) for name in OUTPUTS[self.card.task]]


@functools.cache
def _openvino_core() -> "openvino.Core":
    """The one core of the process.

    Its CPU plugin gives the thread a stack for signals, and puts back what was there when it ends. Where two cores do
    not end in the reverse order of their beginning, a freed stack is put back, and the next signal, such as the end of
    a child process, kills the process (OpenVINO 2026.4).
    """
    return _import_engine("openvino").Core()


def _import_engine(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{name}: not installed, expected it to run an exported model. Install it: pip install {name}."
        ) from error


def _check_size(path: str | PathLike) -> None:
    if (size := os.stat(path).st_size) > MOST_BYTES:
        raise DataError(
            f"{path}: {size / 2**30:.1f} GiB, expected {MOST_BYTES / 2**30:.0f} at most, all that an ONNX file holds. "
            "Export the model again."
        )


def _port(port: Any) -> Port:
    """What onnxruntime says of an input or output; axes of any length have names there."""
    shape = tuple(length if isinstance(length, int) else None for length in port.shape)
    return Port(port.name, _TYPES.get(port.type, port.type), shape or None)


def _openvino_port(port: Any) -> Port:
    shape, kind = port.get_partial_shape(), port.get_element_type().get_type_name()
    lengths = None
    if shape.rank.is_static:
        lengths = tuple(length.get_length() if length.is_static else None for length in shape)
    return Port(port.get_any_name(), _TYPES.get(kind, kind), lengths)


def _most_seconds(batch: np.ndarray) -> float:
    return _LEAST_SECONDS + _SECONDS_PER_MEGAPIXEL * batch[:, 0].size / 1e6


@contextmanager
def _opening(path: str | PathLike) -> Iterator[None]:
    """Turn whatever an engine raises of a file into DataError; each has exceptions of its own."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise DataError(
                f"{path}: needs more memory than this machine has, expected a model that fits. Export a smaller one, "
                "or use a machine with more memory."
            ) from error
        raise DataError(
            f"{path}: not a readable ONNX file, expected a whole one ({_reason(error)}). Export the model again."
        ) from error


@contextmanager
def _running(path: str) -> Iterator[None]:
    """Turn whatever an engine raises of a run into ModelError, or MemoryError."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError(_reason(error)) from error
        raise ModelError(
            f"{path}: cannot be run ({_reason(error)}), expected a model as tools/export.py makes it. Export it again."
        ) from error


def _too_slow(path: str, batch: np.ndarray, seconds: float) -> ModelError:
    number, _, height, width = batch.shape
    return ModelError(
        f"{path}: has not ended after {seconds:.0f} seconds with {number} images of {width}x{height} pixels, expected "
        "a small part of that. Export the model again; if it is so slow, export a smaller one."
    )


def _reason(error: Exception) -> str:
    """The first telling line of an engine's message, without the full stop and most of its length."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    # OpenVINO begins with the places in its own source.
    telling = [line for line in lines if line.strip() and not line.startswith(("Exception from ", "Check '"))]
    line = (telling or lines)[0].strip().rstrip(".: ")
    return line if len(line) <= 200 else f"{line[:200]}..."
