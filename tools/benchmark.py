"""Measure speed on this machine, as a ratio to the stock way in the same run."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lesionseg.cli import add_config_arguments, count, path, positive, tool
from lesionseg.engine.config import Options, load_config


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    inputs = what.add_parser("input", help="how fast the training images of a config come in")
    add_config_arguments(inputs)
    inputs.add_argument(
        "--originals", metavar="DIR", type=path, help="data set folder that the stock way reads, if another"
    )
    inputs.add_argument("--images", type=positive, default=40, help="how many (default: %(default)s)")
    inputs.add_argument("--rounds", type=positive, default=5, help="how often (default: %(default)s)")
    training = what.add_parser("train", help="how long a training step takes beside float32 with MMEngine alone")
    add_config_arguments(training)
    training.add_argument("--amp", action="store_true", help="mixed precision where the config has none")
    training.add_argument(
        "--peers", action="store_true", help="also other projects' models in the config's sizes (extra peers)"
    )
    training.add_argument("--steps", type=positive, default=10, help="in each round (default: %(default)s)")
    training.add_argument("--rounds", type=positive, default=5, help="how often (default: %(default)s)")
    conversion = what.add_parser("convert", help="how long a conversion takes beside decoding every file once")
    conversion.add_argument("raw", metavar="RAW", type=path, help="folder of an ISIC release")
    conversion.add_argument("--short-edge", type=positive, default=512, metavar="PIXELS", help="(default: %(default)s)")
    conversion.add_argument("--workers", type=positive, metavar="N", help="(default: one a core)")
    conversion.add_argument("--rounds", type=positive, default=5, help="how often (default: %(default)s)")
    operators = what.add_parser("operators", help="mmcv's operators as they are here, and compiled where installed")
    operators.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="(default: %(default)s)")
    audit = what.add_parser("audit", help="how many made copies of images tools/audit.py finds")
    audit.add_argument("folder", metavar="DIR", type=path, help="images that are not twins of each other")
    audit.add_argument("--images", type=positive, default=60, help="how many are copied (default: %(default)s)")
    audit.add_argument("--others", type=count, default=400, help="among how many others (default: %(default)s)")
    audit.add_argument("--seed", type=count, default=0, help="another one draws others (default: %(default)s)")
    audit.add_argument("--no-embeddings", action="store_true", help="as for tools/audit.py")
    return parser.parse_args(argv)


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    if args.what == "operators":
        from lesionseg.benchmarks.operators import run, table

        print(table(run(args.device)))
        return
    if args.what == "convert":
        from lesionseg.benchmarks.convert import convert_seconds, convert_table

        print(convert_table(convert_seconds(Path(args.raw), args.short_edge, args.workers, args.rounds)))
        return
    if args.what == "audit":
        from lesionseg.benchmarks.audit import copies_table, find_copies

        folder = Path(args.folder)
        print(copies_table(find_copies(folder, args.images, args.others, args.seed, not args.no_embeddings)))
        return
    if args.what == "train":
        options = Options.of(args)
        from lesionseg.benchmarks.training import train_rows, train_table

        print(train_table(train_rows(options, args.steps, args.rounds, args.peers)))
        return
    cfg = load_config(Options.of(args))
    from lesionseg.benchmarks.input import decode_difference, input_rows, input_table
    from lesionseg.engine.config import told_as_misfit

    with told_as_misfit(args.config):
        print(input_table(input_rows(cfg, args.originals, args.images, args.rounds)))
        largest, mean = decode_difference(cfg, args.images)
    print(f"decoding at a reduced scale changed pixels by at most {largest}, on average {mean:.2f} gray levels")


if __name__ == "__main__":
    sys.exit(main())
