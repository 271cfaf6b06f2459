"""Draw masks on images, on a page in the browser."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lesionseg.cli import tool
from lesionseg.commands.annotate import Annotation, annotate
from lesionseg.pages.address import add_address_arguments, address_of

EPILOG = """\
examples:
  one mask an image:
    python tools/annotate.py photos --out masks
  three findings, which may overlap, each begun from what a model finds:
    python tools/annotate.py photos --out masks --findings acne hemo mela --model work_dirs/export
  the missing masks of a data set folder, whose images then belong in images/training and masks in
  annotations/training:
    python tools/annotate.py data/MINE/images/unlabelled --out drawn

MASKS gets <id>.png, or <finding>/<id>.png with --findings: gray 0 = skin and 255 = lesion, in the image's original
size. An id is the path of an image below its IMAGES without suffix, so sub-folders are kept. Masks that are there
already are shown, and replaced only when you say so.
"""


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "images",
        metavar="IMAGES",
        nargs="+",
        help="images, folders with all below them, and quoted patterns such as 'photos/**/*.png'",
    )
    parser.add_argument("--out", metavar="MASKS", type=Path, required=True, help="folder of the masks")
    parser.add_argument(
        "--findings", metavar="NAME", nargs="+", default=[], help="what is drawn, a layer and a folder of masks each"
    )
    parser.add_argument(
        "--model",
        metavar=("MODEL", "CHECKPOINT"),
        nargs="+",
        default=[],
        help="to begin from: an ONNX file of tools/export.py or the folder that it wrote, the work_dir of a training, "
        "an ensemble of tools/folds.py, a config and its CHECKPOINT, or otsu-blue",
    )
    add_address_arguments(parser)
    args = parser.parse_args(argv)
    if len(args.model) > 2:
        parser.error("--model takes one model: an exported one, or a config and its checkpoint")
    address = address_of(args, parser)
    print(annotate(Annotation(args.images, args.out, args.findings, args.model), address))


if __name__ == "__main__":
    sys.exit(main())
