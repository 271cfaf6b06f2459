"""Compare people who have drawn the same lesions with each other, and a model's masks with theirs."""

import argparse
import sys
from collections.abc import Sequence

from lesionseg.cli import add_mask_names, path_object, tool

EPILOG = """\
examples:
  two annotators, and a model beside them:
    python tools/agreement.py anna bela --model predictions --out work_dirs/agreement
  three, whose masks are called <id>_mask.png, on the images that all have drawn:
    python tools/agreement.py anna bela cilla --suffix _mask --common --out work_dirs/agreement

Each pair is compared, and of three or more people each with what the others agree on: the majority of them, and STAPLE
where SimpleITK is installed (pip install 'lesionseg[agreement]'); so is the model. DIR gets report.html, agreement.csv,
per_image.csv and agreement.png.
"""


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = _parse(argv)
    from lesionseg.commands.agreement import Job, run_agreement

    run_agreement(Job(**vars(args)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "people", metavar="MASKS", type=path_object, nargs="+", help="a folder of masks that one person has drawn"
    )
    parser.add_argument(
        "--model", metavar="MASKS", type=path_object, help="a folder of masks that a model has predicted"
    )
    parser.add_argument("--out", metavar="DIR", type=path_object, required=True, help="where results go")
    add_mask_names(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
