"""Trains and tests a really small Mask2Former on drawn data, by the tools."""

import csv
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import MASK2FORMER, ROOT, load_tool, start_as_srun, torchrun
from mmseg.registry import MODELS as SEMANTIC_MODELS

from lesionseg.engine.checkpoint import load_file
from lesionseg.engine.hooks import LearningCurveHook
from lesionseg.evaluation.report_file import Report
from lesionseg.models.flip_tta import FlipTTAModel
from lesionseg.pixels.masks import read_mask
from lesionseg.workers import usable_cores

LENGTH = 6
MIDDLE = 3


def options(isic_folder, *more):
    return [
        *("--cfg-options", f"data_root={isic_folder}", f"max_iters={LENGTH}"),
        *(f"train_cfg.val_interval={MIDDLE}", f"default_hooks.checkpoint.interval={MIDDLE}"),
        *("train_dataloader.batch_size=2", "model.decode_head.num_queries=3", "default_hooks.logger.interval=1"),
        *more,
    ]


@pytest.fixture(scope="module")
def trained(isic_folder, tmp_path_factory) -> Path:
    """The work_dir of a training that ran through."""
    work_dir = tmp_path_factory.mktemp("trained")
    assert load_tool("train").main([MASK2FORMER, "--work-dir", str(work_dir), *options(isic_folder)]) == 0
    return work_dir


@pytest.fixture(scope="module")
def tested(trained, isic_folder, tmp_path_factory) -> tuple[Path, Path, str]:
    """The work_dir of a test, and the folder of its predicted masks."""
    work_dir, out = tmp_path_factory.mktemp("tested"), tmp_path_factory.mktemp("out")
    arguments = [MASK2FORMER, str(trained / f"iter_{LENGTH}.pth"), "--work-dir", str(work_dir), "--out", str(out)]
    assert load_tool("test").main([*arguments, *options(isic_folder)]) == 0
    return work_dir, out


def weights(work_dir):
    return load_file(work_dir / f"iter_{LENGTH}.pth")["state_dict"]


