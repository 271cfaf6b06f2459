"""Two runs into one folder at once: the second is refused in one line, and changes nothing."""

import os

import pytest
import torch
from drawn_models import semantic_model
from helpers import MASK2FORMER, load_tool

from lesionseg.engine.config import Options, load_config
from lesionseg.files import lock, lock_folder
from lesionseg.inference.runtimes.torch_model import build_module


@pytest.fixture
def refused(capsys):
    """Run a tool that another run keeps out of a folder."""

    def run(name, folder, arguments):
        before = sorted(os.listdir(folder))
        assert load_tool(name).main([str(argument) for argument in arguments]) == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert line == (
            f"error: {folder}: another run is writing it, expected one at a time. "
            "Wait for it to end, or choose another."
        )
        assert sorted(os.listdir(folder)) == before

    return run


def test_a_training(isic_folder, tmp_path, refused):
    work_dir = tmp_path / "w"
    arguments = [MASK2FORMER, "--work-dir", work_dir, "--cfg-options", f"data_root={isic_folder}", "max_iters=2"]
    with lock_folder(work_dir, "train"):
        refused("train", work_dir, arguments)


def test_a_test(isic_folder, tmp_path, refused):
    model = semantic_model(tmp_path / "model.onnx")
    out, data = tmp_path / "masks", ["--cfg-options", f"data_root={isic_folder}"]
    for flag in ("--out", "--show-dir"):
        with lock_folder(out, "test"):
            refused("test", out, [MASK2FORMER, model, "--work-dir", tmp_path / "w", flag, out, *data])
    with lock_folder(tmp_path / "w", "test"):
        refused("test", tmp_path / "w", [MASK2FORMER, model, "--work-dir", tmp_path / "w", *data])
    # A training may go on in there, and all may go into one folder.
    with lock_folder(tmp_path / "w", "train"):
        arguments = [MASK2FORMER, model, "--work-dir", tmp_path / "w", "--out", tmp_path / "w", *data]
        assert load_tool("test").main(list(map(str, arguments))) == 0
    assert [name for name in os.listdir(tmp_path / "w") if name.startswith(".")] == []


def test_an_export(tmp_path, refused):
    torch.manual_seed(0)
    checkpoint = tmp_path / "random.pth"
    torch.save(dict(state_dict=build_module(load_config(Options(MASK2FORMER)), MASK2FORMER).state_dict()), checkpoint)
    with lock_folder(tmp_path / "out", "export"):
        refused("export", tmp_path / "out", [MASK2FORMER, checkpoint, "--out", tmp_path / "out"])


def test_masks_to_coco_and_back(coco_folder, tmp_path, refused):
    with lock_folder(coco_folder / "annotations", "masks2coco"):
        refused("masks2coco", coco_folder / "annotations", [coco_folder, "--overwrite"])
    out = tmp_path / "masks"
    out.mkdir()
    with lock(tmp_path / ".masks.lock", out):
        refused("masks2coco", out, [coco_folder / "annotations" / "instances_training.json", "--to-masks", out])
