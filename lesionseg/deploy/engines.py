"""The engines that run an exported model. onnxruntime and OpenVINO need neither torch nor OpenMMLab."""

import functools
from os import PathLike
from pathlib import Path
from typing import Protocol

import numpy as np

from lesionseg.deploy.card import ModelCard
from lesionseg.engine.families import INSTANCES
from lesionseg.errors import DataError

MODEL_FILE = "model.onnx"
# OpenVINO computes in bfloat16 on CPUs that have it if it is let.
ENGINES = ("onnxruntime", "openvino", "openvino-bf16", "tensorrt")
INPUT = "input"
OUTPUTS = {"semantic": ("scores",), "instances": ("dets", "labels", "masks")}


class Model(Protocol):
    """What runs a batch, whatever it is made of.

    Attributes:
        card: how to prepare images, and what the outputs mean.
    """

    card: ModelCard

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """Run a batch.

        Args:
            batch: (N, 3, H, W) float32, images as `lesionseg.deploy.pipeline.prepare` makes them.

        Returns:
            semantic: [(N, C, H, W) float32 scores by class]. Instances: [(N, K, 5) float32 boxes and scores,
            (N, K) int64 labels, (N, K, h, w) float32 masks], see `pipeline.lesion_detections`.
        """
        ...


class OnnxModel:
    """An exported model in onnxruntime; `run` may be called from several threads at once.

    Args:
        path: an ONNX file of `tools/export.py`, or the folder that it wrote.
        threads: CPU threads that one run may use; None lets onnxruntime take all cores.

    Raises:
        DataError: no such file, not an ONNX file, or not one that this project exported.
    """

    def __init__(self, path: str | PathLike, threads: int | None = None) -> None:
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf

        path = onnx_path(path)
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
        path = onnx_path(path)
        core = _openvino_core()
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
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
def _openvino_core():
    """The one core of the process.

    Its CPU plugin gives the thread a stack for signals, and puts back what was there when it ends. Where two cores do
    not end in the reverse order of their beginning, a freed stack is put back, and the next signal, such as the end of
    a child process, kills the process (OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()


def open_model(path: str | PathLike, engine: str = "onnxruntime", threads: int | None = None) -> Model:
    """Open an exported model.

    Args:
        path: an ONNX file of `tools/export.py`, or the folder that it wrote; for `tensorrt`, an `.engine` file.
        engine: one of `ENGINES`.
        threads: CPU threads that one run may use; None for all cores.

    Raises:
        DataError: see `OnnxModel`; or no such engine.
    """
    if engine not in ENGINES:
        raise DataError(f"{engine}: no such engine, expected {' or '.join(ENGINES)}. Choose one.")
    if engine == "tensorrt":
        from lesionseg.deploy.tensorrt import TensorRtModel

        return TensorRtModel(path, threads)
    if engine == "onnxruntime":
        return OnnxModel(path, threads)
    return OpenVinoModel(path, threads, "bf16" if engine == "openvino-bf16" else "f32")


def is_onnx(path: str | PathLike) -> bool:
    """Whether a path means an exported model: an ONNX file, or a folder of `tools/export.py`."""
    return Path(path).suffix == ".onnx" or (Path(path) / MODEL_FILE).is_file()


def onnx_path(path: str | PathLike) -> Path:
    """The ONNX file that a path means.

    Raises:
        DataError: there is none.
    """
    path = Path(path)
    file = path / MODEL_FILE if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{file}: no such model, expected an ONNX file. Export one: tools/export.py CONFIG CHECKPOINT.")
    return file


def check_task(card: ModelCard, task: str, path: str | PathLike) -> None:
    """Refuse a model of another task.

    Raises:
        DataError: it is one.
    """
    if card.task != task:
        names = {INSTANCES: "instance segmentation (Mask R-CNN)"}
        raise DataError(
            f"{path}: a model for {names.get(card.task, 'semantic segmentation')}, expected one for "
            f"{names.get(task, 'semantic segmentation')}. Use the config that it was exported from."
        )


def _unreadable(path: Path) -> DataError:
    return DataError(f"{path}: not a readable ONNX file, expected a whole one. Export the model again.")
