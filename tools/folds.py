"""Train configs on folds, join their networks to an ensemble, and tell in one table what each of them is worth."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from lesionseg.cli import check_folder, count, path, path_object, tool
from lesionseg.engine.screen import announce

EPILOG = """\
DIR gets folds.csv (id and fold of each training image), <config>/fold_<k>, the work_dir of each training,
<config>/out_of_fold with the soft masks of all training images, each found by the network that has not seen it,
scores.csv, the table, and ensemble/, which tools/test.py, tools/predict.py and tools/compare.py take like a model.

Started again, it does what is left to do: what has ended is skipped, and a training that was stopped goes on.
"""


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = _parse(argv)
    check_folder(args.work_dir, "--work-dir")
    if args.child_of:
        from lesionseg.workers import end_with

        end_with(args.child_of)
    from lesionseg.engine.config import Options

    for config in args.configs:
        Options(config).check_path()
    announce(args.configs[0])
    from lesionseg.commands.fold_plan import Choice
    from lesionseg.commands.folds import make_plan

    choice = Choice(
        tuple(args.configs), args.work_dir, args.folds, args.seed, args.tta, args.amp, tuple(args.cfg_options)
    )
    plan = make_plan(choice)
    if args.submit:
        from lesionseg.commands.fold_runs import write_slurm

        script = shlex.quote(str(write_slurm(plan)))
        print(f"wrote a Slurm array of {len(plan.jobs)} tasks; submit it: sbatch {script}")
        return
    if args.job is not None and args.job != "table":
        from lesionseg.commands.fold_job import run_job

        run_job(plan, plan.jobs[_number(args.job, len(plan.jobs))])
        return
    if args.job is None:
        from lesionseg.commands.fold_runs import run_jobs

        run_jobs(plan)
    elif left := sum(not plan.is_done(job) for job in plan.jobs):
        print(f"{left} of {len(plan.jobs)} trainings are not done yet; the table is made when they are")
        return
    from lesionseg.commands.fold_table import ENSEMBLE, SCORES, make_table

    print(make_table(plan))
    print(
        f"trained {len(plan.jobs)} networks on {args.folds} folds of {len(plan.labelled.images)} images, and scored "
        f"them on the {len(plan.tested.images)} of {plan.tested_split}; {SCORES} and {ENSEMBLE}/ are in {args.work_dir}"
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "configs", metavar="CONFIG", type=path, nargs="+", help="files, or names that `lesionseg configs` lists"
    )
    parser.add_argument(
        "--folds", metavar="K", type=count, default=5, help="how many, 2 or more (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", metavar="N", type=count, default=0, help="another seed draws other folds (default: 0)"
    )
    parser.add_argument(
        "--work-dir",
        metavar="DIR",
        type=path_object,
        default=Path("work_dirs/folds"),
        help="where everything goes (default: %(default)s)",
    )
    parser.add_argument("--tta", action="store_true", help="also score the ensemble averaged over flipped copies")
    parser.add_argument("--amp", action="store_true", help="mixed precision, as of tools/train.py")
    parser.add_argument(
        "--cfg-options",
        metavar="KEY=VALUE",
        nargs="+",
        default=[],
        help="settings to change in all configs, such as data_root=data/mine",
    )
    parser.add_argument(
        "--submit",
        choices=["slurm"],
        help="train nothing, and write a script for sbatch in place of it, DIR/folds.sbatch",
    )
    parser.add_argument(
        "--job",
        metavar="N",
        help="only one of the trainings, by its number from 0; or `table`, only the table, if all are done",
    )
    # The process that ends a training with itself, however it ends.
    parser.add_argument("--child-of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.folds < 2:
        parser.error("--folds takes 2 or more")
    if args.job not in (None, "table") and not args.job.isdecimal():
        parser.error(f"argument --job: {args.job!r}, expected a number or table")
    return args


def _number(text: str, jobs: int) -> int:
    from lesionseg.errors import DataError

    if int(text) >= jobs:
        raise DataError(f"--job {text}: no such training, expected a number from 0 to {jobs - 1}. Correct it.")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
