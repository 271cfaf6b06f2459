"""Train a model as a config says."""

import argparse
import sys
from collections.abc import Sequence

from lesionseg.cli import add_config_arguments, tool
from lesionseg.engine.config import Options


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument("--resume", action="store_true", help="go on from the latest checkpoint in the work_dir")
    parser.add_argument("--amp", action="store_true", help="mixed precision: float16 on a CUDA GPU, bfloat16 on a CPU")
    return parser.parse_args(argv)


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    options = Options.of(args)
    from lesionseg.commands.train import train

    runner = train(options, resume=args.resume)
    if runner.rank == 0:
        print(f"trained {runner.iter} iterations; checkpoints, logs and learning_curve.png are in {runner.work_dir}")


if __name__ == "__main__":
    sys.exit(main())
