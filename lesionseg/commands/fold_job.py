"""One job of `tools/folds.py`: a network is trained on a fold, and looks at the images that it has not seen."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lesionseg.cli import progress
from lesionseg.commands.fold_plan import TTA, Job, Plan
from lesionseg.files import write_bytes
from lesionseg.inference.finder import Image, Prediction
from lesionseg.inference.inputs import Input
from lesionseg.inference.network import Network
from lesionseg.inference.opening import open_finder
from lesionseg.pixels.masks import encode_mask, encode_probability
from lesionseg.pixels.pictures import quiet_opencv, read_image
from lesionseg.workers import map_files

# Images that are read and written side by side.
_AT_ONCE = 16


def run_job(plan: Plan, job: Job) -> None:
    """Do what is left to do for a fold; what an earlier run has done is kept.

    Raises:
        DataError: as from `lesionseg.commands.train.train`, or an image cannot be read.
        Stopped: by Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    job.check_start()
    trained = job.is_trained
    if not (trained and job.looks_as_before):
        job.note(trained=False)
        # What another network has found, or in other images.
        for variant in ("", TTA):
            for _, *files in plan.outputs(job, variant):
                for file in files:
                    file.unlink(missing_ok=True)
        if not trained:
            train_fold(job)
        job.note(trained=True)
    for variant in plan.variants:
        if rest := [each for each in plan.outputs(job, variant) if not (each[1].is_file() and each[2].is_file())]:
            predict_fold(job, rest, tta=variant == TTA)


def train_fold(job: Job) -> None:
    """Train, or go on where an earlier run was ended."""
    # Not at the top: it takes seconds, which a job without a training to do need not wait.
    from lesionseg.commands.train import train

    train(job.options, resume="auto")


def predict_fold(job: Job, outputs: Sequence[tuple[Input, Path, Path]], tta: bool) -> None:
    """Write the soft mask and the mask of images, both whole or not at all.

    Raises:
        DataError: the network or an image cannot be used.
        OSError: the outputs cannot be written.
    """
    network = open_finder(*job.member(), tta=tta)
    assert isinstance(network, Network)

    def predicted() -> Iterator[None]:
        for start in range(0, len(outputs), _AT_ONCE):
            some = outputs[start : start + _AT_ONCE]
            images = list(map_files(lambda each: Image(read_image(each[0].path), each[0].id), some))
            found = [network.find([image])[0] for image in images]
            yield from map_files(lambda pair: _write(*pair), list(zip(some, found, strict=True)))

    with quiet_opencv():
        for _ in progress(predicted(), len(outputs), "predicting"):
            pass


def _write(output: tuple[Input, Path, Path], found: Prediction) -> None:
    _, soft, mask = output
    write_bytes(soft, encode_probability(found.soft_mask()))
    write_bytes(mask, encode_mask(found.mask))
