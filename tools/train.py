"""Train a model as a config says."""

import argparse
import sys
from collections.abc import Sequence

from lesionseg.cli import add_run_arguments, tool
from lesionseg.engine.config import Options
from lesionseg.engine.screen import announce


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_run_arguments(parser)
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint in the work_dir that can be read"
    )
    earlier.add_argument(
        "--auto-resume",
        action="store_true",
        help="the same, and begin where there is no checkpoint yet: for a job that a cluster may end and start again",
    )
    earlier.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the checkpoints and the report that another run left in the work_dir; without it, and without "
        "--resume, such a work_dir is refused",
    )
    parser.add_argument(
        "--amp",
        action="store_true",
        help="mixed precision: bfloat16 on a GPU that has it, else float16, which Mask R-CNN always takes; on a CPU "
        "bfloat16 where it has instructions for it, and float32 elsewhere and for Mask R-CNN",
    )
    return parser.parse_args(argv)


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    options = Options.of(args)
    announce(options.config, options.launcher)
    from lesionseg.commands.train import train

    done = train(options, resume="auto" if args.auto_resume else args.resume, overwrite=args.overwrite)
    if not done.is_main:
        return
    where = f"checkpoints, logs and learning_curve.png are in {done.work_dir}"
    if done.before and done.before == done.done:
        print(f"nothing was left to train: {done.done} iterations were done before; {where}")
    elif done.before:
        print(f"trained {done.done - done.before} more iterations, {done.done} in all; {where}")
    else:
        print(f"trained {done.done} iterations; {where}")


if __name__ == "__main__":
    sys.exit(main())
