"""Draw, convert, train and test: the whole path, by the tools that you would use for your own data.

Without --data it draws phantoms, trains a small Mask2Former on them from scratch and scores it on phantoms that it has
not seen, in a few minutes. With --data it does the same with a release of ISIC 2017 or 2018 Task 1, archives or
folders, in some twenty minutes on two CPU cores; where the extra `pretrained` is installed, from ImageNet weights.
"""

import argparse
import sys
from collections.abc import Sequence

from lesionseg.cli import add_verbose, path_object, tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", type=path_object, help="an ISIC release (default: draw phantoms)")
    parser.add_argument(
        "--work-dir",
        metavar="DIR",
        type=path_object,
        default="work_dirs/quickstart",
        help="where everything goes (default: %(default)s)",
    )
    add_verbose(parser)
    return parser.parse_args(argv)


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from lesionseg.commands.quickstart import quickstart

    quickstart(args.data, args.work_dir, args.verbose)


if __name__ == "__main__":
    sys.exit(main())
