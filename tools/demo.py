"""Try a model on photographs, or two side by side, on a page in the browser."""

import argparse
import sys
from collections.abc import Sequence

from lesionseg.cli import tool
from lesionseg.commands.demo import demo
from lesionseg.inference.opening import pair_checkpoints
from lesionseg.pages.address import add_address_arguments, address_of

EPILOG = """\
examples:
  an exported model:
    python tools/demo.py work_dirs/export
  two models side by side, one of them not exported:
    python tools/demo.py work_dirs/export/model.onnx configs/segformer/CONFIG.py best.pth

The page shows outline, soft mask and area, and the Dice between two models; a true mask may be given beside the
photograph. What is dropped on it stays on this machine, and is removed when the page ends.
"""


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "models",
        metavar="MODEL",
        nargs="+",
        help="one or two: an ONNX file of tools/export.py or the folder that it wrote, the work_dir of a training, an "
        "ensemble of tools/folds.py, a config followed by its CHECKPOINT, or otsu-blue, a baseline that has learned "
        "nothing",
    )
    add_address_arguments(parser)
    args = parser.parse_args(argv)
    models = pair_checkpoints(args.models)
    if len(models) > 2:
        parser.error(f"{len(models)} models, expected one or two")
    print(demo(models, address_of(args, parser)))


if __name__ == "__main__":
    sys.exit(main())
