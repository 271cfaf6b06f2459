"""Score a checkpoint on a config's test set: official scores per image, and pooled ones."""

import argparse
import sys
from collections.abc import Sequence

from lesionseg.cli import add_config_arguments, tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument("checkpoint", help="a .pth file, such as work_dirs/<config>/best_lesion_jaccard_iter_20000.pth")
    parser.add_argument("--out", metavar="DIR", help="write the predicted masks, <id>_segmentation.png, gray 0 and 255")
    parser.add_argument("--show-dir", metavar="DIR", help="write MMSegmentation's picture of every image")
    parser.add_argument("--tta", action="store_true", help="average over flipped copies of each image")
    return parser.parse_args(argv)


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from lesionseg.engine.launch import Options, evaluate
    from lesionseg.evaluation.report import score_table

    work_dir, table = evaluate(Options.of(args), args.checkpoint, tta=args.tta, out=args.out, show_dir=args.show_dir)
    if table:
        print(score_table(table))
        print(
            f"scored {len(table)} images; report.json, per_image.csv, jaccard.png, contact_sheet.jpg are in {work_dir}"
        )


if __name__ == "__main__":
    sys.exit(main())
