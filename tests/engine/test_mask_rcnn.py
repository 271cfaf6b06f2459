"""Trains and tests a really small Mask R-CNN on drawn data, by the tools."""

import csv
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import ROOT, load_tool, torchrun

from lesionseg.engine.checkpoint import load_file
from lesionseg.engine.config import Options, load_config
from lesionseg.engine.hooks import LearningCurveHook
from lesionseg.inference.finder import Image
from lesionseg.inference.network import Network
from lesionseg.inference.runtimes.torch_model import TorchModel
from lesionseg.pixels.masks import read_mask
from lesionseg.pixels.pictures import read_image

SMALL = str(ROOT / "configs/mask_rcnn/mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160.py")
TWO_STAGES = str(ROOT / "configs/mask_rcnn/mask-rcnn_r50_fpn_1xb8-amp-twostage-5460i_isic2018-512x512.py")
LENGTH = 6
MIDDLE = 3


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> str:
    """The small model, frozen in two stages as the two-stage config does it."""
    path = tmp_path_factory.mktemp("config") / "small-two-stages.py"
    heads = r"^(neck|rpn_head|roi_head)\."
    path.write_text(
        f"_base_ = {SMALL!r}\n"
        f"stages = [dict(begin=0, trains=[{heads!r}]), dict(begin=2, trains=[{heads!r}, r'^backbone\\.layer[34]'])]\n"
        "custom_hooks = [*_base_.custom_hooks, dict(type='TrainingStagesHook', stages=stages, by_epoch=False)]\n"
    )
    return str(path)


def options(folder, *more):
    return [
        *("--cfg-options", f"data_root={folder}", f"train_cfg.val_interval={MIDDLE}", "train_dataloader.batch_size=2"),
        *(f"train_cfg.max_iters={LENGTH}", f"param_scheduler.0.end={MIDDLE}", f"param_scheduler.1.begin={MIDDLE}"),
        *(f"param_scheduler.1.end={LENGTH}", f"default_hooks.checkpoint.interval={MIDDLE}"),
        *("default_hooks.logger.interval=1", "train_dataloader.dataset.pipeline.3.scales=[(96,72)]"),
        *("val_dataloader.dataset.pipeline.2.scale=(96,72)", "test_dataloader.dataset.pipeline.1.scale=(96,72)"),
        *more,
    ]


@pytest.fixture(scope="module")
def trained(config, coco_folder, tmp_path_factory) -> Path:
    """The work_dir of a training that ran through."""
    work_dir = tmp_path_factory.mktemp("trained")
    assert load_tool("train").main([config, "--work-dir", str(work_dir), *options(coco_folder)]) == 0
    return work_dir


def weights(work_dir, step=LENGTH):
    return load_file(work_dir / f"iter_{step}.pth")["state_dict"]


def test_what_is_frozen_does_not_move_and_the_rest_does(trained):
    before, after = weights(trained, MIDDLE), weights(trained)
    moved = {name.rsplit(".", 1)[0] for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in moved} == {"backbone", "neck", "rpn_head", "roi_head"}
    assert {name.split(".")[1] for name in moved if name.startswith("backbone")} == {"layer3", "layer4"}


