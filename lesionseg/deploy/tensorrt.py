"""TensorRT engines, built from exported models on the machine that is to run them.

Written after the documentation of TensorRT 10 and 11. It needs an NVIDIA GPU, and has not been run on one yet.
"""

import json
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lesionseg.deploy.card import ModelCard
from lesionseg.deploy.engines import INPUT, OUTPUTS, OnnxModel, onnx_path
from lesionseg.errors import DataError
from lesionseg.files import write_bytes, write_text


class Shapes(NamedTuple):
    """Which inputs an engine is for, each (N, 3, H, W).

    Attributes:
        min: the smallest.
        opt: the one that it is tuned for.
        max: the largest.
    """

    min: Sequence[int]
    opt: Sequence[int]
    max: Sequence[int]


def build_engine(source: str | PathLike, target: str | PathLike, shapes: Shapes) -> None:
    """Build a TensorRT engine and write it, with `<target>.json`, the model's card, beside it.

    The engine computes as the ONNX file says: build it from one with float16 or int8 for those. TensorRT 11 no longer
    chooses precisions by itself, and its choices would not have been proven.

    Args:
        source: an ONNX file of `tools/export.py`, or the folder that it wrote.
        target: the engine, `.engine`. It runs on the same kind of GPU and the same version of TensorRT only.
        shapes: of the inputs.

    Raises:
        DataError: TensorRT or a GPU is missing, the shapes do not fit the model, or TensorRT cannot build it.
    """
    source = onnx_path(source)
    card = OnnxModel(source, 1).card
    check_shapes(shapes, card, source)
    trt = load_tensorrt(source)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(source)):
        reasons = "; ".join(str(parser.get_error(number).desc()) for number in range(parser.num_errors))
        raise DataError(
            f"{source}: TensorRT {trt.__version__} cannot read it ({reasons}). Use onnxruntime or OpenVINO."
        )
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, *(tuple(shape) for shape in shapes))
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    # Otherwise float32 products are rounded to the 11 bits of TF32.
    config.clear_flag(trt.BuilderFlag.TF32)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise DataError(
            f"{source}: TensorRT {trt.__version__} cannot build an engine of it, see its messages above. Use smaller "
            "shapes, or onnxruntime or OpenVINO."
        )
    write_bytes(target, bytes(engine))
    write_text(_card_path(target), json.dumps(card.properties(), indent=2) + "\n")


def check_shapes(shapes: Shapes, card: ModelCard, path: str | PathLike) -> None:
    """Check that a model can take inputs of some shapes.

    Raises:
        DataError: it cannot, or they are not in order.
    """
    for name, shape in shapes._asdict().items():
        if len(shape) != 4 or shape[1] != 3 or min(shape) < 1:
            raise DataError(f"{path}: {name} shape {list(shape)}, expected [images, 3, height, width]. Correct it.")
        if card.input_size and tuple(shape[2:]) != card.input_size:
            raise DataError(
                f"{path}: {name} shape {list(shape)}, expected the height and width of the model's fixed input, "
                f"{card.input_size[0]} and {card.input_size[1]}. Correct it, or export with a dynamic input."
            )
        if any(edge % card.size_divisor for edge in shape[2:]):
            raise DataError(
                f"{path}: {name} shape {list(shape)}, expected height and width in multiples of {card.size_divisor}, "
                "the model's size divisor. Correct it."
            )
    if any(not small <= usual <= large for small, usual, large in zip(*shapes, strict=True)):
        described = ", ".join(f"{name} {list(shape)}" for name, shape in shapes._asdict().items())
        raise DataError(f"{path}: shapes {described}, expected min <= opt <= max in each place. Correct them.")


