"""report.json, what a finished test leaves for others to read: its form, written and read here alone."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, count
from os import PathLike
from pathlib import Path
from typing import Any

from lesionseg.errors import DataError, first_names
from lesionseg.evaluation.scores import PER_IMAGE, POOLED
from lesionseg.files import write_text

REPORT = "report.json"
# What stands in the place of a config where masks were scored without any.
NO_CONFIG = "none: folders of masks"

# What a file has to hold, and of which types; `...` stands for a key that is not there.
_FORM: dict[tuple[str, ...], Any] = {
    ("images",): int,
    ("notes",): list,
    **{("per_image", name): float for name in PER_IMAGE},
    **{("pooled", name): (float, type(None)) for name in POOLED},
    **{("provenance", name): str for name in ("config", "checkpoint", "checkpoint_sha256", "dataset_sha256")},
    ("provenance", "annotations_sha256"): (str, type(None), type(...)),
    ("provenance", "truth_sha256"): (str, type(...)),
    ("optimistic",): (bool, type(...)),
    ("coco",): (dict, type(...)),
    ("lesion",): (dict, type(...)),
    ("findings",): (dict, type(...)),
    ("twins_in_training",): (dict, type(...)),
    ("failures",): (dict, type(...)),
    ("groups",): (dict, type(...)),
}


@dataclass(frozen=True)
class Report:
    """The scores of a test, and what they were measured on.

    Attributes:
        images: how many were measured.
        per_image: means over images by the names in `lesionseg.evaluation.scores.PER_IMAGE`, 0..1.
        pooled: scores over the pixels of all images by the names in `POOLED`, 0..1; None where a class occurs nowhere.
        provenance: where the numbers come from, see `lesionseg.evaluation.report.provenance`.
        notes: what a reader of the numbers has to know, a sentence each.
        optimistic: whether the predictions were chosen by looking at the truth.
        coco: MMDetection's scores of instances by name, such as `segm_mAP_50`, 0..1, and -1 where there is nothing to
            measure; none for semantic segmentation.
        lesion: scores by the names in `LESION`, as `per_image` means over images and `pooled`, 0..1, None where there
            is nothing to be a share of; none in reports of earlier versions.
        findings: of several findings, the `per_image` of each by its name; the scores above are then means over the
            findings, and `images` counts each finding of an image for itself.
        twins_in_training: of the images `with` one of their group in training and of those `without`, how many `images`
            and their `per_image`, see `lesionseg.evaluation.seen`; none where no groups are known.
        failures: how well the model knows when it fails, see `lesionseg.evaluation.failures.Failures`; none of a method
            that is sure everywhere.
        groups: scores by groups of images, see `lesionseg.evaluation.groups`; none where they were not asked for.
    """

    images: int
    per_image: Mapping[str, float]
    pooled: Mapping[str, float | None]
    provenance: Mapping[str, Any]
    notes: Sequence[str] = ()
    optimistic: bool = False
    coco: Mapping[str, float | None] = field(default_factory=dict)
    lesion: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    findings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    twins_in_training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failures: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: str | PathLike) -> None:
        """Write `report.json` into a folder; JSON has no NaN, so what has no score is null."""
        values = asdict(self) | dict(pooled=_without_nan(self.pooled), coco=_without_nan(self.coco))
        values["lesion"] = {kind: _without_nan(scores) for kind, scores in self.lesion.items()}
        for name in ("coco", "lesion", "findings", "twins_in_training", "failures", "groups"):
            if not values[name]:
                del values[name]
        write_text(Path(folder) / REPORT, json.dumps(values, indent=2, allow_nan=False) + "\n")

    @classmethod
    def read(cls, folder: str | PathLike) -> "Report":
        """Read what `write` wrote, by this version or an earlier one.

        Raises:
            DataError: there is no such file, or it is damaged; without a full stop, so that a next step can follow.
            OSError: it cannot be read.
        """
        path = Path(folder) / REPORT
        if not path.is_file():
            raise DataError(f"{path}: no such file, expected the report of a finished test")
        try:
            values = json.loads(path.read_text("utf-8"))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: not JSON ({error}), expected a report") from error
        unusable = [".".join(keys) for keys, kind in _FORM.items() if not isinstance(_value(values, keys), kind)]
        if unusable := unusable or _unusable_parts(values):
            raise DataError(f"{path}: {first_names(unusable)} missing or damaged, expected a report of this version")
        return cls(**{name: value for name, value in values.items() if name in cls.__dataclass_fields__})


def check_no_test(folder: str | PathLike) -> None:
    """Raise DataError where a folder holds a test, whose page another one would replace."""
    if (Path(folder) / REPORT).exists():
        raise DataError(f"{folder}: it holds the report of a test, expected another folder. Choose another --out.")


def folder_for(work_dir: str | PathLike, model: str | PathLike, provenance: Mapping, notes: Sequence[str]) -> Path:
    """Where the report of a test goes, so that it replaces none but its own of an earlier time.

    Args:
        work_dir: its place, unless the report of another test is there; then it is a folder in it.
        model: path of what was tested, which names that folder.
        provenance: see `Report`.
        notes: see `Report`.

    Returns:
        the first of `work_dir`, `work_dir/test_<model>`, `work_dir/test_<model>-2` and so on that is free.
    """
    name = Path(model).resolve().name.removesuffix(".pth")
    numbered = (f"test_{name}-{number}" for number in count(2))
    folders = (Path(work_dir) / part for part in chain([".", f"test_{name}"], numbered))
    return next(folder for folder in folders if _is_free(folder, provenance, notes))


def _is_free(folder: Path, provenance: Mapping, notes: Sequence[str]) -> bool:
    """Whether a folder holds no report, or one of the same model, settings and images."""
    if not (folder / REPORT).exists():
        return True
    try:
        earlier = Report.read(folder)
    except (DataError, OSError):
        return False
    same = ("checkpoint_sha256", "config_sha256", "dataset_sha256", "annotations_sha256")
    return list(earlier.notes) == list(notes) and all(
        earlier.provenance.get(key) == provenance.get(key) for key in same
    )


def _unusable_parts(values: dict) -> list[str]:
    """Name the scores out of range (None: nothing to measure; COCO's are -1 there) and the notes that are no text."""
    parts = (("pooled", values["pooled"], 0), ("coco", values.get("coco", {}), -1))
    return [
        *(
            f"{part}.{name}"
            for part, scores, least in parts
            for name, value in scores.items()
            if value is not None and not (isinstance(value, float) and least <= value <= 1)
        ),
        *(f"notes[{number}]" for number, note in enumerate(values["notes"]) if not isinstance(note, str)),
    ]


def _value(values: object, keys: Sequence[str]) -> object:
    for key in keys:
        values = values.get(key, ...) if isinstance(values, dict) else ...
    return values


def _without_nan(scores: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None or math.isnan(value) else value for name, value in scores.items()}
