"""Compare finished tests on the same images: one table, paired differences and box plots side by side."""

import argparse
import sys
from collections.abc import Sequence
from shutil import get_terminal_size

from lesionseg.cli import path, tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "work_dirs",
        metavar="WORK_DIR",
        type=path,
        nargs="+",
        help="a folder where tools/test.py or tools/evaluate.py left report.json and per_image.csv; the others are "
        "compared with the first",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=path,
        default="work_dirs/comparison",
        help="where report.html, comparison.md, .csv and .png go; an earlier comparison is replaced "
        "(default: %(default)s)",
    )
    return parser.parse_args(argv)


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from lesionseg.evaluation.compare import compare, read_tests

    rows = compare(read_tests(args.work_dirs))
    from lesionseg.evaluation.compare_tables import comparison_text, write_comparison

    write_comparison(args.out, rows)
    print(comparison_text(rows, width=get_terminal_size(fallback=(200, 24)).columns))
    print(
        f"compared {len(rows)} tests on {len(rows[0].test.ids)} images; all on one page: {args.out}/report.html, and "
        "comparison.md, comparison.csv, comparison.png beside it"
    )


if __name__ == "__main__":
    sys.exit(main())
