"""The commands of the READMEs, run one after the other on drawn images; only with READMES in the environment.

Trainings take two steps, and configs for a GPU give way to the small ones of their family. What is left out is named
below with its reason.
"""

import multiprocessing
import os
import re
import shutil
from glob import glob, has_magic
from pathlib import Path

import cv2
import pytest
from helpers import ROOT, draw_pair, draw_release_folder, load_tool
from readmes import READMES, commands_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("READMES" not in os.environ, reason="it takes many minutes: READMES=1 in the environment"),
]

MASK2FORMER = "mask2former_r18c4-w64_1xb8-amp-albu-2500i_isic2018-128x128"
MASK_RCNN = "mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160"
SMALL = {
    r"mask2former_r50_(1xb4-(scratch-)?20k|1xb16-amp-albu-scratch-2500i)_isic2018-512x512": MASK2FORMER,
    r"mask-rcnn_r50_fpn_1xb8-amp-(scratch-)?10k_isic2018-512x512": MASK_RCNN,
    r"iter_\d+\.pth": "iter_2.pth",
    r"max_iters=\d+": "max_iters=2",
    # Four training images and a few more are too few for a tenth.
    r"train_fraction=0\.1": "train_fraction=0.5",
    r"--folds 5": "--folds 2",
    r"--(steps|rounds) \d+": r"--\1 1",
}
TRAINING = ("max_iters=2", "train_cfg.val_interval=2", "train_dataloader.batch_size=2")
LEFT_OUT = {
    ("quickstart",): "`.ci/run` runs it",
    ("download_isic",): "14 GB",
    ("--launcher", "slurm"): "takes Slurm",
    ("--launcher", "pytorch"): "tests/engine/test_training.py starts it",
    ("clinic",): "`.ci/own_images.py` runs the six commands of your own images",
    ("data/CLINIC",): "one of the six",
    ("data_root=data/CLINIC",): "one of the six",
    ("work_dirs/clinic",): "one of the six",
    ("work_dirs/clinic/export",): "one of the six",
    ("data/CLINIC/images/unlabelled",): "one of the six",
}


def draw_images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(folder / f"{name}.jpg"), draw_pair(int(name[-7:]))[0])


