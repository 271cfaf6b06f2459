"""What an ensemble has to be known by: its members, relative to its folder, their weights, and the threshold."""

import json
import math
import os
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from lesionseg.errors import DataError
from lesionseg.files import file_sha256, read_file, write_text

CARD = "ensemble.json"
# It counts up when a reader of older cards would misread newer ones.
_FORMAT_KEY, _FORMAT = "lesionseg_ensemble", 1
MAKE_ANEW = "Let tools/folds.py make it anew."


@dataclass(frozen=True)
class Member:
    """A network of an ensemble.

    Attributes:
        model: path of an ONNX file, or of a config, from the folder of the ensemble.
        checkpoint: of a config, path of its checkpoint, likewise; else None.
        weight: its part in the average, above 0; those of all members need not sum to 1.
        sha256: of the checkpoint, or of the ONNX file: weights were fitted for these very networks.
    """

    model: str
    checkpoint: str | None
    weight: float
    sha256: str

    @property
    def file(self) -> str:
        """The path of what was trained."""
        return self.checkpoint or self.model


@dataclass(frozen=True)
class EnsembleCard:
    """Which networks make an ensemble, and how: `ensemble.json`, all that its folder has to hold.

    Attributes:
        members: the networks.
        threshold: above 0 and below 1; lesion is where the average of the soft masks is higher.
        lesion_name: what users call what is found, as the members know it once they are open.
        findings: none, as a `lesionseg.inference.runtimes.model_card.ModelCard` of one lesion has it.
    """

    members: tuple[Member, ...]
    threshold: float
    lesion_name: str = ""
    findings: tuple[str, ...] = ()

    @property
    def weights(self) -> list[float]:
        """Those of the members, with the sum 1."""
        total = sum(member.weight for member in self.members)
        return [member.weight / total for member in self.members]

    def properties(self) -> dict[str, Any]:
        """The card as JSON can hold it."""
        members = [
            {name: value for name, value in asdict(member).items() if value is not None} for member in self.members
        ]
        return {_FORMAT_KEY: _FORMAT, "threshold": self.threshold, "members": members}

    def write(self, folder: Path) -> None:
        """Write `ensemble.json` into a folder."""
        write_text(folder / CARD, json.dumps(self.properties(), indent=2) + "\n")

    @classmethod
    def read(cls, folder: str | PathLike) -> "EnsembleCard":
        """Read what `write` wrote.

        Raises:
            DataError: it is damaged, or of a newer version.
            OSError: it cannot be read.
        """
        path = Path(folder) / CARD
        try:
            values = json.loads(read_file(path))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: not JSON ({error}), expected the card of an ensemble. {MAKE_ANEW}") from error
        if fault := _fault(values):
            raise DataError(f"{path}: {fault}. {MAKE_ANEW}")
        members = tuple(Member(**({"checkpoint": None} | member)) for member in values["members"])
        return cls(members, values["threshold"])

    def check_members(self, folder: str | PathLike) -> None:
        """Raise DataError where a network is not there, or has been replaced since the weights were fitted."""
        for member in self.members:
            file = Path(folder) / member.file
            if not file.is_file():
                raise DataError(
                    f"{Path(folder) / CARD}: its member {member.file} is not there, expected it where it was. Move it "
                    "back, or move the ensemble together with its members."
                )
            if file_sha256(file) != member.sha256:
                raise DataError(
                    f"{file}: another file than when the ensemble {folder} was made, expected the same. {MAKE_ANEW}"
                )


def is_ensemble(path: str | PathLike) -> bool:
    """Whether a path means an ensemble: a folder with its card."""
    return os.path.isfile(os.path.join(path, CARD))


def _fault(values: Any) -> str:
    """What is wrong with a card, and what is expected; nothing where it is right."""
    if not isinstance(values, dict) or values.get(_FORMAT_KEY) != _FORMAT:
        return f"no card of an ensemble of format {_FORMAT}, expected {_FORMAT_KEY}: {_FORMAT}"
    threshold, members = values.get("threshold"), values.get("members")
    if not _is_share(threshold) or threshold == 1:
        return f"threshold is {threshold!r}, expected a number above 0 and below 1"
    if not isinstance(members, list) or not members:
        return "no members, expected one or more"
    for number, member in enumerate(members):
        if not isinstance(member, dict) or not member.keys() <= Member.__dataclass_fields__.keys():
            return f"member {number} is {str(member)[:100]}, expected model, checkpoint, weight and sha256"
        model, checkpoint = member.get("model"), member.get("checkpoint")
        is_config = isinstance(model, str) and model.endswith(".py")
        if not is_config and not (isinstance(model, str) and model.endswith(".onnx")):
            return f"the model of member {number} is {model!r}, expected the path of a config or an ONNX file"
        if is_config != isinstance(checkpoint, str) or not isinstance(checkpoint, str | None):
            return f"the checkpoint of member {number} is {checkpoint!r}, expected a path for a config, else none"
        if not _is_share(member.get("weight")):
            return f"the weight of member {number} is {member.get('weight')!r}, expected a number above 0, at most 1"
        if not isinstance(member.get("sha256"), str):
            return f"the sha256 of member {number} is {member.get('sha256')!r}, expected that of its file"
    return ""


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 < value <= 1
