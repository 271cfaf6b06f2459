"""Folds that are really trained, and killed at any moment; only with KILLS in the environment."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import MASK2FORMER, ROOT, load_tool

_SECONDS = 300
# What is there when the next kill comes.
SIGNS = (
    "*/fold_0/20*/*.log",
    "*/fold_0/iter_*.pth",
    "*/out_of_fold/*.png",
    "*/fold_1/20*/*.log",
    "*/fold_1/iter_*.pth",
)


def command(isic_folder, work_dir):
    return [
        *(MASK2FORMER, "--folds", "2", "--work-dir", str(work_dir), "--cfg-options", f"data_root={isic_folder}"),
        *("max_iters=4", "train_cfg.val_interval=2", "train_dataloader.batch_size=2"),
        *("model.decode_head.num_queries=3", "train_dataloader.num_workers=0", "val_dataloader.num_workers=0"),
    ]


@pytest.mark.slow
@pytest.mark.skipif("KILLS" not in os.environ, reason="it takes minutes: KILLS=5 in the environment")
def test_killed_five_times_it_ends_with_the_same_table(isic_folder, tmp_path, capsys):
    # One thread: with several, sums are rounded in another order.
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    words = [sys.executable, ROOT / "tools/folds.py"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*words, *command(isic_folder, whole)], env=environment, check=True, timeout=2 * _SECONDS)
    for sign in SIGNS:
        process = subprocess.Popen([*words, *command(isic_folder, killed)], env=environment)
        deadline = time.monotonic() + _SECONDS
        while not any(killed.glob(sign)):
            assert process.poll() is None, sign
            assert time.monotonic() < deadline, f"{sign} does not come"
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*words, *command(isic_folder, killed)], env=environment, check=True, timeout=2 * _SECONDS)
    assert (killed / "scores.csv").read_text() == (whole / "scores.csv").read_text()
    # The ensemble is tested like a model.
    arguments = [MASK2FORMER, str(killed / "ensemble"), "--work-dir", str(tmp_path / "test")]
    assert load_tool("test").main([*arguments, "--cfg-options", f"data_root={isic_folder}"]) == 0
    assert "scored 5 images" in capsys.readouterr().out
