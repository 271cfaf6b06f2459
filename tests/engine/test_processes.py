"""How the processes of a run were started, and what each of them learns of it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from helpers import MASK2FORMER, ROOT, load_tool
from mmengine.config import Config

from lesionseg.engine import before_run
from lesionseg.engine.before_run import check_own_gpu
from lesionseg.engine.processes import is_first_process, name_process
from lesionseg.errors import DataError

TORCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
SLURM = dict(SLURM_PROCID="5", SLURM_NTASKS="8", SLURM_LOCALID="1", SLURM_JOB_ID="7", SLURM_STEP_ID="2")
MPI = {f"OMPI_COMM_WORLD_{name}": value for name, value in dict(RANK="5", SIZE="8", LOCAL_RANK="1").items()}


@pytest.fixture
def variables(monkeypatch):
    """The environment without what a launcher sets; what is set in it, by torch too, is gone after the test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "OMPI_"))}
    monkeypatch.setattr(os, "environ", kept)
    for name in TORCH:
        kept.pop(name, None)
    return kept


@pytest.mark.parametrize(
    ("launcher", "told", "port"),
    [
        ("slurm", dict(SLURM, SLURM_STEP_NODELIST="a1", SLURM_STEP_NUM_NODES="1"), "20709"),
        ("slurm", dict(SLURM, SLURM_STEP_NUM_TASKS="8", MASTER_ADDR="", MASTER_PORT=""), "20709"),
        ("mpi", dict(MPI, OMPI_COMM_WORLD_LOCAL_SIZE="8"), "29500"),
        ("mpi", dict(MPI, OMPI_COMM_WORLD_LOCAL_SIZE="8", PMIX_NAMESPACE="495845377", SLURM_JOB_ID="7"), "25844"),
    ],
)
def test_processes_of_every_launcher_are_named_as_by_torchrun(variables, launcher, told, port):
    variables.update(told)
    name_process(launcher)
    assert [variables[name] for name in TORCH] == ["5", "8", "1", "127.0.0.1", port]


@pytest.mark.parametrize(("gpus", "local_rank"), [(4, "1"), (1, "0")])
def test_a_process_trains_on_a_gpu_that_it_sees(variables, monkeypatch, gpus, local_rank):
    """With `srun --gpus-per-task 1` each process sees but one."""
    variables.update(SLURM)
    joined = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(before_run, "init_dist", lambda *args, **kwargs: joined.append((args, kwargs)))
    before_run.start_processes(Config(dict(launcher="slurm", env_cfg=dict(dist_cfg=dict(backend="nccl")))))
    assert joined == [(("pytorch",), dict(backend="nccl"))]
    assert [variables[name] for name in TORCH[:3]] == ["5", "8", local_rank]


@pytest.mark.parametrize("number", ["2", "3"])
@pytest.mark.parametrize("tool", ["train", "test"])
def test_more_processes_of_torchrun_than_gpus_are_told(variables, monkeypatch, capsys, tmp_path, tool, number):
    variables.update(RANK=number, WORLD_SIZE="4", LOCAL_RANK=number)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    checkpoint = tmp_path / "any.pth"
    checkpoint.touch()
    models = [str(checkpoint)] if tool == "test" else []
    assert load_tool(tool).main([MASK2FORMER, *models, "--launcher", "pytorch"]) == 1
    assert capsys.readouterr().err == (
        f"error: --launcher pytorch: process {int(number) + 1} of this machine has no GPU, as there are 2, expected "
        "one for each. Start it with --nproc-per-node 2.\n"
    )


@pytest.mark.parametrize(("launcher", "gpus"), [("pytorch", 0), ("pytorch", 4), ("slurm", 1)])
def test_a_process_that_may_have_a_gpu_goes_on(variables, monkeypatch, launcher, gpus):
    variables["LOCAL_RANK"] = "3"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    check_own_gpu(launcher)


def test_a_batch_script_is_no_process_of_several(variables):
    """It has Slurm's number 0 of 8, and would wait for seven that nobody starts."""
    variables.update(SLURM, SLURM_PROCID="0")
    del variables["SLURM_STEP_ID"]
    with pytest.raises(DataError, match=r"SLURM_STEP_ID is not set, .*\. Start it as `srun"):
        name_process("slurm")


def test_the_shell_of_an_interactive_job_is_no_process_of_several(variables):
    """It is a step of one task, with the number of tasks of the whole job."""
    variables.update(SLURM, SLURM_PROCID="0", SLURM_STEP_ID="4294967290", SLURM_STEP_NUM_TASKS="1")
    with pytest.raises(DataError, match=r"the only task of its step, expected one of 8\. Start it as `srun"):
        name_process("slurm")


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"])
def test_a_variable_that_is_no_number_is_named(variables, name):
    variables.update(
        dict(RANK="0", WORLD_SIZE="2", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT="1") | {name: "a"}
    )
    with pytest.raises(DataError, match=rf"--launcher pytorch: {name} is a, expected a number"):
        name_process("pytorch")


def test_a_process_beyond_the_last_is_told(variables):
    variables.update(RANK="5", WORLD_SIZE="2", LOCAL_RANK="0")
    with pytest.raises(DataError, match=r"RANK is 5, expected less than the 2 of WORLD_SIZE"):
        name_process("pytorch")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_waits_for_the_others_ends_by_a_signal(number):
    words = [sys.executable, str(ROOT / "tools/predict.py"), "otsu-blue", str(ROOT), "--out", "out"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = dict(RANK="0", WORLD_SIZE="2", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    process = subprocess.Popen([*words, "--launcher", "pytorch"], env=dict(os.environ, **told))
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(number)
    assert process.wait(60) == -number


def test_mpi_on_several_machines_is_told_how_to_name_the_first(variables):
    variables.update(MPI, OMPI_COMM_WORLD_LOCAL_SIZE="4")
    with pytest.raises(DataError, match=r"MASTER_ADDR is not set.* Start it as `mpirun -x MASTER_ADDR=NAME"):
        name_process("mpi")
    variables["MASTER_ADDR"] = "a1"
    name_process("mpi")
    assert variables["MASTER_ADDR"] == "a1"


def test_where_the_first_machine_of_a_step_is_not_known_the_setting_that_tells_is_named(variables, tmp_path):
    variables.update(SLURM, SLURM_STEP_NODELIST="a[1-2]", SLURM_STEP_NUM_NODES="2", PATH=str(tmp_path))
    with pytest.raises(DataError, match=r"scontrol does not tell the first machine of a\[1-2\].*Set MASTER_ADDR"):
        name_process("slurm")


@pytest.mark.parametrize(
    ("launcher", "rank", "first"), [("slurm", "0", True), ("slurm", "1", False), ("none", "1", True)]
)
def test_only_the_first_process_speaks(monkeypatch, launcher, rank, first):
    monkeypatch.setenv("SLURM_PROCID", rank)
    assert is_first_process(launcher) == first
