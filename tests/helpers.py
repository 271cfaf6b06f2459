"""What several test modules draw and call."""

import importlib.util
import os
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
# The small config, as tools take it.
MASK2FORMER = str(ROOT / "configs/mask2former/mask2former_r18c4-w64_1xb8-amp-albu-2500i_isic2018-128x128.py")


def load_tool(name: str):
    """Import tools/<name>.py as a module."""
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def help_of(name: str, *command: str) -> str:
    """What a tool, or a command of it, prints for `--help`."""
    with redirect_stdout(StringIO()) as printed, pytest.raises(SystemExit):
        load_tool(name).main([*command, "--help"])
    return printed.getvalue()


def torchrun(*arguments) -> None:
    """Run a tool in two processes without a GPU; the first argument is its path."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [*command, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]


def start_as_srun(*arguments) -> list[subprocess.Popen]:
    """Start Python in two processes without a GPU that have the variables of `srun --ntasks 2` on one machine."""
    shared = dict(os.environ, CUDA_VISIBLE_DEVICES="", PYTHONPATH=str(ROOT))
    shared.pop("OMP_NUM_THREADS", None)
    shared |= dict(SLURM_NTASKS="2", SLURM_JOB_ID=str(os.getpid()), SLURM_STEP_ID="0")
    return [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=dict(shared, SLURM_PROCID=rank, SLURM_LOCALID=rank),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]


def draw_pair(number: int, height: int = 72, width: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Draw noisy skin with one dark ellipse: (H, W, 3) uint8 BGR, and its mask (H, W) uint8 0/255."""
    rng = np.random.default_rng(number)
    mask = np.zeros((height, width), np.uint8)
    center = (int(rng.uniform(0.3, 0.7) * width), int(rng.uniform(0.3, 0.7) * height))
    axes = (int(rng.uniform(0.15, 0.3) * width), int(rng.uniform(0.15, 0.3) * height))
    cv2.ellipse(mask, center, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    image = np.full((height, width, 3), (150, 170, 220), np.uint8)
    image[mask > 0] = (50, 70, 110)
    noise = rng.normal(0, 6, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), mask


def write_mask(path: Path, *rows: str) -> Path:
    """Draw a mask by hand, a text a row: `1` is lesion, 255 in the file, anything else skin, 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.array([[255 * (each == "1") for each in row] for row in rows], np.uint8))
    return path


def draw_photos(tmp_path: Path) -> Path:
    """Draw six images in three sizes and two folders, among what else lies in such folders."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, size in enumerate([(72, 96), (72, 96), (60, 80), (72, 96), (60, 80)]):
        cv2.imwrite(str(folder / f"ISIC_{number}.png"), draw_pair(number, *size)[0])
    cv2.imwrite(str(folder / "more" / "ISIC_0.JPG"), draw_pair(9, 90, 70)[0])
    for name in ("ISIC_0_segmentation.png", "ISIC_1_superpixels.png", "ISIC_2_Segmentation.png", ".hidden.png"):
        cv2.imwrite(str(folder / name), np.zeros((72, 96), np.uint8))
    (folder / "ATTRIBUTION.txt").touch()
    (folder / "ages.csv").touch()
    return folder


def draw_release_folder(folder: Path, **counts: int) -> Path:
    """Draw pairs in the folders of ISIC 2018 Task 1: `training`, `validation` and `test` say how many."""
    number = 0
    for split, count in counts.items():
        parts = (f"ISIC2018_Task1-2_{split.title()}_Input", f"ISIC2018_Task1_{split.title()}_GroundTruth")
        for part in parts:
            (folder / part).mkdir(parents=True)
        for _ in range(count):
            image, mask = draw_pair(number)
            cv2.imwrite(str(folder / parts[0] / f"ISIC_{number:07}.jpg"), image)
            cv2.imwrite(str(folder / parts[1] / f"ISIC_{number:07}_segmentation.png"), mask)
            number += 1
    return folder