def test_training_leaves_checkpoints_a_log_and_a_learning_curve(trained):
    assert (trained / f"iter_{LENGTH}.pth").is_file()
    assert len(list(trained.glob("best_lesion_jaccard_iter_*.pth"))) == 1
    assert cv2.imread(str(trained / "learning_curve.png")) is not None
    assert list(trained.glob("*/vis_data/events.out.tfevents.*"))
    assert (trained / "train_ids.txt").read_text().split() == [f"ISIC_{number:07}" for number in range(6)]
    lines = [json.loads(line) for line in next(trained.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    validations = [line for line in lines if "lesion/jaccard" in line]
    assert len(validations) == 2
    assert all(0 < line["loss"] < 1000 for line in validations)


def test_checkpoint_remembers_the_validation_of_its_iteration(trained):
    hub = load_file(trained / f"iter_{LENGTH}.pth")["message_hub"]
    assert [point["step"] for point in hub["runtime_info"]["learning_curve"]] == [MIDDLE, LENGTH]
    assert "best_score" in hub["runtime_info"]


class Killed(BaseException):
    pass


def test_resumed_training_ends_with_the_same_weights(trained, isic_folder, tmp_path, monkeypatch):
    def die_after_the_first_checkpoint(hook, runner, *args, **kwargs):
        if runner.iter == MIDDLE:
            raise Killed

    train = load_tool("train").main
    arguments = [MASK2FORMER, "--work-dir", str(tmp_path), *options(isic_folder)]
    with monkeypatch.context() as patches:
        patches.setattr(LearningCurveHook, "after_train_iter", die_after_the_first_checkpoint)
        with pytest.raises(Killed):
            train(arguments)
    assert not (tmp_path / f"iter_{LENGTH}.pth").exists()
    assert train([*arguments, "--resume"]) == 0
    through, resumed = weights(trained), weights(tmp_path)
    # On the CPU and with the same number of threads every operation repeats to the last bit.
    assert [name for name in through if not torch.equal(through[name], resumed[name])] == []


def test_the_results_of_another_training_are_refused(capsys, trained, isic_folder):
    arguments = [MASK2FORMER, "--work-dir", trained, *options(isic_folder)]
    message = r"holds the results of another run \(iter_3.pth, iter_6.pth, best_.*Add --resume .*--overwrite"
    fails(capsys, "train", arguments, message)


def test_overwrite_does_not_remove_what_the_training_begins_with(capsys, trained, isic_folder):
    weights = Path(trained) / "iter_6.pth"
    arguments = [MASK2FORMER, "--work-dir", trained, "--overwrite", *options(isic_folder), f"load_from={weights}"]
    fails(capsys, "train", arguments, r"iter_6\.pth: --overwrite would remove it before .* Choose another --work-dir")
    assert weights.exists()


def test_a_finished_training_has_nothing_left(trained, isic_folder, tmp_path, capsys):
    work_dir = shutil.copytree(trained, tmp_path / "moved")
    before = weights(work_dir)
    arguments = [MASK2FORMER, "--work-dir", str(work_dir), "--resume", *options(isic_folder)]
    assert load_tool("train").main(arguments) == 0
    printed = capsys.readouterr().out
    assert f"resuming from {work_dir / 'iter_6.pth'}" in printed
    assert "nothing was left to train: 6 iterations were done before" in printed
    assert all(torch.equal(before[name], value) for name, value in weights(work_dir).items())


def test_overwrite_removes_what_the_other_training_left(trained, tmp_path):
    from lesionseg.commands.train import remove_results

    work_dir = shutil.copytree(trained, tmp_path / "w")
    (work_dir / "report.json").write_text("{}")
    remove_results(str(work_dir))
    assert [path.name for path in work_dir.iterdir() if path.is_file()] == []


def test_report_agrees_with_itself_and_with_the_written_masks(tested, isic_folder):
    work_dir, out = tested
    report = json.loads((work_dir / "report.json").read_text())
    rows = list(csv.DictReader((work_dir / "per_image.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == [f"ISIC_{number:07}" for number in range(9, 14)]
    for name, mean in report["per_image"].items():
        assert np.mean([float(row[name]) for row in rows]) == mean
    for row in rows:
        predicted = read_mask(out / f"{row['id']}_segmentation.png") > 128
        truth = read_mask(isic_folder / "annotations" / "test" / f"{row['id']}.png") > 128
        union = np.count_nonzero(predicted | truth)
        assert float(row["jaccard"]) == np.count_nonzero(predicted & truth) / union
    assert report["provenance"]["checkpoint"].endswith(f"iter_{LENGTH}.pth")
    for picture in ("jaccard.png", "contact_sheet.jpg"):
        assert cv2.imread(str(work_dir / picture)) is not None


def test_test_time_flips_are_scored_and_noted(trained, isic_folder, tmp_path, capsys, monkeypatch):
    checkpoint, means = str(trained / f"iter_{LENGTH}.pth"), []

    class Watched(FlipTTAModel):
        def test_step(self, data):
            means.append(self.module.data_preprocessor.mean.flatten().tolist())
            return super().test_step(data)

    monkeypatch.setitem(SEMANTIC_MODELS.module_dict, "FlipTTAModel", Watched)
    changed = [*options(isic_folder), "model.data_preprocessor.mean=[1.0, 2.0, 3.0]"]
    assert load_tool("test").main([MASK2FORMER, checkpoint, "--tta", "--work-dir", str(tmp_path), *changed]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["notes"] == [
        "Averaged over flipped copies of each image."
    ]
    assert "per image (mean over images, official)" in capsys.readouterr().out
    # The model's own, not those at the config's top level.
    assert means == [[1.0, 2.0, 3.0]] * 5


def test_a_work_dir_is_enough_to_test_and_to_predict(trained, isic_folder, tmp_path, capsys):
    folder = shutil.copytree(trained, tmp_path / "moved")
    assert load_tool("test").main([str(folder), "--split", "validation"]) == 0
    report = Report.read(folder)
    assert report.provenance["checkpoint"] == str(next(folder.glob("best_*.pth")))
    assert "scored 3 images" in capsys.readouterr().out
    arguments = [str(folder), str(isic_folder), "--split", "validation", "--out", str(tmp_path / "masks")]
    assert load_tool("predict").main(arguments) == 0
    assert len(list((tmp_path / "masks").glob("*_segmentation.png"))) == 3


def test_the_report_of_another_test_is_not_replaced(trained, tested, isic_folder, tmp_path, capsys):
    folder = shutil.copytree(tested[0], tmp_path / "w")
    report = (folder / "report.json").read_text()
    best = next(trained.glob("best_*.pth"))
    arguments = [MASK2FORMER, str(best), "--work-dir", str(folder), *options(isic_folder)]
    assert load_tool("test").main(arguments) == 0
    assert f"all on one page: {folder / f'test_{best.stem}' / 'report.html'}" in capsys.readouterr().out
    assert (folder / "report.json").read_text() == report
    assert str(best) in (folder / f"test_{best.stem}" / "report.json").read_text()


@pytest.mark.slow
def test_two_processes_score_as_one(trained, tested, isic_folder, tmp_path):
    work_dir, _ = tested
    # Five test images do not divide by two processes: one is padded, and must not count twice.
    checkpoint = trained / f"iter_{LENGTH}.pth"
    arguments = [checkpoint, "--launcher", "pytorch", "--work-dir", tmp_path, *options(isic_folder)]
    torchrun(ROOT / "tools/test.py", MASK2FORMER, *arguments)
    alone, together = ((folder / "per_image.csv").read_text() for folder in (work_dir, tmp_path))
    assert together == alone


@pytest.mark.slow
def test_two_processes_train(isic_folder, tmp_path):
    arguments = ["--launcher", "slurm", "--work-dir", tmp_path, *options(isic_folder, "train_fraction=0.5")]
    started = start_as_srun(ROOT / "tools/train.py", MASK2FORMER, *arguments)
    ends = [(*process.communicate(timeout=500), process.returncode) for process in started]
    assert [code for *_, code in ends] == [0, 0], ends
    assert f"2 processes, each on CPU, {max(1, usable_cores() // 2)} thread" in ends[0][0]
    assert len((tmp_path / "train_ids.txt").read_text().split()) == 3
    assert all(torch.isfinite(value).all() for value in weights(tmp_path).values())


# Bad input: exit code 1, one line, and nothing in the work_dir.


def fails(capsys, tool, arguments, message):
    code = load_tool(tool).main(list(map(str, arguments)))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert code == 1
    assert len(lines) == 1
    assert re.search(message, lines[0]), lines[0]


def test_missing_config(capsys, tmp_path):
    fails(capsys, "train", ["configs/none.py"], r"configs/none.py: no such config")


@pytest.mark.parametrize("text", ["_base_ = './nothing.py'\n", "import sys\nsys.exit()\n", "\ufeffmodel = dict()"])
def test_broken_config(capsys, tmp_path, text):
    (tmp_path / "broken.py").write_text(text, encoding="utf-8")
    fails(capsys, "train", [tmp_path / "broken.py"], r"broken.py: does not load \(.*\), expected .*Mend the config\.$")


def test_config_whose_bases_lead_back_to_it(capsys, tmp_path):
    for name, base in (("a", "b"), ("b", "a"), ("own", "own")):
        (tmp_path / f"{name}.py").write_text(f"_base_ = ['./{base}.py']\n")
    fails(capsys, "train", [tmp_path / "a.py"], r"a\.py: does not load \(its _base_ leads back to .*a\.py\)")
    fails(capsys, "train", [tmp_path / "own.py"], r"own\.py: does not load \(its _base_ leads back to .*own\.py\)")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_cfg = None", "its training does not count iterations"),
        ("custom_hooks = 'EMAHook'", r"does not run \(TypeError: "),
        ("param_scheduler = 'PolyLR'", r"does not run \(AttributeError: "),
        ("param_scheduler = [dict(type='PolyLR', end=2)]", "its PolyLR counts epochs, .* by_epoch=False"),
    ],
)
def test_config_with_a_part_of_the_wrong_kind(capsys, tmp_path, line, message):
    (tmp_path / "wrong.py").write_text(f"_base_ = {MASK2FORMER!r}\n{line}\n")
    arguments = [tmp_path / "wrong.py", "--work-dir", tmp_path / "w", "--cfg-options", "max_iters=2"]
    fails(capsys, "train", arguments, rf"wrong.py: {message}")
    assert not (tmp_path / "w").exists()


def test_wrong_option(capsys, tmp_path):
    fails(capsys, "train", [MASK2FORMER, "--cfg-options", "nonsense"], "not KEY=VALUE")


def test_schedule_of_another_length(capsys):
    arguments = [MASK2FORMER, "--cfg-options", "train_cfg.max_iters=10"]
    fails(capsys, "train", arguments, r"schedule ends after 2500 iterations, expected the 10 .* max_iters=10")


@pytest.mark.parametrize("score", ["lesion/jacard", "coco/segm_mAP"])
def test_best_by_a_score_that_does_not_exist(capsys, isic_folder, tmp_path, score):
    arguments = [MASK2FORMER, "--work-dir", tmp_path / "w", *options(isic_folder)]
    message = rf"gives {score}, expected one of lesion/jaccard, lesion/dice, .*lesion/pooled_mIoU"
    fails(capsys, "train", [*arguments, f"default_hooks.checkpoint.save_best={score}"], message)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("train_dataloader.sampler.type=LinearLR", r"isic2018-128x128.py: does not run \(.*Correct it"),
        ("model.data_preprocessor.std=[0,0,0]", "the loss is nan before a weight was changed, .* data_preprocessor"),
        ("optim_wrapper.optimizer.lr=1e30", r"in iteration [12] the loss is nan.*optim_wrapper.optimizer.lr=1e\+29"),
        ("model.backbone.depth=17", r"isic2018-128x128.py: does not run \(KeyError"),
        ("optim_wrapper.paramwise_cfg.custom_keys.bacbone.lr_mult=1", "no parameter has bacbone .* such as backbone"),
        ("train_fraction=2", "train_fraction=2: not usable, expected a share of the training images"),
        ("train_dataloader.dataset.indices=0", "no image is left for train_dataloader, expected one or more"),
        ("load_from=", "load_from=: no such file, expected starting weights"),
        ("default_hooks.checkpoint.by_epoch=True", "by_epoch=True, expected a training by iterations"),
    ],
)
def test_settings_that_do_not_train_are_told_in_one_line(capsys, isic_folder, tmp_path, option, message):
    arguments = [MASK2FORMER, "--work-dir", tmp_path / "w", *options(isic_folder), option]
    fails(capsys, "train", arguments, message)


def test_missing_data(capsys, tmp_path):
    arguments = [MASK2FORMER, "--work-dir", tmp_path / "w", "--cfg-options", f"data_root={tmp_path}/none"]
    fails(capsys, "train", arguments, r"none/images/training: no such folder.*convert_isic")
    assert not (tmp_path / "w").exists()


def test_bad_mask_stops_the_training_before_it_starts(capsys, isic_folder, tmp_path):
    folder = shutil.copytree(isic_folder, tmp_path / "ISIC")
    mask = folder / "annotations" / "training" / "ISIC_0000004.png"
    mask.write_bytes(mask.read_bytes()[:-20])
    fails(
        capsys,
        "train",
        [MASK2FORMER, "--work-dir", tmp_path / "w", *options(folder)],
        r"ISIC_0000004.png: .*breaks off",
    )
    assert not (tmp_path / "w").exists()


def test_cut_off_image_is_told_by_a_loader_process_without_its_traceback(capsys, isic_folder, tmp_path):
    folder = shutil.copytree(isic_folder, tmp_path / "ISIC")
    for image in (folder / "images" / "training").iterdir():
        image.write_bytes(image.read_bytes()[:-200])
    arguments = [MASK2FORMER, "--work-dir", tmp_path / "w", *options(folder)]
    fails(capsys, "train", arguments, r"^error: [^ ]*ISIC_000000\d.jpg: the file breaks off")


def test_nothing_to_resume(capsys, isic_folder, tmp_path):
    arguments = [MASK2FORMER, "--resume", "--work-dir", tmp_path / "w", *options(isic_folder)]
    fails(capsys, "train", arguments, "no checkpoint to resume from")


def test_missing_pre_training_is_told_before_anything_is_replaced(capsys, isic_folder, tmp_path):
    config = ROOT / "configs/mask2former/mask2former_vit-t-mae_1xb8-amp-albu-2500i_isic2018-128x128.py"
    (tmp_path / "iter_1.pth").touch()
    arguments = [config, "--overwrite", "--work-dir", tmp_path, *options(isic_folder)]
    message = r"none.pth: no such file, expected the weights that the backbone begins with. Pre-train first"
    fails(capsys, "train", [*arguments, f"model.backbone.init_cfg.checkpoint={tmp_path}/none.pth"], message)
    assert [path.name for path in tmp_path.iterdir()] == ["iter_1.pth"]


@pytest.mark.parametrize("change", ["", "ema-"])
def test_unreachable_weights_name_the_scratch_config(capsys, isic_folder, tmp_path, monkeypatch, change):
    from urllib.error import URLError

    def refuse(*args):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    config = ROOT / f"configs/mask2former/mask2former_r50_1xb4-{change}20k_isic2018-512x512.py"
    arguments = [config, "--work-dir", tmp_path / "w", "--cfg-options", f"data_root={isic_folder}"]
    scratch = "mask2former_r50_1xb4-scratch-20k_isic2018-512x512.py"
    fails(capsys, "train", arguments, rf"cannot be fetched \(no route to host\).*{scratch}")
    assert config.with_name(scratch).is_file()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("test_dataloader.sampler.type=LinearLR", r"isic2018-128x128.py: does not run \(.*Correct it"),
        ("test_dataloader=None", r"isic2018-128x128.py: no test_dataloader"),
    ],
)
def test_settings_that_do_not_test_are_told_in_one_line(capsys, trained, isic_folder, tmp_path, option, message):
    checkpoint = trained / f"iter_{LENGTH}.pth"
    arguments = [MASK2FORMER, checkpoint, "--work-dir", tmp_path / "w", *options(isic_folder, option)]
    fails(capsys, "test", arguments, message)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("flag", ["--work-dir", "--out", "--show-dir"])
