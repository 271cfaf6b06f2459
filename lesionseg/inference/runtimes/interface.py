"""What goes into a model and comes out of it, checked: at opening as the file says, and at every run as it is."""

from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np

from lesionseg.engine.families import SEMANTIC
from lesionseg.errors import DataError, ModelError
from lesionseg.inference.runtimes.model import INPUT, OUTPUTS
from lesionseg.inference.runtimes.model_card import ModelCard

# Detections in an image; MMDetection's configs keep 100. Each is drawn on the whole image.
MOST_DETECTIONS = 10_000

Shape = tuple[int | None, ...]


class Port(NamedTuple):
    """An input or output of a model.

    Attributes:
        name: its name.
        type: of its values, as numpy calls it.
        shape: its axes, None for one of any length; None where not even their number is known.
    """

    name: str
    type: str
    shape: Shape | None


def check_ports(inputs: Sequence[Port], outputs: Sequence[Port], card: ModelCard, path: str | PathLike) -> None:
    """Check that a model has the input and the outputs of its task.

    Raises:
        DataError: it has not, a line for each.
    """
    faults = []
    height, width = card.input_size or (None, None)
    if [port.name for port in inputs] != [INPUT]:
        names = ", ".join(port.name for port in inputs) or "none"
        faults.append(f"its inputs are {names}, expected {INPUT} alone")
    else:
        (port,) = inputs
        # One image at a time is enough.
        fitting = [(batch, channels, height, width) for batch in (None, 1) for channels in (None, 3)]
        if card.input_size:
            fitting += [(*shape[:2], None, None) for shape in fitting]
        if port.type != "float32" or port.shape not in fitting:
            faults.append(f"its input is {_shown(port)}, expected {_shown(Port(INPUT, 'float32', fitting[1]))}")
    found = {port.name: port for port in outputs}
    for name, (kind, shape) in _expected_outputs(card).items():
        expected = _shown(Port(name, kind, shape))
        if name not in found:
            faults.append(f"it has no output {name}, expected {expected}")
        elif found[name].type != kind or not _may_be(found[name].shape, shape):
            faults.append(f"its output {name} is {_shown(found[name])}, expected {expected}")
    if faults:
        raise DataError(*(f"{path}: {fault}. Export the model again with tools/export.py." for fault in faults))


def takes_batches(port: Port) -> bool:
    """Whether a model with this input takes several images at once."""
    return port.shape is not None and port.shape[0] is None


def check_outputs(outputs: Sequence[np.ndarray], batch: np.ndarray, card: ModelCard, path: str | PathLike) -> None:
    """Check what came out of a run.

    Args:
        outputs: see `lesionseg.inference.runtimes.model.Model.run`.
        batch: (N, 3, H, W) float32, what went in.
        card: of the model.
        path: what a message calls the model.

    Raises:
        ModelError: an output has another type or shape, or holds what is no number.
    """
    expected = _expected_outputs(card, batch.shape, outputs[0].shape[1:2])
    for output, (name, (kind, shape)) in zip(outputs, expected.items(), strict=True):
        port = Port(name, str(output.dtype), output.shape)
        if port.type != kind or not _may_be(port.shape, shape):
            fault = f"gave {_shown(port)} as {name}, expected {_shown(Port(name, kind, shape))}"
        elif card.task != SEMANTIC and output.shape[1] > MOST_DETECTIONS:
            fault = f"found {output.shape[1]} lesions in an image, expected {MOST_DETECTIONS} at most"
        elif not np.isfinite(output).all():
            fault = f"gave {name} that are not finite, expected numbers: its weights or its computation are damaged"
        else:
            continue
        raise ModelError(f"{path}: {fault}. Export the model again, from a checkpoint that tools/test.py scores well.")


def _expected_outputs(
    card: ModelCard, batch: Shape = (None,) * 4, detections: Shape = (None,)
) -> dict[str, tuple[str, Shape]]:
    """Type and shape of every output, by name, in the order of a run."""
    number, _, height, width = batch
    found = (number, *detections)
    expected: list[tuple[str, Shape]]
    if card.task == SEMANTIC:
        expected = [("float32", (number, len(card.classes), height, width))]
    else:
        expected = [("float32", (*found, 5)), ("int64", found), ("float32", (*found, None, None))]
    return dict(zip(OUTPUTS[card.task], expected, strict=True))


def _may_be(shape: Shape | None, expected: Shape) -> bool:
    if shape is None:
        return True
    return len(shape) == len(expected) and all(
        None in (length, wanted) or length == wanted for length, wanted in zip(shape, expected, strict=True)
    )


def _shown(port: Port) -> str:
    if port.shape is None:
        return f"{port.type} of unknown shape"
    return f"{port.type} ({', '.join('any' if length is None else str(length) for length in port.shape)})"
