"""What is done to an ONNX file after export: it is simplified, checked, and told what it needs to be used alone."""

import tempfile
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx.external_data_helper import uses_external_data

from lesionseg.errors import DataError, first_names
from lesionseg.files import write_aside
from lesionseg.inference.runtimes.model import INPUT
from lesionseg.inference.runtimes.model_card import ModelCard

# Larger than protobuf can hold in one file.
_MOST_BYTES = 2**31 - 1
# Everywhere the same, whatever else onnxruntime offers.
_PROVIDERS = ["CPUExecutionProvider"]


def simplify(source: str | PathLike, target: str | PathLike, batches: Iterable[np.ndarray]) -> bool:
    """Fold constants and drop what has no effect, with standard operators only, if that changes no output by one bit.

    Args:
        source: an ONNX file.
        target: where the simplified one goes; untouched if the outputs differ.
        batches: (N, 3, H, W) float32, inputs to compare the outputs on.

    Returns:
        whether `target` was written.

    Raises:
        DataError: `source` cannot be read.
    """
    load_graph(source)
    options = _session_options()
    # What onnxruntime does at this level, it does without operators of its own and for any machine.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as scratch:
        aside = Path(scratch) / "simplified.onnx"
        options.optimized_model_filepath = str(aside)
        onnxruntime.InferenceSession(str(source), options, _PROVIDERS)
        simplified = onnx.load(aside)
        if _foreign_operators(simplified) or not _same_outputs(source, aside, batches):
            return False
    save_graph(simplified, target)
    return True


def finish(source: str | PathLike, target: str | PathLike, card: ModelCard) -> None:
    """Write a card into an ONNX file, and check all of it.

    Args:
        source: an ONNX file.
        target: where the finished one goes; may be `source`.
        card: becomes the file's metadata properties, in place of any others.

    Raises:
        DataError: the file cannot be read, has operators that are not ONNX's own, or does not pass ONNX's checker and
            shape inference.
    """
    model = load_graph(source)
    foreign = _foreign_operators(model)
    if foreign:
        raise DataError(
            f"{source}: {first_names(foreign)} are no standard ONNX operators, expected such only, so that any engine "
            "can run the file. Export with a model whose operators ONNX has."
        )
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, card.properties())
    save_graph(model, target)


def load_graph(path: str | PathLike) -> onnx.ModelProto:
    """Read an ONNX file with its weights.

    Raises:
        DataError: it cannot be read, or is larger than 2 GB, which has its weights in files beside it.
    """
    if Path(path).stat().st_size > _MOST_BYTES:
        raise _too_large(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise DataError(f"{path}: not a readable ONNX file, expected a whole one. Export the model again.") from error
    if any(uses_external_data(tensor) for tensor in model.graph.initializer):
        raise _too_large(path)
    return model


def save_graph(model: onnx.ModelProto, path: str | PathLike) -> None:
    """Check a model, by ONNX's checker and shape inference, and write it.

    Raises:
        DataError: it does not pass, or is larger than 2 GB.
    """
    if model.ByteSize() > _MOST_BYTES:
        raise _too_large(path)
    used = {node.domain for node in _nodes(model.graph)} | {""}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    with write_aside(path) as aside:
        onnx.save(model, aside)
        try:
            onnx.checker.check_model(aside, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            reason = str(error).strip().splitlines()[0]
            raise DataError(
                f"{path}: does not pass ONNX's checker ({reason}), expected a valid graph. Please report this with "
                "the config."
            ) from error


def _session_options() -> onnxruntime.SessionOptions:
    """Options without messages below errors."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return options


def _same_outputs(first: str | PathLike, second: str | PathLike, batches: Iterable[np.ndarray]) -> bool:
    sessions = [onnxruntime.InferenceSession(str(path), _session_options(), _PROVIDERS) for path in (first, second)]
    for batch in batches:
        one, other = (session.run(None, {INPUT: batch}) for session in sessions)
        if not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True)):
            return False
    return True


def _foreign_operators(model: onnx.ModelProto) -> list[str]:
    return sorted(
        {f"{node.domain}::{node.op_type}" for node in _nodes(model.graph) if node.domain not in ("", "ai.onnx")}
    )


def _nodes(graph: onnx.GraphProto) -> Iterable[onnx.NodeProto]:
    """All nodes, those of the branches and bodies of others included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from _nodes(inner)


def _too_large(path: str | PathLike) -> DataError:
    return DataError(
        f"{path}: weights of more than 2 GB, expected less: an ONNX file cannot hold more. Export a smaller model."
    )
