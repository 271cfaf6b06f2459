"""Run the README's six commands as they stand there, away from the checkout, on drawn photographs.

Usage: python .ci/own_images.py BIN, the folder of the programs of an environment in which lesionseg is installed.
"""

import csv
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
HEADING = "## Your own images in six commands"


def commands() -> str:
    """The first block of the section, for an environment that is not uv's, and with a training of a few steps."""
    section = README.read_text(encoding="utf-8").split(f"{HEADING}\n")[1]
    block = re.search(r"```bash\n(.*?)```", section, re.S)
    assert block, f"{README}: no commands under {HEADING}"
    return block[1].replace("uv run ", "").replace("data_root=data/CLINIC", "data_root=data/CLINIC max_iters=4")


def draw_clinic(folder: Path) -> None:
    """Draw 24 photographs, three a patient, of which the last two have no mask."""
    sizes = ["--training", "24", "--validation", "0", "--test", "0", "--height", "144", "--width", "192"]
    subprocess.run(["lesionseg", "draw-phantoms", str(folder), *sizes], check=True)
    (folder / "ISIC2018_Task1-2_Training_Input").rename(folder / "photos")
    (folder / "ISIC2018_Task1_Training_GroundTruth").rename(folder / "outlines")
    for mask in sorted((folder / "outlines").glob("*.png"))[-2:]:
        mask.unlink()
    with open(folder / "patients.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image_id", "patient_id"])
        table.writerows(
            (photo.stem, f"patient {number // 3}")
            for number, photo in enumerate(sorted((folder / "photos").glob("*.jpg")))
        )


def main() -> None:
    os.environ["PATH"] = f"{Path(sys.argv[1]).resolve()}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        draw_clinic(Path("clinic"))
        subprocess.run(["bash", "-euxo", "pipefail", "-c", commands()], check=True)
        for masks in ("masks", "masks_onnx"):
            made = sorted(path.name for path in Path(masks).glob("*_segmentation.png"))
            assert len(made) == 2, f"{masks}: {made}, expected a mask for each photograph without one"


if __name__ == "__main__":
    main()
