"""The engines that run an exported model. onnxruntime and OpenVINO need neither torch nor OpenMMLab."""

import functools
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from lesionseg.errors import DataError
from lesionseg.inference.runtimes.card import ModelCard
from lesionseg.inference.runtimes.model import INPUT, OUTPUTS

if TYPE_CHECKING:
    import openvino


class OnnxModel:
    """An exported model in onnxruntime; `run` may be called from several threads at once.

    Args:
        path: an ONNX file of `tools/export.py`.
        threads: CPU threads that one run may use; None lets onnxruntime take all cores.

    Raises:
        DataError: not an ONNX file, or not one that this project exported.
    """

    def __init__(self, path: str | PathLike, threads: int | None = None) -> None:
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        offered = onnxruntime.get_available_providers()
        providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in offered]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers)
        except (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf) as error:
            raise _unreadable(path) from error
        self.card = ModelCard.from_properties(self._session.get_modelmeta().custom_metadata_map, path)

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        return self._session.run(list(OUTPUTS[self.card.task]), {INPUT: batch})


class OpenVinoModel:
    """An exported model in OpenVINO; as `OnnxModel`.

    Args:
        path: as for `OnnxModel`.
        threads: as for `OnnxModel`.
        precision: that OpenVINO computes in, `f32`, or `bf16` on CPUs that have it.
    """

    def __init__(self, path: str | PathLike, threads: int | None = None, precision: str = "f32") -> None:
        core = _openvino_core()
        hints: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        if threads:
            hints["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(str(path))
        except RuntimeError as error:
            raise _unreadable(path) from error
        properties = {}
        if model.has_rt_info(["framework"]):
            properties = model.get_rt_info(["framework"]).value
        self.card = ModelCard.from_properties(properties, path)
        self._model = core.compile_model(model, "CPU", hints)

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        # Requests are not shared between threads.
        results = self._model.create_infer_request().infer({INPUT: batch})
        return [np.asarray(results[name]) for name in OUTPUTS[self.card.task]]


@functools.cache
def _openvino_core() -> "openvino.Core":
    """The one core of the process.

    Its CPU plugin gives the thread a stack for signals, and puts back what was there when it ends. Where two cores do
    not end in the reverse order of their beginning, a freed stack is put back, and the next signal, such as the end of
    a child process, kills the process (OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()


def _unreadable(path: str | PathLike) -> DataError:
    return DataError(f"{path}: not a readable ONNX file, expected a whole one. Export the model again.")
