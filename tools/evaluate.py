"""Score folders of masks against true masks, and compare them: no model, no config."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lesionseg.cli import add_mask_names, tool

EPILOG = """\
examples:
  a challenge submission against the masks of the release:
    python tools/evaluate.py ISIC2018_Task1_Validation_GroundTruth submission --out work_dirs/submission
  two systems on a split of a data set folder:
    python tools/evaluate.py data/ISIC ours theirs --split test --out work_dirs/ours-theirs
  masks called <id>_mask.png, a folder a finding, with outlines on the photographs:
    python tools/evaluate.py labels A B --suffix _mask --images photos --out work_dirs/findings

A mask is <id>.png or <id>_segmentation.png, an id its path below the folder given; lesion is gray above 128.
DIR gets a folder a system with what a test leaves, report.html, report.json, per_image.csv, jaccard.png and
contact_sheet.jpg, which tools/compare.py takes, the comparison (report.html, comparison.md, .csv and .png), the
images on which the systems differ most (largest_differences.jpg), and, where all masks lie in two or more
sub-folders, the scores of each (by_folder.csv).
"""


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = _parse(argv)
    from lesionseg.commands.evaluate import Job, run_evaluation

    run_evaluation(Job(**vars(args)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "truth",
        metavar="TRUTH",
        type=Path,
        help="a folder of true masks, the index.csv of a data set folder, or such a folder",
    )
    parser.add_argument(
        "systems",
        metavar="MASKS",
        type=Path,
        nargs="+",
        help="a folder of masks, of a model or a person; the others are compared with the first",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="where results go; an earlier evaluation is replaced"
    )
    add_mask_names(parser)
    parser.add_argument(
        "--images",
        metavar="DIR",
        type=Path,
        help="images to draw the outlines on (default: those of the data set, else the true masks in gray)",
    )
    parser.add_argument("--split", help="of a data set folder or its index.csv, such as validation")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
