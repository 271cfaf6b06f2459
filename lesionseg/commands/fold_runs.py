"""The jobs of `tools/folds.py`, each in a process of its own: one after the other, one a GPU, or by Slurm."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lesionseg.commands.fold_plan import Choice, Job, Plan
from lesionseg.errors import DataError, Stopped
from lesionseg.files import lock_folder, write_text
from lesionseg.shipped import shipped

SLURM = "folds.sbatch"
_SECONDS_BETWEEN_LOOKS = 0.2


def run_jobs(plan: Plan) -> None:
    """Do all that is left to do, each job in a process of its own.

    With several GPUs there is a process on each, whose output goes into a file beside the work_dir of its training.

    Raises:
        DataError: a job fails; those that run beside it are stopped as by Ctrl-C. Or another run is going on.
        Stopped: by Ctrl-C or SIGTERM, which the trainings are told, too.
    """
    rest = [job for job in plan.jobs if not plan.is_done(job)]
    if done := len(plan.jobs) - len(rest):
        print(f"{done} of {len(plan.jobs)} trainings were done before", flush=True)
    gpus = usable_gpus()
    with lock_folder(plan.choice.work_dir, "folds"):
        _run_side_by_side(plan, rest, gpus or [""])


def usable_gpus() -> list[str]:
    """What CUDA calls the GPUs that this process may use."""
    import torch

    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (named or list(map(str, range(torch.cuda.device_count()))))[: torch.cuda.device_count()]


def command(choice: Choice, job: str) -> list[str]:
    """The command of one job, by its number, or of the `table`."""
    return [sys.executable, str(shipped("tools") / "folds.py"), *choice.arguments(), "--job", job]


def write_slurm(plan: Plan) -> Path:
    """Write a script for `sbatch`: an array with a task a job, of which the one that ends last makes the table."""
    path, choice = plan.choice.work_dir / SLURM, plan.choice
    train = shlex.join(command(choice, "JOB")[:-1])
    # In a log's name a percent sign starts a field, such as %A, the number of the array.
    log = str(choice.work_dir.absolute()).replace("%", "%%") + "/slurm-%A_%a.log"
    text = f"""#!/bin/bash
# Written by tools/folds.py. What this cluster needs is added by sbatch: sbatch --gres=gpu:1 --time=12:00:00 {SLURM}
# Submitted again, it does what is left to do. The task that ends last makes the table.
#SBATCH --job-name=folds
#SBATCH --array=0-{len(plan.jobs) - 1}
#SBATCH --chdir={_directive(Path.cwd())}
#SBATCH --output={_directive(log)}
#SBATCH --open-mode=append
#SBATCH --requeue
set -e
{train} "$SLURM_ARRAY_TASK_ID"
{train} table
"""
    write_text(path, text)
    return path


def _directive(value: object) -> str:
    """The value of an option in a line `#SBATCH`, which sbatch reads by rules of its own and not by the shell's."""
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _run_side_by_side(plan: Plan, jobs: Sequence[Job], gpus: Sequence[str]) -> None:
    waiting, running = list(jobs), dict[str, tuple[Job, subprocess.Popen]]()
    try:
        while waiting or running:
            for gpu in gpus:
                if waiting and gpu not in running:
                    job = waiting.pop(0)
                    print(f"\n{_name(plan, job)}, {job.number + 1} of {len(plan.jobs)}: {job.work_dir}", flush=True)
                    running[gpu] = job, _start(plan, job, gpu, shown=len(gpus) == 1)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            for gpu, (job, process) in list(running.items()):
                if process.poll() is not None:
                    del running[gpu]
                    _check(plan, job, process.returncode, shown=len(gpus) == 1)
    except BaseException:
        _stop(running)
        raise


def _start(plan: Plan, job: Job, gpu: str, shown: bool) -> subprocess.Popen:
    environment = dict(os.environ, **({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}))
    words = [*command(plan.choice, str(job.number)), "--child-of", str(os.getpid())]
    # In a session of its own Ctrl-C does not reach it twice, from the terminal and from here.
    settings: Mapping = dict(env=environment, start_new_session=True)
    if shown:
        return subprocess.Popen(words, **settings)
    _log(job).parent.mkdir(parents=True, exist_ok=True)
    with _log(job).open("ab") as file:
        return subprocess.Popen(words, **settings, stdout=file, stderr=subprocess.STDOUT)


def _check(plan: Plan, job: Job, code: int, shown: bool) -> None:
    """Raise what the end of a process means."""
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        raise Stopped(code - 128, f"stopped in {_name(plan, job)}; the same command goes on")
    if code:
        where = "above" if shown else f"in {_log(job)}"
        raise DataError(
            f"{job.work_dir}: {_name(plan, job)} ended with exit code {code}, expected 0. Its message stands {where}; "
            "mend that, and run the same again: what is done stays."
        )


def _stop(running: Mapping[str, tuple[Job, subprocess.Popen]]) -> None:
    """Let trainings end with a checkpoint; a second Ctrl-C ends them at once."""
    processes = [process for _, process in running.values()]
    for process in processes:
        process.terminate()
    try:
        for process in processes:
            process.wait()
    except BaseException:
        for process in processes:
            process.kill()
        raise


def _log(job: Job) -> Path:
    return job.work_dir.with_suffix(".log")


def _name(plan: Plan, job: Job) -> str:
    return f"{plan.names[job.model]}, fold {job.fold}"
