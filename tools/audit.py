"""Find twins, images that show the same lesion, in data sets and between them, and those that lie in several splits."""

import argparse
import sys
from collections.abc import Sequence

from lesionseg.cli import path_object, threads, tool

EPILOG = """\
examples:
  a data set folder; look, test and train_fraction then know the groups:
    lesionseg audit data/ISIC --out data/ISIC/audit
  the releases of several years, before they are converted; their zip archives have to be extracted first:
    lesionseg audit data/raw/2017 data/raw/2018 --out work_dirs/audit
    lesionseg convert data/raw/2018 data/ISIC --group-csv work_dirs/audit/groups.csv

DIR gets groups.csv, a row for each image, pairs.csv, a row for each pair of twins with what speaks for it, and
pairs.jpg, a contact sheet of pairs. The exit code is 1 where twins lie in several of training, validation and test.
"""


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = _parse(argv)
    from lesionseg.commands.audit import run_audit

    run_audit(args.dataset, args.out, not args.no_embeddings, args.workers, args.overwrite)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        type=path_object,
        nargs="+",
        help="a data set folder, or any folder of images, of which folders called training, val, TestImages and the "
        "like tell the splits, or else its own name",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=path_object, required=True, help="where groups.csv, pairs.csv and pairs.jpg go"
    )
    parser.add_argument(
        "--no-embeddings",
        action="store_true",
        help="do without the network that finds cut and turned copies: faster, and needs no weights",
    )
    parser.add_argument("--workers", metavar="N", type=threads, help="how many threads work (default: one a core)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier audit in DIR")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
