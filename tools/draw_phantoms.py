"""Draw a release of phantoms: dermoscopy-like pictures with exact masks, in the shape of ISIC 2018 Task 1."""

import argparse
import sys
from collections.abc import Sequence

from lesionseg.cli import count, path, positive, share, tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("out", metavar="OUT", type=path, help="a new folder")
    parser.add_argument("--training", type=count, default=400, help="how many pictures")
    parser.add_argument("--validation", type=count, default=40, help="how many pictures")
    parser.add_argument("--test", type=count, default=60, help="how many pictures")
    parser.add_argument("--height", type=positive, default=192, help="in pixels")
    parser.add_argument("--width", type=positive, default=256, help="in pixels")
    parser.add_argument("--seed", type=count, default=0, help="another seed draws other pictures")
    parser.add_argument(
        "--close-ups",
        action="store_true",
        help="skin with small red spots in place of dermoscopic lesions",
    )
    parser.add_argument(
        "--spot-share",
        metavar=("LEAST", "MOST"),
        nargs=2,
        type=share,
        help="of the picture, which the spots of --close-ups cover together; 0.002 to 0.009 where it is not given",
    )
    args = parser.parse_args(argv)
    if args.spot_share is not None and not args.close_ups:
        parser.error("--spot-share is for --close-ups. Add it.")
    return args


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from lesionseg.data.phantoms.close_up import SPOT_SHARE
    from lesionseg.data.phantoms.phantom import draw_release

    counts = (args.training, args.validation, args.test)
    spot_share = (args.spot_share or SPOT_SHARE) if args.close_ups else None
    draw_release(args.out, *counts, args.seed, args.height, args.width, spot_share)
    print(f"drew {sum(counts)} pictures and their masks into {args.out}")


if __name__ == "__main__":
    sys.exit(main())
