"""Look at a data set before training on it: what is odd, how it spreads, and all images with their masks, on a page."""

import argparse
import sys
from collections.abc import Sequence

from lesionseg.cli import path_object, tool


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = _parse(argv)
    from lesionseg.commands.look import PAGE, look_at, look_page
    from lesionseg.files import write_text

    look = look_at(args.dataset)
    out = args.out or args.dataset / PAGE
    write_text(out, look_page(args.dataset, look))
    for oddity in look.oddities:
        print(f"- {oddity}")
    print(
        f"looked at {len(look.rows)} masks, found {len(look.oddities) or 'nothing'} to see to; all on one page: {out}"
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "dataset", metavar="DATASET", type=path_object, help="a data set folder, as tools/convert_isic.py makes it"
    )
    parser.add_argument(
        "--out", metavar="FILE", type=path_object, help="where the page goes (default: DATASET/look.html)"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