def test_a_file_in_the_place_of_a_folder(capsys, trained, isic_folder, tmp_path, flag):
    (tmp_path / "file").write_text("")
    checkpoint = trained / f"iter_{LENGTH}.pth"
    arguments = [MASK2FORMER, checkpoint, "--work-dir", tmp_path / "w", flag, tmp_path / "file", *options(isic_folder)]
    fails(capsys, "test", arguments, rf"file: a file, expected a folder .*Choose another {flag}\.")


def test_missing_checkpoint(capsys, isic_folder):
    fails(capsys, "test", [MASK2FORMER, "none.pth", *options(isic_folder)], r"none.pth: no such checkpoint")


def test_checkpoint_of_another_model(capsys, trained, isic_folder, tmp_path):
    checkpoint = trained / f"iter_{LENGTH}.pth"
    arguments = [
        MASK2FORMER,
        checkpoint,
        "--work-dir",
        tmp_path,
        *options(isic_folder, "model.decode_head.num_queries=4"),
    ]
    fails(capsys, "test", arguments, r"does not fit.*decode_head.query_embed.weight \(3, 64\) for \(4, 64\)")
    assert not (tmp_path / "report.json").exists()


def test_malicious_checkpoint(capsys, isic_folder, tmp_path):
    class WritesAFile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "written",)

    torch.save({"state_dict": WritesAFile()}, tmp_path / "bad.pth")
    arguments = [MASK2FORMER, tmp_path / "bad.pth", "--work-dir", tmp_path / "w", *options(isic_folder)]
    fails(capsys, "test", arguments, r"bad.pth: holds more than weights.*--trust-checkpoint")
    assert not (tmp_path / "written").exists()
