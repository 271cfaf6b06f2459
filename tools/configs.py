"""List the configs that come with this package, what each is for, and the scores that were measured with it."""

import argparse
import shutil
import sys
from collections.abc import Sequence

from lesionseg.cli import tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="*", help="only configs with all of these in their name, such as mask2former 512")
    return parser.parse_args(argv)


@tool
def main(argv: Sequence[str] | None = None) -> None:
    words = parse_args(argv).word
    from lesionseg.commands.configs import list_configs

    print(list_configs(words, shutil.get_terminal_size().columns))
    print("train one by its name: lesionseg train NAME --cfg-options data_root=FOLDER")


if __name__ == "__main__":
    sys.exit(main())
