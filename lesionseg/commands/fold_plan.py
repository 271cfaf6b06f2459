"""What `tools/folds.py` is to do, and where everything lies."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lesionseg.data.names import PROBABILITY, mask_file
from lesionseg.engine.config import Options
from lesionseg.engine.work_dir import checkpoints, config_path
from lesionseg.errors import DataError
from lesionseg.files import write_text
from lesionseg.inference.inputs import Input
from lesionseg.inference.opening import MODEL_FILE

# In the work_dir of a fold: what it was trained with.
NOTED = "trained.json"
OUT_OF_FOLD = "out_of_fold"
# What follows the names of folders of soft masks that are averaged over flipped copies.
TTA = "_tta"


@dataclass(frozen=True)
class Choice:
    """What was asked for; see `tools/folds.py --help`.

    Attributes:
        configs: paths, or names of this package's configs.
        work_dir: where everything goes.
        folds: how many.
        seed: of the folds.
        tta: whether the ensemble is also scored with averages over flipped copies.
        amp: see `tools/train.py`.
        cfg_options: of every training.
    """

    configs: tuple[str, ...]
    work_dir: Path
    folds: int = 5
    seed: int = 0
    tta: bool = False
    amp: bool = False
    cfg_options: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """The command line that means the same."""
        words = [*self.configs, "--folds", str(self.folds), "--seed", str(self.seed), "--work-dir", str(self.work_dir)]
        words += ["--tta"] * self.tta + ["--amp"] * self.amp
        return words + (["--cfg-options", *self.cfg_options] if self.cfg_options else [])


@dataclass(frozen=True)
class Labelled:
    """The images of a split that have masks.

    Attributes:
        images: in the order of their names.
        masks: by id.
    """

    images: tuple[Input, ...]
    masks: dict[str, Path]


@dataclass(frozen=True)
class Job:
    """The training of one config on one fold, and what its network finds.

    Attributes:
        number: among all of the plan.
        model: number of the config.
        fold: that is held out.
        work_dir: of the training.
        options: config and flags of it.
        start_sha256: of what a training that goes on does not look at itself: starting weights, seed, and masks.
        settings_sha256: of what decides the weights that it ends with.
        looks_sha256: of what decides, beside the weights, what its network finds.
    """

    number: int
    model: int
    fold: int
    work_dir: Path
    options: Options
    start_sha256: str
    settings_sha256: str
    looks_sha256: str

    @property
    def is_trained(self) -> bool:
        """Whether it has ended, with these very settings, images and folds."""
        return self._noted("settings_sha256") == self.settings_sha256

    @property
    def looks_as_before(self) -> bool:
        """Whether what its network has found is what it would find now."""
        return self._noted("looks_sha256") == self.looks_sha256

    def check_start(self) -> None:
        """Raise DataError where the work_dir holds a training that has begun otherwise."""
        if self._noted("start_sha256") not in (None, self.start_sha256):
            raise DataError(
                f"{self.work_dir}: was trained from other starting weights, with another seed or on other masks, "
                "expected the same. Give them as they were, or choose another --work-dir."
            )

    def note(self, trained: bool) -> None:
        """Remember how it begins, and, where it has ended, with what, and what its network looks at."""
        noted = {"start_sha256": self.start_sha256}
        if trained:
            noted |= {"settings_sha256": self.settings_sha256, "looks_sha256": self.looks_sha256}
        write_text(self.work_dir / NOTED, json.dumps(noted) + "\n")

    def _noted(self, name: str) -> str | None:
        try:
            return json.loads((self.work_dir / NOTED).read_text("utf-8")).get(name)
        except (OSError, ValueError, AttributeError):
            return None

    def member(self) -> tuple[Path, Path | None]:
        """The network: an ONNX file, or a config and its last checkpoint.

        Not the best one: the images that would choose it are those that it is scored on.
        """
        if (self.work_dir / MODEL_FILE).is_file():
            return self.work_dir / MODEL_FILE, None
        return Path(config_path(str(self.work_dir))), list(checkpoints(self.work_dir).values())[-1]


@dataclass(frozen=True)
class Plan:
    """All trainings, and the images.

    Attributes:
        choice: what was asked for.
        names: of the configs, by number.
        tasks: of the configs, by number, see `lesionseg.engine.families`.
        jobs: a training a config and fold.
        labelled: the training images.
        tested: those of the test.
        tested_split: the name of their split.
        folds: id of a training image -> fold.
    """

    choice: Choice
    names: tuple[str, ...]
    tasks: tuple[str, ...]
    jobs: tuple[Job, ...]
    labelled: Labelled
    tested: Labelled
    tested_split: str
    folds: dict[str, int]

    @cached_property
    def variants(self) -> tuple[str, ...]:
        """What follows the names of the folders of soft masks."""
        return ("", TTA) if self.choice.tta else ("",)

    def out_of_fold(self, model: int, variant: str = "") -> Path:
        """The folder with what a config's networks find in the images that they have not seen."""
        return self.choice.work_dir / self.names[model] / f"{OUT_OF_FOLD}{variant}"

    def on_test(self, job: Job, variant: str = "") -> Path:
        """The folder with what a network finds in the images of the test."""
        return job.work_dir / f"{self.tested_split}{variant}"

    def outputs(self, job: Job, variant: str) -> list[tuple[Input, Path, Path]]:
        """Each image that a network looks at, and where its soft mask and its mask go."""
        held_out = [image for image in self.labelled.images if self.folds[image.id] == job.fold]
        places = [(image, self.out_of_fold(job.model, variant)) for image in held_out]
        places += [(image, self.on_test(job, variant)) for image in self.tested.images]
        return [(image, *files_of(folder, image.id)) for image, folder in places]

    def is_done(self, job: Job) -> bool:
        """Whether nothing is left to do for a fold."""
        return (
            job.is_trained
            and job.looks_as_before
            and all(
                soft.is_file() and mask.is_file()
                for variant in self.variants
                for _, soft, mask in self.outputs(job, variant)
            )
        )


def files_of(folder: Path, id: str) -> tuple[Path, Path]:
    """Where the soft mask and the mask of an image lie."""
    return folder / f"{id}{PROBABILITY}", folder / mask_file(id)
