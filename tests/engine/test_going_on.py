"""What another run finds in the work_dir of a training, and leaves there."""

import shutil
from pathlib import Path

import pytest
from helpers import MASK2FORMER, load_tool
from kills import tree

from lesionseg.commands.train import remove_results
from lesionseg.engine.work_dir import config_path


def options(isic_folder, length=2):
    return [
        *("--cfg-options", f"data_root={isic_folder}", f"max_iters={length}", "train_cfg.val_interval=2"),
        *("train_dataloader.batch_size=2", "model.decode_head.num_queries=3"),
    ]


@pytest.fixture(scope="module")
def trained(isic_folder, tmp_path_factory) -> Path:
    """The work_dir of a training; do not change it."""
    work_dir = tmp_path_factory.mktemp("going_on") / "trained"
    assert load_tool("train").main([MASK2FORMER, "--work-dir", str(work_dir), *options(isic_folder)]) == 0
    return work_dir


@pytest.fixture
def work_dir(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "trained"))


def results(work_dir):
    """What lies in a work_dir, but for the folders of logs."""
    return {name: digest for name, digest in tree(work_dir).items() if "/" not in name}


@pytest.mark.parametrize("flag", ["--resume", "--auto-resume"])
def test_a_work_dir_goes_on_by_its_own_config(work_dir, flag):
    assert load_tool("train").main([str(work_dir), flag, "--cfg-options", "max_iters=4"]) == 0
    assert (work_dir / "iter_4.pth").is_file()
    assert load_tool("train").main([str(work_dir), flag]) == 0, "with the config that it has now"


@pytest.mark.parametrize("flag", ["--resume", "--auto-resume"])
def test_what_is_refused_changes_nothing(work_dir, tmp_path, isic_folder, capsys, flag):
    other = tmp_path / "other_config.py"
    other.write_text(f"_base_ = {MASK2FORMER!r}\noptim_wrapper = dict(optimizer=dict(lr=0.5))\n")
    before = results(work_dir)
    assert load_tool("train").main([str(other), "--work-dir", str(work_dir), flag, *options(isic_folder)]) == 1
    assert "was trained with other settings" in capsys.readouterr().err
    assert results(work_dir) == before


def test_where_no_checkpoint_can_be_read_it_is_told_how_to_begin_anew(work_dir, capsys):
    for path in work_dir.glob("*.pth"):
        path.write_bytes(b"")
    assert load_tool("train").main([str(work_dir), "--auto-resume"]) == 1
    assert "begin anew with --overwrite in place of --resume or --auto-resume" in capsys.readouterr().err


def test_a_config_that_a_training_left_goes_with_its_results_and_a_user_s_own_stays(work_dir):
    (work_dir / "mine.py").write_text("a = 1\n")
    for name in ("mine", "iter_2", "best_lesion_jaccard_iter_2"):
        (work_dir / f"{name}.quality.json").touch()
    remove_results(str(work_dir))
    assert sorted(path.name for path in work_dir.iterdir() if path.is_file()) == ["mine.py", "mine.quality.json"]
    assert config_path(str(work_dir)) == str(work_dir / "mine.py")
