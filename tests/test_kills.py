"""Tools that are killed at drawn moments: nothing half-written has a final name, and the next run makes up for it.

Three kills a tool find what breaks often; KILLS=20 in the environment looks longer. The downloader's stand with its
other tests, those of tools/folds.py in a file of their own.
"""

import os
import signal
from pathlib import Path

import pytest
import torch
from drawn_models import semantic_model
from helpers import MASK2FORMER, draw_release_folder
from kills import KILLS, LONG_KILLS, kill_after, moments, run, start, tree
from small_networks import save_random_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return draw_release_folder(tmp_path_factory.mktemp("kills") / "release", training=60, validation=10, test=10)


@pytest.fixture(scope="module")
def data_set(release, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("kills") / "out"
    run("convert_isic", release, out)
    run("masks2coco", out)
    return out


def test_converting(release, data_set, tmp_path):
    wanted = {name: digest for name, digest in tree(data_set).items() if "instances_" not in name}
    seconds = run("convert_isic", release, tmp_path / "timed" / "out")
    for moment in moments(seconds, KILLS):
        folder = tmp_path / f"{moment:.3f}"
        kill_after(moment, "convert_isic", release, folder / "out")
        assert not (folder / "out").exists() or tree(folder / "out") == wanted
        run("convert_isic", release, folder / "out", "--overwrite")
        assert tree(folder) == {f"out/{name}": digest for name, digest in wanted.items()}


def test_masks_to_coco(data_set):
    wanted = tree(data_set)
    seconds = run("masks2coco", data_set, "--overwrite")
    for moment in moments(seconds, KILLS):
        kill_after(moment, "masks2coco", data_set, "--overwrite")
        run("masks2coco", data_set, "--overwrite")
        assert tree(data_set) == wanted


def test_coco_to_masks(data_set, tmp_path):
    file = data_set / "annotations" / "instances_training.json"
    seconds = run("masks2coco", file, "--to-masks", tmp_path / "whole" / "out")
    wanted = tree(tmp_path / "whole")
    for moment in moments(seconds, KILLS):
        folder = tmp_path / f"{moment:.3f}"
        kill_after(moment, "masks2coco", file, "--to-masks", folder / "out")
        assert not (folder / "out").exists() or tree(folder / "out").items() <= tree(tmp_path / "whole" / "out").items()
        run("masks2coco", file, "--to-masks", folder / "out")
        assert tree(folder) == wanted


def test_coco_to_masks_when_all_is_done_but_the_end(data_set, tmp_path):
    file = data_set / "annotations" / "instances_training.json"
    arguments = ("masks2coco", file, "--to-masks", tmp_path / "out")
    before = f"""
import os, signal
replace = os.replace
def replace_and_die(source, target):
    replace(source, target)
    if os.fspath(target) == {str(tmp_path / "out")!r}:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace_and_die
"""
    process = start(*arguments, before=before)
    process.communicate(timeout=500)
    assert process.returncode == -signal.SIGKILL
    done = tree(tmp_path / "out")
    run(*arguments)
    assert tree(tmp_path) == {f"out/{name}": digest for name, digest in done.items()}


def test_predicting(data_set, tmp_path):
    model = semantic_model(tmp_path / "model.onnx")
    images = data_set / "images" / "training"
    seconds = run("predict", model, images, "--out", tmp_path / "whole", "--overlay")
    wanted = tree(tmp_path / "whole")
    for name in ("predictions.csv", "report.html"):
        del wanted[name]  # It has seconds in it.
    for moment in moments(seconds, KILLS):
        out = tmp_path / f"{moment:.3f}"
        kill_after(moment, "predict", model, images, "--out", out, "--overlay")
        found = {name: digest for name, digest in tree(out).items() if name in wanted} if out.exists() else {}
        assert found.items() <= wanted.items()
        run("predict", model, images, "--out", out, "--overlay", "--overwrite")
        after = tree(out)
        assert after.pop("predictions.csv")
        assert after.pop("report.html")
        assert after == wanted


TINY = (
    *("max_iters=4", "train_cfg.val_interval=2", "train_dataloader.batch_size=2", "model.decode_head.num_queries=3"),
    *("train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False"),
)


def test_training(data_set, tmp_path):
    def arguments(work_dir, *more):
        return MASK2FORMER, "--work-dir", work_dir, *more, "--cfg-options", f"data_root={data_set}", *TINY

    seconds = run("train", *arguments(tmp_path / "whole"))
    wanted = torch.load(tmp_path / "whole" / "iter_4.pth", weights_only=False)["state_dict"]
    # Half of the time goes by before the first step.
    for moment in moments(seconds, LONG_KILLS):
        work_dir = tmp_path / f"{moment:.3f}"
        kill_after(0.5 * seconds + 0.5 * moment, "train", *arguments(work_dir))
        for checkpoint in work_dir.glob("*.pth"):
            torch.load(checkpoint, weights_only=False)
        run("train", *arguments(work_dir, "--auto-resume"))
        found = torch.load(work_dir / "iter_4.pth", weights_only=False)["state_dict"]
        for name, weight in wanted.items():
            assert torch.equal(weight, found[name]), name
        assert not [path for path in work_dir.rglob("*") if path.suffix == ".part"]


@pytest.mark.skipif("KILLS" not in os.environ, reason="an export takes half a minute: KILLS=3 in the environment")
def test_exporting(data_set, tmp_path):
    checkpoint = save_random_weights(MASK2FORMER, tmp_path / "random.pth")
    exported = (MASK2FORMER, checkpoint, "--parity-images", data_set / "images" / "test", "--out")
    seconds = run("export", *exported, tmp_path / "whole")
    for moment in moments(seconds, LONG_KILLS):
        out = tmp_path / f"{moment:.3f}"
        kill_after(moment, "export", *exported, out)
        run("export", *exported, out, "--overwrite")
        assert sorted(path.name for path in out.iterdir()) == sorted(
            path.name for path in (tmp_path / "whole").iterdir()
        )
        assert len({(folder / "model.onnx").stat().st_size for folder in (out, tmp_path / "whole")}) == 1