def draw_masks(folder: Path, names: list[str], ending: str, shift: int = 0) -> None:
    """Draw the masks of `draw_images`, or others of the same size."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / f"{name}{ending}"), draw_pair(int(name[-7:]) + shift)[1])


def draw_what_is_named() -> None:
    """Draw, in this folder, what the READMEs take to be there."""
    for release in ("RELEASE", "data/raw"):
        # So many of the validation are needed to fit an expected Jaccard.
        draw_release_folder(Path(release), training=12, validation=20, test=4)
    names = [f"ISIC_{number:07}" for number in range(12)]
    for folder in ("photos", "HAM10000", "data/mine/photos", "NAILS/images"):
        draw_images(Path(folder), names)
    draw_masks(Path("data/mine/outlines"), names, "_lesion.png")
    draw_masks(Path("NAILS/masks"), names, ".png")
    patients = "".join(f"{name},{number // 2}\n" for number, name in enumerate(names))
    Path("data/mine/patients.csv").write_text(f"image_id,patient_id\n{patients}")
    draw_marked(Path("data/photos"))
    for number, folder in enumerate(("labels", "anna", "bela", "predictions")):
        for finding in ("acne", "hemo") if folder == "labels" else ("",):
            draw_masks(Path(folder, finding), names, "_mask.png" if finding else ".png", shift=number)
    # The submission that is scored with it is of the test images.
    shutil.copytree("RELEASE/ISIC2018_Task1_Test_GroundTruth", "ISIC2018_Task1_Validation_GroundTruth")
    Path("ids.txt").write_text("\n".join(names[:4]))
    Path("configs").symlink_to(ROOT / "configs")


def draw_marked(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, finding in enumerate(("acne", "hemo", "mela")):
        image, mask = draw_pair(number)
        cv2.imwrite(str(folder / f"{number}_org_{finding}.jpg"), image)
        image[mask > 0] = (0, 255, 0)
        cv2.imwrite(str(folder / f"{number}_39_{finding}.jpg"), image)


def before(tool: str, arguments: list[str]) -> None:
    """Put there what only then can be, as it comes from earlier commands, or would be in their way."""
    if "data/raw/2017" in arguments:
        shutil.rmtree("data/ISIC")
        for year in ("2017", "2018"):
            draw_release_folder(Path("data/raw", year), training=6, validation=2, test=2)
    if tool == "evaluate" and "ours" in arguments:
        findings = ("acne", "hemo") if "labels" in arguments else ("",)
        truth = sorted(Path("labels/acne" if "labels" in arguments else "data/ISIC/annotations/test").glob("*.png"))
        for shift, folder in enumerate(("ours", "theirs"), 1):
            shutil.rmtree(folder, ignore_errors=True)
            for finding in findings:
                ending = "_mask.png" if "labels" in arguments else ".png"
                draw_masks(Path(folder, finding), [path.stem.removesuffix("_mask") for path in truth], ending, shift)
    if "--fit-quality" in arguments:
        call("convert_isic", ["RELEASE", "data/ISIC", "--overwrite"])
        call("masks2coco", ["data/ISIC", "--overwrite"])
    if "--from-hf" in arguments:
        shutil.copytree("data/ISIC_hf", "data/THEIRS_hf")
    if tool == "train" and not Path("data/ISIC").exists():
        call("convert_isic", ["RELEASE", "data/ISIC"])
    if tool == "folds":
        call("masks2coco", ["data/ISIC", "--overwrite"])


def call(tool: str, arguments: list[str]) -> None:
    """Run a tool in a process of its own, which has imported already what all of them need."""

    def run() -> None:
        raise SystemExit(load_tool(tool).main(arguments))

    print(f"\n$ {tool} {' '.join(arguments)}", flush=True)
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(600)
    assert process.exitcode == 0, f"tools/{tool}.py {' '.join(arguments)}"


def small(tool: str, arguments: list[str]) -> list[str]:
    """The arguments for drawn images and two steps."""
    words = []
    for word in arguments:
        if word == "CHECKPOINT":
            words.append(f"work_dirs/{Path(words[-1]).stem}/iter_2.pth")
        elif word == "WORK_DIR":
            words.append(f"work_dirs/{MASK_RCNN}")
        else:
            words += sorted(glob(word)) if has_magic(word) else [word]
    if tool in ("train", "folds"):
        if "--cfg-options" not in words:
            words.append("--cfg-options")
        words += [each for each in TRAINING if each not in words]
    if tool == "benchmark":
        words += ["--rounds", "1"] * ("--rounds" not in words and words[0] != "convert")
        words += ["--steps", "1"] * ("--steps" not in words and words[0] == "train")
    # One README has several ways to a folder, of which a user goes one.
    if tool in ("convert_isic", "masks2coco", "predict", "test", "train"):
        words.append("--overwrite")
    return words


@pytest.mark.parametrize("readme", READMES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_commands_run(readme, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import lesionseg.openmmlab  # noqa: F401

    text = readme.read_text(encoding="utf-8")
    for name, code in re.findall(r"```python\n# ([\w-]+\.py)\n(.*?)```", text, re.S):
        Path(name).write_text(code)
    for pattern, replacement in SMALL.items():
        text = re.sub(pattern, replacement, text)
    draw_what_is_named()
    run = 0
    for tool, arguments in commands_of(text):
        if any(set(words) <= {tool, *arguments} for words in LEFT_OUT):
            continue
        before(tool, arguments)
        call(tool, small(tool, arguments))
        run += 1
    assert run or not list(commands_of(text))