def test_validation_logs_its_loss_and_both_kinds_of_score(trained):
    lines = [json.loads(line) for line in next(trained.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    validations = [line for line in lines if "lesion/jaccard" in line]
    assert len(validations) == 2
    assert all("coco/segm_mAP_50" in line and 0 < line["loss"] < 100 for line in validations)


def test_training_resumed_in_the_second_stage_ends_with_the_same_weights(
    config, trained, coco_folder, tmp_path, monkeypatch
):
    class Killed(BaseException):
        pass

    def die_after_the_first_checkpoint(hook, runner, *args, **kwargs):
        if runner.iter == MIDDLE:
            raise Killed

    train = load_tool("train").main
    arguments = [config, "--work-dir", str(tmp_path), *options(coco_folder)]
    with monkeypatch.context() as patches:
        patches.setattr(LearningCurveHook, "after_train_iter", die_after_the_first_checkpoint)
        with pytest.raises(Killed):
            train(arguments)
    assert train([*arguments, "--resume"]) == 0
    through, resumed = weights(trained), weights(tmp_path)
    assert [name for name in through if not torch.equal(through[name], resumed[name])] == []


def run_test(config, trained, folder, work_dir, *more, out=()):
    checkpoint = str(trained / f"iter_{LENGTH}.pth")
    arguments = [config, checkpoint, "--work-dir", str(work_dir), *out, *options(folder, *more)]
    return load_tool("test").main(arguments)


def test_scores_are_printed_and_reported(config, trained, coco_folder, tmp_path, capsys):
    out, pictures = tmp_path / "out", tmp_path / "pictures"
    rule = ["test_evaluator.1.min_score=0.05", "model.test_cfg.rcnn.score_thr=0.01"]
    assert (
        run_test(config, trained, coco_folder, tmp_path, *rule, out=["--out", str(out), "--show-dir", str(pictures)])
        == 0
    )
    printed = capsys.readouterr().out
    assert "per image (mean over images, official)" in printed
    assert "COCO average precision" in printed
    assert sorted(path.name for path in pictures.iterdir()) == [f"ISIC_{number:07}.jpg" for number in range(9, 14)]
    height, width = cv2.imread(str(pictures / "ISIC_0000009.jpg")).shape[:2]
    assert width == 96
    assert height > 72, "a legend is below"
    report = json.loads((tmp_path / "report.json").read_text())
    annotations = (coco_folder / "annotations/instances_test.json").read_bytes()
    assert report["provenance"]["annotations_sha256"] == hashlib.sha256(annotations).hexdigest()
    assert not report["optimistic"]
    assert {"bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "segm_mAP", "segm_mAP_50", "segm_mAP_75"} <= set(report["coco"])
    assert report["notes"] == ["The prediction is the union of all detections with a score of at least 0.05."]
    rows = list(csv.DictReader((tmp_path / "per_image.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == [f"ISIC_{number:07}" for number in range(9, 14)]
    for row in rows:
        predicted = read_mask(out / f"{row['id']}_segmentation.png") > 128
        truth = read_mask(coco_folder / "annotations" / "test" / f"{row['id']}.png") > 128
        assert float(row["jaccard"]) == np.count_nonzero(predicted & truth) / np.count_nonzero(predicted | truth)


@pytest.mark.slow
def test_two_processes_score_as_one(config, trained, coco_folder, tmp_path):
    # Five images: the set does not divide by two.
    assert run_test(config, trained, coco_folder, tmp_path / "one") == 0
    arguments = [config, trained / f"iter_{LENGTH}.pth", "--work-dir", tmp_path / "two", "--launcher", "pytorch"]
    torchrun(ROOT / "tools/test.py", *arguments, *options(coco_folder))
    one, two = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two"))
    assert (one["images"], one["per_image"], one["coco"]) == (two["images"], two["per_image"], two["coco"])


def test_a_model_that_finds_nothing_scores_nothing(config, trained, coco_folder, tmp_path):
    assert run_test(config, trained, coco_folder, tmp_path, "model.test_cfg.rcnn.score_thr=1.1") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["per_image"]["jaccard"] == 0
    assert report["coco"] == {f"{kind}_mAP{at}": 0 for kind in ("bbox", "segm") for at in ("", "_50", "_75")}


def test_a_test_without_the_metric_of_the_report(config, trained, coco_folder, tmp_path, capsys):
    path = tmp_path / "no-metric.py"
    path.write_text(f"_base_ = {config!r}\ntest_evaluator = dict(_delete_=True, type='LesionCocoMetric')\n")
    assert run_test(str(path), trained, coco_folder, tmp_path) == 1
    assert "no LesionMetric in test_evaluator" in capsys.readouterr().err


def test_flips_are_scored_as_they_are_predicted(config, trained, coco_folder, tmp_path, capsys):
    settings = ["test_evaluator.1.min_score=0.05", "model.test_cfg.rcnn.score_thr=0.01"]
    masks = {}
    for name, flags in (("alone", []), ("flips", ["--tta"])):
        out = ["--out", str(tmp_path / name), *flags]
        assert run_test(config, trained, coco_folder, tmp_path / f"{name}_report", *settings, out=out) == 0
        masks[name] = [read_mask(path) for path in sorted((tmp_path / name).iterdir())]
    assert not all(map(np.array_equal, masks["alone"], masks["flips"]))
    with_settings = tmp_path / "with-settings.py"
    load_config(Options(config, cfg_options=options(coco_folder, *settings)[1:])).dump(with_settings)
    network = Network(TorchModel(Options(str(with_settings)), trained / f"iter_{LENGTH}.pth", "cpu"), tta=True)
    for path, mask in zip(sorted((coco_folder / "images/test").iterdir()), masks["flips"], strict=True):
        (found,) = network.find([Image(read_image(path))])
        assert np.array_equal(found.mask, mask > 128)
    alone, flips = (json.loads((tmp_path / f"{name}_report" / "report.json").read_text()) for name in masks)
    # Instances cannot be averaged.
    assert flips["coco"] == pytest.approx(alone["coco"], abs=0.02)
    assert flips["notes"][1] == "Averaged over flipped copies of each image; AP is of the instances of the image alone."
    assert "flips" in next(csv.DictReader((tmp_path / "flips_report/per_image.csv").read_text().splitlines()))


def test_the_best_instances_have_no_average(config, trained, coco_folder, tmp_path, capsys):
    assert run_test(config, trained, coco_folder, tmp_path, "test_evaluator.1.instances=best", out=["--tta"]) == 1
    assert "instances=best: looks at the truth, and --tta does not" in capsys.readouterr().err


def test_missing_coco_file_is_one_line(isic_folder, tmp_path, capsys):
    assert load_tool("train").main([SMALL, "--work-dir", str(tmp_path), *options(isic_folder)]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "annotations/instances_training.json: no such file" in line
    assert "tools/masks2coco.py DATASET" in line


def test_data_root_and_length_reach_everything():
    changes = ["data_root=elsewhere", "max_iters=546"]
    cfg = load_config(Options(TWO_STAGES, cfg_options=changes))
    assert {cfg[f"{split}_dataloader"].dataset.data_root for split in ("train", "val", "test")} == {"elsewhere"}
    assert cfg.val_evaluator[0].ann_file == "elsewhere/annotations/instances_validation.json"
    assert cfg.test_evaluator[0].ann_file == "elsewhere/annotations/instances_test.json"
    stages = next(hook for hook in cfg.custom_hooks if hook.type == "TrainingStagesHook").stages
    assert [stage.begin for stage in stages] == [0, 91]  # 5 of 30 epochs
    assert (cfg.param_scheduler[0].end, cfg.param_scheduler[1].end) == (50, 546)


def test_training_counted_in_epochs_is_refused(tmp_path, capsys):
    path = tmp_path / "epochs.py"
    path.write_text("_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'\n")
    assert load_tool("train").main([str(path)]) == 1
    assert "its training does not count iterations, expected them" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_mixed_precision_is_left_out_without_a_gpu(coco_folder, tmp_path, capsys):
    path = tmp_path / "amp.py"
    path.write_text(
        f"_base_ = {SMALL!r}\noptim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic', dtype='float16')\n"
    )
    assert load_tool("train").main([str(path), "--work-dir", str(tmp_path / "work"), *options(coco_folder)]) == 0
    assert "float32, not mixed (no GPU)" in capsys.readouterr().out
