"""Processes that share the work of one run: who each of them is, and how they learn of one another."""

import os
import re
import signal
import socket
import subprocess
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from lesionseg.cli import EXIT_FAILED, signals_handled
from lesionseg.errors import DataError
from lesionseg.workers import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Launcher(NamedTuple):
    """How processes were started, and what then tells each its number, how many there are, its number on its machine,
    and that it is one of several: a script of `sbatch` has all but the last."""

    command: str
    rank: str
    size: str
    local_rank: str
    together: str


LAUNCHERS = {
    "pytorch": _Launcher("torchrun --nproc-per-node N", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_RANK"),
    "slurm": _Launcher("srun --ntasks N python", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_STEP_ID"),
    "mpi": _Launcher(
        "mpirun -n N python",
        *(f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")),
    ),
}
# Once they have met: one process may have far more to do than another.
_PATIENCE = timedelta(days=30)
# Below those that systems give to connections.
_PORT, _PORTS = 20000, 12000


def is_first_process(launcher: str) -> bool:
    """Whether this process speaks for all of a run, also before they are joined."""
    return launcher not in LAUNCHERS or os.environ.get(LAUNCHERS[launcher].rank, "0") in ("0", "")


def name_process(launcher: str) -> None:
    """Tell torch which process of a run this is, and where the first one is, by the variables of torchrun.

    Args:
        launcher: how the processes were started, one of `LAUNCHERS`.

    Raises:
        DataError: this process was not started so, does not learn where the first one is, or a variable that should
            be a number is none.
    """
    import torch

    kind = LAUNCHERS[launcher]
    start = f"Start it as `{kind.command} tools/... --launcher {launcher}`, or leave --launcher out."
    if missing := [name for name in kind[1:] if not os.environ.get(name)]:
        raise DataError(f"--launcher {launcher}: {missing[0]} is not set, expected a process of several. {start}")
    rank, size, local_rank = (_number(launcher, name) for name in (kind.rank, kind.size, kind.local_rank))
    if rank >= size:
        raise DataError(
            f"--launcher {launcher}: {kind.rank} is {rank}, expected less than the {size} of {kind.size}. {start}"
        )
    # The shell of an interactive job is a step of one task, with the number of tasks of the whole job.
    if launcher == "slurm" and size > 1 and os.environ.get("SLURM_STEP_NUM_TASKS") == "1":
        raise DataError(f"--launcher slurm: this is the only task of its step, expected one of {size}. {start}")
    if gpus := torch.cuda.device_count():
        # Where Slurm gives a process one GPU, that is its first, whatever its number on the machine.
        local_rank %= gpus
    if not os.environ.get("MASTER_ADDR"):
        os.environ["MASTER_ADDR"] = _first_machine(launcher)
    if os.environ.get("MASTER_PORT"):
        _number(launcher, "MASTER_PORT")
    else:
        os.environ["MASTER_PORT"] = str(_port(launcher))
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(local_rank))


def join_by_gloo(launcher: str) -> None:
    """Join the other processes of a run without a GPU.

    Args:
        launcher: how they were started, one of `LAUNCHERS`.

    Raises:
        DataError: as from `name_process`.
    """
    import torch

    name_process(launcher)
    with ended_by_signals():
        torch.distributed.init_process_group("gloo")


def ended_by_signals() -> AbstractContextManager[None]:
    """Let SIGINT and SIGTERM end the process at once while it waits for the others, where no code of Python runs."""
    return signals_handled(signal.SIG_DFL, signal.SIGINT, signal.SIGTERM)


def _number(launcher: str, name: str) -> int:
    value = os.environ[name]
    if not re.fullmatch("[0-9]{1,9}", value):
        raise DataError(f"--launcher {launcher}: {name} is {value}, expected a number. Correct the variable.")
    return int(value)


def _first_machine(launcher: str) -> str:
    if launcher == "mpi" and os.environ["OMPI_COMM_WORLD_LOCAL_SIZE"] != os.environ["OMPI_COMM_WORLD_SIZE"]:
        raise DataError(
            "--launcher mpi: MASTER_ADDR is not set, expected the name of the first of several machines. Start it as "
            "`mpirun -x MASTER_ADDR=NAME -n N python tools/... --launcher mpi`."
        )
    machines = os.environ.get("SLURM_STEP_NODELIST", "") if launcher == "slurm" else ""
    if not machines or os.environ.get("SLURM_STEP_NUM_NODES") == "1":
        return "127.0.0.1"
    try:
        listed = subprocess.run(["scontrol", "show", "hostnames", machines], capture_output=True, text=True, check=True)
        return listed.stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise DataError(
            f"--launcher slurm: scontrol does not tell the first machine of {machines}, expected it to. Set "
            "MASTER_ADDR to its name."
        ) from error


def _port(launcher: str) -> int:
    """A port for this run, which is the same for all its processes: several runs may be on one machine."""
    if launcher == "mpi":
        run = os.environ.get("PMIX_NAMESPACE")
        return _PORT + zlib.crc32(run.encode()) % _PORTS if run else 29500
    job, step = (os.environ.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    if not job.isdigit():
        return 29500
    return _PORT + (101 * int(job) + (int(step) if step.isdigit() else 0)) % _PORTS


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them; by itself one alone.

    Attributes:
        rank: the number of this one, from 0.
        size: how many there are.
        threads: CPU threads that it may use beside the others on its machine; None for all.
        device: the GPU that it may use beside the others; None where there is none, or for any.
        group: torch's, by which they wait for one another.
    """

    rank: int = 0
    size: int = 1
    threads: int | None = None
    device: str | None = None
    group: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """What this process is to do; each item is in the share of one process."""
        return items[self.rank :: self.size]

    def first(self, work: Callable[[], Result]) -> Result:
        """Let the first process do something, and give its result, which can be pickled, to all.

        Raises:
            SystemExit: in the others, where the first one failed: it tells why.
            DataError: another process has ended.
        """
        if self.size == 1:
            return work()
        from torch import distributed

        if not self.is_first:
            answer: list = [None]
            self._together(distributed.broadcast_object_list, answer)
            if answer[0] is None:
                raise SystemExit(EXIT_FAILED)
            return answer[0][0]
        try:
            result = work()
        except Exception:
            self._together(distributed.broadcast_object_list, [None])
            raise
        self._together(distributed.broadcast_object_list, [(result,)])
        return result

    def gather(self, value: Item) -> list[Item]:
        """Wait for all processes, and give the first one the value of each; the others get none.

        Raises:
            DataError: another process has ended.
        """
        if self.size == 1:
            return [value]
        from torch import distributed

        values: list | None = [None] * self.size if self.is_first else None
        self._together(distributed.gather_object, value, values)
        return values or []

    def leave(self) -> None:
        """Let the others go on without this process."""
        if self.size > 1:
            from torch import distributed

            distributed.destroy_process_group()

    def _together(self, collective: Callable, *arguments: object) -> None:
        try:
            collective(*arguments, group=self.group)
        except RuntimeError as error:
            raise DataError(
                f"process {self.rank + 1} of {self.size}: another one has ended ({str(error).splitlines()[0]}), "
                "expected all to come to their end. See above why, and run the same again."
            ) from error


def join_processes(launcher: str) -> Processes:
    """Join the other processes of a run that share its work out, but not a network.

    Args:
        launcher: how they were started, one of `LAUNCHERS`, or `none`.

    Raises:
        DataError: as from `join_by_gloo`.
    """
    if launcher == "none":
        return Processes()
    join_by_gloo(launcher)
    import torch

    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    if size == 1:
        torch.distributed.destroy_process_group()
        return Processes()
    device = f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else None
    return Processes(rank, size, share_of_cores(), device, torch.distributed.new_group(timeout=_PATIENCE))


def share_of_cores() -> int:
    """How many CPU threads a process may use beside the others on its machine, which are joined and all ask."""
    from torch import distributed

    cores = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
    places: list = [None] * distributed.get_world_size()
    distributed.all_gather_object(places, (socket.gethostname(), cores))
    # Slurm often gives each process cores of its own, torchrun the same ones to all.
    return max(1, usable_cores() // places.count(places[distributed.get_rank()]))
