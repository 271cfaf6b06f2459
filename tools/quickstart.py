"""Draw, convert, train and test: the whole path in a few minutes, by the tools that you would use for your own data.

Without --data it draws phantoms, trains a small Mask2Former on them from scratch and scores it on phantoms that it has
not seen. With --data it does the same with a release of ISIC 2016, 2017 or 2018 Task 1, archives or folders.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lesionseg.cli import tool
from lesionseg.errors import DataError

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs" / "mask2former"
PHANTOM_CONFIG = CONFIGS / "mask2former_r18c4-w64_1xb8-amp-albu-300i_phantom-128x128.py"
ISIC_CONFIG = CONFIGS / "mask2former_r18c4-w64_1xb8-amp-albu-2500i_isic2018-128x128.py"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", help="an ISIC release (default: draw phantoms)")
    parser.add_argument(
        "--work-dir", metavar="DIR", default="work_dirs/quickstart", help="where everything goes (default: %(default)s)"
    )
    return parser.parse_args(argv)


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    work_dir = Path(args.work_dir)
    if args.data and not Path(args.data).is_dir():
        raise DataError(f"{args.data}: no such folder, expected an ISIC release. Check the path.")
    data, model, config = work_dir / "data", work_dir / "model", ISIC_CONFIG if args.data else PHANTOM_CONFIG
    release = Path(args.data) if args.data else work_dir / "release"
    if not args.data and not release.exists():
        _run("draw_phantoms.py", release)
    _run("convert_isic.py", release, data, "--short-edge", 128, "--overwrite")
    root = f"data_root={data}"
    _run("train.py", config, "--work-dir", model, "--cfg-options", root)
    checkpoint = model / (model / "last_checkpoint").read_text().strip().rsplit("/", 1)[-1]
    _run("test.py", config, checkpoint, "--work-dir", model, "--cfg-options", root, *_test_split(data))
    scores = json.loads((model / "report.json").read_text())["per_image"]
    print(
        f"\nmean Dice {scores['dice']:.3f} over images that the model has not seen; look at\n"
        f"  {model / 'contact_sheet.jpg'}  best, median and worst images with both outlines\n"
        f"  {model / 'report.json'}  all scores, and what they were measured on\n"
        f"  {model / 'learning_curve.png'}"
    )


def _test_split(data: Path) -> list[str]:
    if (data / "images" / "test").is_dir():
        return []
    print(f"{data}: the release has no test split, so the validation images are scored, which chose nothing here")
    return [
        "test_dataloader.dataset.data_prefix.img_path=images/validation",
        "test_dataloader.dataset.data_prefix.seg_map_path=annotations/validation",
    ]


def _run(name: str, *arguments: str | Path | int) -> None:
    """Print a command as the user would type it, and run it."""
    command = [f"tools/{name}", *(_shown(argument) for argument in arguments)]
    print(f"\n$ uv run {shlex.join(command)}", flush=True)
    done = subprocess.run([sys.executable, str(ROOT / "tools" / name), *map(str, arguments)], check=False)
    if done.returncode:
        raise DataError(f"tools/{name}: ended with exit code {done.returncode}, expected 0. Its message stands above.")


def _shown(argument: str | Path | int) -> str:
    path = Path(str(argument))
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(argument)


if __name__ == "__main__":
    sys.exit(main())
