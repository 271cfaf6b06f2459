"""Pre-trains a really small masked autoencoder on drawn images, by the tools."""

import json
from pathlib import Path

import cv2
import pytest
import timm
import torch
from helpers import ROOT, draw_photos, load_tool

from lesionseg.engine.checkpoint import load_file
from lesionseg.engine.ssl_backbone import weights_sha256

CONFIG = str(ROOT / "configs/mae/mae_vit-t_1xb64-3k_unlabelled-128x128.py")
SMALL = """
_base_ = "{config}"
from lesionseg.engine.recipes import pretraining

globals().update(
    pretraining(32, batch_size=2, max_iters=4, warmup_iters=1, val_interval=2, num_workers=0, data_root="{root}")
)
train_dataloader["dataset"]["held_out_share"] = val_dataloader["dataset"]["held_out_share"] = 0.4
model = dict(image_size=32, decoder=dict(width=32, depth=1))
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("mae") / "small.py"
    path.write_text(SMALL.format(config=CONFIG, root=draw_photos(path.parent)))
    return path


def train(config, work_dir, *more):
    options = ["--cfg-options", "default_hooks.logger.interval=1"]
    return load_tool("train").main([str(config), "--work-dir", str(work_dir), *more, *options])


@pytest.fixture(scope="module")
def trained(config) -> Path:
    assert train(config, config.parent / "whole") == 0
    return config.parent / "whole"


def test_leaves_an_encoder_with_a_card(trained):
    file = load_file(trained / "ssl_backbone.pth")
    card = file["meta"]
    vit = timm.create_model(card["model"], img_size=card["image_size"], num_classes=0)
    vit.load_state_dict(file["state_dict"], strict=True)
    assert (card["model"], card["image_size"], card["images"], card["iterations"]) == ("vit_tiny_patch16_224", 32, 4, 4)
    assert card["mean"] == pytest.approx([123.675, 116.28, 103.53])
    assert card["weights_sha256"] == weights_sha256(file["state_dict"])
    trained_weights = load_file(trained / "iter_4.pth")["state_dict"]
    assert torch.equal(file["state_dict"]["norm.weight"], trained_weights["mae.vit.layernorm.weight"])


def test_leaves_pictures_and_the_loss_on_held_out_images(trained):
    for name in ("reconstructions.jpg", "learning_curve.png"):
        assert cv2.imread(str(trained / name)) is not None
    # Three lines of two images, as TensorBoard shows them.
    grid = cv2.imread(str(next(trained.glob("*/vis_data/vis_image/reconstructions_4.png"))))
    assert grid.shape == (96, 64, 3)
    lines = [json.loads(line) for line in next(trained.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    held_out = [line["loss"] for line in lines if "time" in line and "lr" not in line]
    assert len(held_out) == 2
    assert held_out[1] < held_out[0] < 3
    assert len(list(trained.glob("best_loss_iter_*.pth"))) == 1


def test_resumes_as_if_it_had_not_been_stopped(config, trained):
    work_dir = config.parent / "resumed"
    assert train(config, work_dir) == 0
    (work_dir / "iter_4.pth").unlink()
    (work_dir / "ssl_backbone.pth").unlink()
    assert train(config, work_dir, "--resume") == 0
    ours, theirs = (load_file(folder / "ssl_backbone.pth")["state_dict"] for folder in (work_dir, trained))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_is_refused_by_tools_that_want_a_segmentation(config, trained, tmp_path, capsys):
    checkpoint = str(trained / "iter_4.pth")
    image = str(next((config.parent / "photos").glob("*.png")))
    for tool, arguments in (
        ("test", [str(config), checkpoint]),
        ("predict", [str(config), checkpoint, image, "--out", str(tmp_path / "out")]),
        ("export", [str(config), checkpoint, "--out", str(tmp_path / "out")]),
    ):
        assert load_tool(tool).main(arguments) == 1
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith(f"error: {config}: is for pre-training, which finds nothing in images"), (tool, said)
    assert not (tmp_path / "out").exists()


def test_overwrites_only_when_asked(config, trained, capsys):
    assert train(config, trained) == 1
    assert "holds the results of another run" in capsys.readouterr().err
