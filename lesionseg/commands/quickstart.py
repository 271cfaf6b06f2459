"""The whole path in a few minutes, by the tools that a user would use for own data."""

import shlex
import subprocess
import sys
from pathlib import Path

from lesionseg.data.release.layouts.isic import find_release
from lesionseg.errors import DataError
from lesionseg.evaluation.report_file import Report
from lesionseg.models.imagenet import has_imagenet_weights
from lesionseg.shipped import shipped

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = shipped("configs") / "mask2former"
PHANTOM_CONFIG = CONFIGS / "mask2former_r18c4-w64_1xb8-amp-albu-300i_phantom-128x128.py"
ISIC_CONFIG = CONFIGS / "mask2former_r18c4-w64_1xb8-amp-albu-2500i_isic2018-128x128.py"
PRETRAINED_CONFIG = CONFIGS / "mask2former_effnet-lite0_1xb8-albu-2000i_isic2018-128x128.py"


def quickstart(release: Path | None, work_dir: Path, verbose: bool = False) -> None:
    """Draw or take a release, convert it, train a small Mask2Former, and score it on unseen images.

    On phantoms it starts from scratch, and on a release from ImageNet weights where the extra `pretrained` is there.

    Args:
        release: an ISIC release, archives or folders; None draws phantoms.
        work_dir: where everything goes.
        verbose: show MMEngine's log.

    Raises:
        DataError: there is no such release, or a tool fails.
    """
    if release:
        _check_splits(release)
    data, model = work_dir / "data", work_dir / "model"
    config = PHANTOM_CONFIG
    if release:
        config = PRETRAINED_CONFIG if has_imagenet_weights() else ISIC_CONFIG
    source = release or work_dir / "release"
    if not source.exists():
        _run("draw_phantoms.py", source)
    _run("convert_isic.py", source, data, "--short-edge", 128, "--overwrite")
    flags, root = ["--overwrite", *(["--verbose"] if verbose else [])], f"data_root={data}"
    _run("train.py", config, "--work-dir", model, *flags, "--cfg-options", root)
    checkpoint = model / (model / "last_checkpoint").read_text().strip().rsplit("/", 1)[-1]
    split = _tested_split(data)
    _run("test.py", config, checkpoint, "--work-dir", model, *flags, "--split", split, "--cfg-options", root)
    print(
        f"\nmean Dice {Report.read(model).per_image['dice']:.3f} over images that the model has not seen; look at\n"
        f"  {model / 'report.html'}  all images with both outlines, all scores, and what they were measured on\n"
        f"  {model / 'contact_sheet.jpg'}  best, median and worst images\n"
        f"  {model / 'learning_curve.png'}"
    )


def _check_splits(release: Path) -> None:
    """Raise DataError where a release, such as that of 2016, lacks what training needs; other faults the tools tell."""
    if not release.is_dir():
        raise DataError(f"{release}: no such folder, expected an ISIC release. Check the path.")
    listing = find_release(release)
    there = sorted({pair.split for pair in listing.pairs})
    if not listing.faults and not {"training", "validation"} <= set(there):
        raise DataError(
            f"{release}: its splits are {', '.join(there)}, expected training and validation. Split one at random, "
            f"tools/convert_isic.py {shlex.quote(str(release))} DATA --splits {there[-1]} --split 0.8,0.2, and train "
            "with tools/train.py on DATA."
        )


def _tested_split(data: Path) -> str:
    if (data / "images" / "test").is_dir():
        return "test"
    print(f"{data}: the release has no test split, so the validation images are scored, which chose nothing here")
    return "validation"


def _run(name: str, *arguments: str | Path | int) -> None:
    """Print a command as the user would type it, and run it."""
    command = [f"tools/{name}", *(_shown(argument) for argument in arguments)]
    print(f"\n$ uv run {shlex.join(command)}", flush=True)
    done = subprocess.run([sys.executable, str(shipped("tools") / name), *map(str, arguments)], check=False)
    if done.returncode:
        raise DataError(f"tools/{name}: ended with exit code {done.returncode}, expected 0. Its message stands above.")


def _shown(argument: str | Path | int) -> str:
    path = Path(str(argument))
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(argument)
