"""Download the archives of ISIC 2018 Task 1 (2,594 training, 100 validation and 1,000 test images, about 14 GB).

Run it again after an interruption: it goes on where it stopped.
"""

import argparse
import sys
from collections.abc import Sequence

from lesionseg.cli import path, tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    splits = ("training", "validation", "test")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", metavar="OUT", type=path, help="folder for the archives")
    parser.add_argument("--splits", nargs="+", choices=splits, default=splits, help="what to fetch (default: all)")
    parser.add_argument("--base-url", metavar="URL", help="where a mirror has the archives (default: the ISIC's store)")
    return parser.parse_args(argv)


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from lesionseg.data.release import download

    archives = [archive for split in dict.fromkeys(args.splits) for archive in download.ARCHIVES[split]]
    fetched = download.download(archives, args.out, download.BASE_URL if args.base_url is None else args.base_url)
    print(download.LICENCE_NOTE)
    print(
        f"{args.out} holds {len(archives)} archives, {len(fetched)} of them fetched now; "
        f"next: uv run tools/convert_isic.py {args.out} data/ISIC --short-edge 512"
    )


if __name__ == "__main__":
    sys.exit(main())
