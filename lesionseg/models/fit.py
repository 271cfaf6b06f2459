"""Whether weights are those of a model."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lesionseg.errors import first_names


def misfits(wanted: Mapping[str, Tensor], weights: Mapping[str, Any]) -> list[str]:
    """Compare weights with those that a model has.

    Args:
        wanted: the model's, by name.
        weights: those that are to take their place.

    Returns:
        what differs, for a message: the first names that are missing, unexpected or of another shape.
    """
    missing = [name for name in wanted if name not in weights]
    unexpected = [name for name in weights if name not in wanted]
    reshaped = [
        f"{name} {_shape(weights[name])} for {_shape(wanted[name])}" for name in reshaped_names(wanted, weights)
    ]
    faults = []
    if missing:
        faults.append(f"{len(missing)} keys are missing ({first_names(missing, 3)})")
    if unexpected:
        faults.append(f"{len(unexpected)} are unexpected ({first_names(unexpected, 3)})")
    if reshaped:
        faults.append(f"{len(reshaped)} have another shape ({first_names(reshaped, 3)})")
    return faults


def reshaped_names(wanted: Mapping[str, Tensor], weights: Mapping[str, Any]) -> list[str]:
    """The names that both have, for weights of different shapes."""
    return [
        name
        for name, value in wanted.items()
        if name in weights and value.shape != getattr(weights[name], "shape", None)
    ]


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else "no tensor"