class TensorRtModel:
    """An engine of `build_engine`; as `lesionseg.deploy.engines.OnnxModel`. Runs wait for each other.

    Args:
        path: an `.engine` file, its card beside it.
        threads: has no meaning on a GPU.

    Raises:
        DataError: TensorRT, torch (which holds the buffers) or a GPU is missing, there is no such engine, or it was
            built for another GPU or by another version of TensorRT.
    """

    def __init__(self, path: str | PathLike, threads: int | None = None) -> None:
        self.path = Path(path)
        self.card = _read_card(self.path)
        self._trt = trt = load_tensorrt(self.path)
        import torch

        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(self.path.read_bytes())
        if self._engine is None:
            raise DataError(
                f"{self.path}: TensorRT {trt.__version__} cannot load it on {torch.cuda.get_device_name()}, expected "
                "an engine that was built here. Build it again."
            )
        self._context = self._engine.create_execution_context()
        self._stream = torch.cuda.Stream()
        self._lock = threading.Lock()
        # Their sizes can depend on what is found.
        self._outputs = {name: _output_buffer(trt) for name in OUTPUTS[self.card.task]}
        for name, buffer in self._outputs.items():
            self._context.set_output_allocator(name, buffer)

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        import torch

        with self._lock, torch.cuda.stream(self._stream):
            inputs = torch.from_numpy(np.ascontiguousarray(batch)).cuda()
            if not self._context.set_input_shape(INPUT, tuple(batch.shape)):
                least, _, most = self._engine.get_tensor_profile_shape(INPUT, 0)
                raise DataError(
                    f"{self.path}: an input of {list(batch.shape)}, expected between {list(least)} and {list(most)}, "
                    "for which the engine was built. Build one for such images."
                )
            self._context.set_tensor_address(INPUT, inputs.data_ptr())
            done = self._context.execute_async_v3(self._stream.cuda_stream)
            self._stream.synchronize()
            if not done:
                raise RuntimeError(f"{self.path}: TensorRT could not run the engine")
            return [
                buffer.array(self._trt.nptype(self._engine.get_tensor_dtype(name)))
                for name, buffer in self._outputs.items()
            ]


def _output_buffer(trt):
    """Memory on the GPU for one output, enlarged when TensorRT asks for more."""
    import torch

    class OutputBuffer(trt.IOutputAllocator):
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)
            self._memory = torch.empty(1, dtype=torch.uint8, device="cuda")
            self._shape: tuple[int, ...] = ()

        # TensorRT's names and parameters.
        def reallocate_output_async(self, tensor_name, memory, size, alignment, stream) -> int:
            # torch aligns to 512 bytes, TensorRT asks for 256 at most.
            if size > len(self._memory):
                self._memory = torch.empty(size, dtype=torch.uint8, device="cuda")
            return self._memory.data_ptr()

        def notify_shape(self, tensor_name, shape) -> None:
            self._shape = tuple(shape)

        def array(self, kind: type) -> np.ndarray:
            size = int(np.prod(self._shape)) * np.dtype(kind).itemsize
            return self._memory[:size].cpu().numpy().view(kind).reshape(self._shape)

    return OutputBuffer()


def load_tensorrt(path: str | PathLike):
    """The tensorrt package.

    Raises:
        DataError: it, torch or a GPU is missing.
    """
    missing = [name for name in ("tensorrt", "torch") if find_spec(name) is None]
    if missing:
        raise DataError(
            f"{path}: {' and '.join(missing)} not installed, expected for TensorRT. Install with `pip install "
            f"{' '.join(missing)}`, or choose the engine onnxruntime or openvino."
        )
    import tensorrt
    import torch

    if int(tensorrt.__version__.split(".")[0]) < 10:
        raise DataError(
            f"{path}: TensorRT {tensorrt.__version__}, expected 10 or later. Install with `pip install -U tensorrt`."
        )
    if not torch.cuda.is_available():
        raise DataError(f"{path}: no GPU here, expected one for TensorRT. Choose the engine onnxruntime or openvino.")
    return tensorrt


def _card_path(engine: str | PathLike) -> Path:
    return Path(f"{engine}.json")


def _read_card(engine: Path) -> ModelCard:
    for path in (engine, _card_path(engine)):
        if not path.is_file():
            raise DataError(f"{path}: no such file, expected an engine and its card. Build one from an ONNX file.")
    try:
        properties = json.loads(_card_path(engine).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{_card_path(engine)}: not JSON ({error}). Build the engine again.") from error
    return ModelCard.from_properties(properties, _card_path(engine))
