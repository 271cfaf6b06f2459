"""Folds, trained by a stub: a list of trainings that can be ended at any moment, an ensemble, and one table."""

import csv
import json
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_models import CARD, instance_model, semantic_model
from helpers import MASK2FORMER, load_tool

from lesionseg.commands import fold_job, fold_runs
from lesionseg.commands.fold_plan import Choice, Job, Labelled, Plan
from lesionseg.commands.fold_table import make_table
from lesionseg.commands.folds import make_plan
from lesionseg.data.release.folds import assign_folds, read_folds
from lesionseg.engine.config import Options
from lesionseg.engine.families import INSTANCES, SEMANTIC
from lesionseg.errors import DataError, Stopped
from lesionseg.inference.inputs import find_inputs
from lesionseg.inference.opening import open_finder

IDS = {f"ISIC_{number:07}.jpeg" for number in range(6)}


def train_stub(job):
    """What a training leaves: a network that looks at pixels aside, each fold at others."""
    if job.options.config.startswith("mask-rcnn"):
        instance_model(job.work_dir / "model.onnx", [((0, 10 * job.fold, 90, 72), 0.7, 0)])
    else:
        semantic_model(job.work_dir / "model.onnx", replace(CARD, config=job.options.config), aside=4 * job.fold)


def labelled(root, split):
    images = find_inputs([str(root / "images" / split)]).images
    return Labelled(tuple(images), {image.id: root / "annotations" / split / f"{image.id}.png" for image in images})


def draw_plan(root, work_dir, configs=("mask2former.py", "mask-rcnn.py"), tta=True):
    """Two folds of six images, and five images to test."""
    choice = Choice(configs, work_dir, folds=2, tta=tta)
    names = tuple(Path(config).stem for config in configs)
    jobs = [
        Job(2 * model + fold, model, fold, work_dir / names[model] / f"fold_{fold}", Options(config), *[config] * 3)
        for model, config in enumerate(configs)
        for fold in (0, 1)
    ]
    training = labelled(root, "training")
    folds = assign_folds([image.id for image in training.images], {}, 2)
    tasks = tuple(INSTANCES if name.startswith("mask-rcnn") else SEMANTIC for name in names)
    return Plan(choice, names, tasks, tuple(jobs), training, labelled(root, "test"), "test", folds)


@pytest.fixture(autouse=True)
def stub(monkeypatch):
    trained = []
    monkeypatch.setattr(fold_job, "train_fold", lambda job: trained.append(job.number) or train_stub(job))
    return trained


def run(plan):
    for job in plan.jobs:
        fold_job.run_job(plan, job)
    return make_table(plan)


@pytest.fixture(scope="module")
def whole(isic_folder, tmp_path_factory):
    """A run that nothing has ended: its folder and its table."""
    plan = draw_plan(isic_folder, tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(fold_job, "train_fold", train_stub)
        return plan, run(plan)


def rows_of(plan):
    with (plan.choice.work_dir / "scores.csv").open() as file:
        return {row["model"]: row for row in csv.DictReader(file)}


def test_one_table_of_models_families_and_ensemble(whole):
    plan, table = whole
    rows = rows_of(plan)
    assert [*rows] == [
        *("mask2former", "mask-rcnn", "all of MMSegmentation", "all of MMDetection", "ensemble", "ensemble + TTA")
    ]
    assert [row["networks"] for row in rows.values()] == ["1", "1", "2", "2", "4", "4"]
    assert all(0 <= float(value) <= 1 for row in rows.values() for name, value in row.items() if "_" in name)
    # The drawn Mask R-CNN finds all of every image.
    assert float(rows["mask2former"]["test_jaccard"]) > float(rows["mask-rcnn"]["test_jaccard"])
    assert float(rows["ensemble"]["test_jaccard"]) > float(rows["mask-rcnn"]["test_jaccard"])
    assert "out-of-fold" in table
    assert f"{float(rows['ensemble']['test_jaccard']):.3f}" in table


def test_each_image_is_found_by_the_network_that_has_not_seen_it(whole):
    plan, _ = whole
    for model in range(2):
        masks = {path.name for path in plan.out_of_fold(model).glob("*_probability.png")}
        assert masks == {f"{id}_probability.png" for id in plan.folds}
    for job in plan.jobs:
        assert {image.id for image, soft, _ in plan.outputs(job, "") if soft.parent == plan.out_of_fold(job.model)} == {
            id for id, fold in plan.folds.items() if fold == job.fold
        }


def test_the_ensemble_is_a_model_that_scores_as_the_table_says(whole, tmp_path):
    plan, _ = whole
    folder = plan.choice.work_dir / "ensemble"
    card = json.loads((folder / "ensemble.json").read_text())
    assert all(member["model"].startswith(("../mask2former/fold_", "../mask-rcnn/fold_")) for member in card["members"])
    assert sum(member["weight"] for member in card["members"]) == pytest.approx(1, abs=0.01)
    # The report beside the card, which tools/compare.py takes, is of the same masks as the table.
    report = json.loads((folder / "report.json").read_text())
    assert report["per_image"]["jaccard"] == pytest.approx(float(rows_of(plan)["ensemble"]["test_jaccard"]))
    assert open_finder(folder).card.threshold == card["threshold"]


def test_ended_five_times_it_ends_with_the_same_table(whole, isic_folder, tmp_path, monkeypatch, stub):
    plan = draw_plan(isic_folder, tmp_path)
    write_bytes, left = fold_job.write_bytes, []

    def killed(path, data):
        if left:
            left[0] -= 1
            if left[0] == 0:
                left.clear()
                raise KeyboardInterrupt
        write_bytes(path, data)

    monkeypatch.setattr(fold_job, "write_bytes", killed)
    for moment in (3, 9, 1, 20, 12):
        left[:] = [moment]
        with pytest.raises(KeyboardInterrupt):
            run(plan)
    assert run(plan) == whole[1]
    assert stub == [0, 1, 2, 3]
    for name in ("scores.csv", "ensemble/ensemble.json"):
        assert (tmp_path / name).read_text() == (whole[0].choice.work_dir / name).read_text()


@pytest.mark.parametrize(("changed", "trainings"), [("settings_sha256", [0, 0]), ("looks_sha256", [0])])
def test_what_a_network_would_find_otherwise_it_looks_for_again(changed, trainings, isic_folder, tmp_path, stub):
    plan = draw_plan(isic_folder, tmp_path, ("mask2former.py",), tta=False)
    fold_job.run_job(plan, plan.jobs[0])
    assert plan.is_done(plan.jobs[0])
    other = replace(plan.jobs[0], **{changed: "other"})
    assert not plan.is_done(other)
    earlier = [soft.stat().st_mtime_ns for _, soft, _ in plan.outputs(other, "")]
    fold_job.run_job(plan, other)
    assert stub == trainings
    assert plan.is_done(other)
    assert all(
        soft.stat().st_mtime_ns > one for (_, soft, _), one in zip(plan.outputs(other, ""), earlier, strict=True)
    )


def test_a_training_that_began_otherwise_is_not_taken_up(isic_folder, tmp_path, stub, monkeypatch):
    plan = draw_plan(isic_folder, tmp_path, ("mask2former.py",), tta=False)
    monkeypatch.setattr(fold_job, "predict_fold", lambda *_, **__: pytest.fail("stopped before it looks"))
    with pytest.raises(pytest.fail.Exception):
        fold_job.run_job(plan, plan.jobs[0])
    with pytest.raises(DataError, match=r"fold_0: was trained from other .* choose another --work-dir"):
        fold_job.run_job(plan, replace(plan.jobs[0], start_sha256="other", settings_sha256="other"))
    assert stub == [0]


def test_what_decides_weights_and_what_is_found(isic_folder, tmp_path):
    folder = shutil.copytree(isic_folder, tmp_path / "ISIC")

    def hashes(*options):
        choice = Choice((MASK2FORMER,), tmp_path / "out", folds=2, cfg_options=(f"data_root={folder}", *options))
        job = make_plan(choice).jobs[0]
        return job.start_sha256, job.settings_sha256, job.looks_sha256

    def changed(*options):
        return [one != other for one, other in zip(before, hashes(*options), strict=True)]

    before = hashes()
    assert changed() == changed("train_dataloader.num_workers=3") == [False] * 3
    weights = "model.backbone.init_cfg={'type': 'Pretrained', 'checkpoint': 'a.pth'}"
    for option in ("load_from=a.pth", "randomness.seed=5", weights):
        assert changed(option) == [True, True, False], option
    assert changed("max_iters=7") == [False, True, False]
    assert changed("model.test_cfg.mode=slide") == [False, False, True]
    image = next((folder / "images/test").iterdir())
    image.write_bytes(image.read_bytes() + b" ")
    assert changed() == [False, False, True]
    mask = next((folder / "annotations/training").iterdir())
    cv2.imwrite(str(mask), cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)[::-1])
    assert changed() == [True, True, True]


def test_masks_of_the_test_are_looked_at_before_a_training(isic_folder, tmp_path):
    folder = shutil.copytree(isic_folder, tmp_path / "ISIC")
    mask = next((folder / "annotations/test").iterdir())
    cv2.imwrite(str(mask), np.full((20, 20), 255, np.uint8))
    choice = Choice((MASK2FORMER,), tmp_path / "out", folds=2, cfg_options=(f"data_root={folder}",))
    with pytest.raises(DataError, match=rf"{mask.name}: .*20x20"):
        make_plan(choice)
    assert not (tmp_path / "out").exists()


def test_ids_that_end_like_pictures(isic_folder, tmp_path):
    folder = shutil.copytree(isic_folder, tmp_path / "ISIC")
    for kind, suffix in (("images", "jpg"), ("annotations", "png")):
        for place in (folder / kind / "training").iterdir():
            place.rename(place.with_name(f"{place.stem}.jpeg.{suffix}"))
    choice = Choice((MASK2FORMER,), tmp_path / "out", folds=2, cfg_options=(f"data_root={folder}",))
    assert make_plan(choice).folds == make_plan(choice).folds == read_folds(tmp_path / "out/folds.csv", IDS)


def test_jobs_run_in_processes_and_a_failing_one_is_told(isic_folder, tmp_path, monkeypatch, capfd):
    plan = draw_plan(isic_folder, tmp_path, ("mask2former.py",), tta=False)
    codes = {"0": 0, "1": 3}
    monkeypatch.setattr(fold_runs, "command", lambda choice, job: ["bash", "-c", f"echo job {job}; exit {codes[job]}"])
    monkeypatch.setattr(fold_runs, "usable_gpus", list)
    with pytest.raises(DataError, match=r"fold_1: mask2former, fold 1 ended with exit code 3, .* stands above"):
        fold_runs.run_jobs(plan)
    assert "job 0\n" in capfd.readouterr().out
    codes["0"] = 143
    with pytest.raises(Stopped, match="stopped in mask2former, fold 0; the same command goes on"):
        fold_runs.run_jobs(plan)


def test_a_job_a_gpu_writes_a_log_of_its_own(isic_folder, tmp_path, monkeypatch):
    plan = draw_plan(isic_folder, tmp_path, ("mask2former.py",), tta=False)
    monkeypatch.setattr(fold_runs, "usable_gpus", lambda: ["4", "7"])
    monkeypatch.setattr(fold_runs, "command", lambda choice, job: ["bash", "-c", "echo $CUDA_VISIBLE_DEVICES"])
    fold_runs.run_jobs(plan)
    assert [(tmp_path / f"mask2former/fold_{fold}.log").read_text() for fold in (0, 1)] == ["4\n", "7\n"]


def test_slurm_gets_an_array_of_all_jobs(isic_folder, tmp_path, monkeypatch):
    work = tmp_path / 'a b, 50%j of "c" #1'
    work.mkdir()
    monkeypatch.chdir(work)
    plan = draw_plan(isic_folder, work)
    script = fold_runs.write_slurm(plan)
    text = script.read_text()
    assert "#SBATCH --array=0-3\n" in text
    assert "--folds 2 --seed 0 --work-dir" in text
    assert f'{shlex.quote(str(work))} --tta --job "$SLURM_ARRAY_TASK_ID"\n' in text
    # As sbatch 22.05 was seen to read them: quoted, and a percent sign in a log's name twice.
    assert f'#SBATCH --chdir="{tmp_path}/a b, 50%j of \\"c\\" #1"\n' in text
    assert f'#SBATCH --output="{tmp_path}/a b, 50%%j of \\"c\\" #1/slurm-%A_%a.log"\n' in text
    assert text.endswith("--job table\n")
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def test_the_tool_trains_joins_and_says_where(isic_folder, tmp_path, monkeypatch, capsys):
    tool, out = load_tool("folds"), tmp_path / "out"
    command = [MASK2FORMER, "--folds", "3", "--work-dir", str(out), "--cfg-options", f"data_root={isic_folder}"]

    def run_jobs(plan):
        assert tool.main([*command, "--job", "table"]) == 0
        for job in plan.jobs:
            assert tool.main([*command, "--job", str(job.number)]) == 0

    monkeypatch.setattr(fold_runs, "run_jobs", run_jobs)
    assert tool.main(command) == 0
    printed = capsys.readouterr().out
    assert "3 of 3 trainings are not done yet" in printed
    assert f"on 3 folds of 6 images, and scored them on the 5 of test; scores.csv and ensemble/ are in {out}" in printed
    assert len((out / "folds.csv").read_text().splitlines()) == 7
    faults = {
        ("--seed", "2"): "folds.csv: other folds than those of now",
        ("--job", "3"): "--job 3: no such training, expected a number from 0 to 2",
        ("--cfg-options", f"data_root={isic_folder}", "train_fraction=0.5"): "chooses training images",
        ("--cfg-options", f"data_root={tmp_path}"): "no such file or folder",
    }
    for words, message in faults.items():
        assert tool.main([*command, *words]) == 1
        assert message in capsys.readouterr().err
    assert tool.main([MASK2FORMER, *command]) == 1
    assert "given twice, expected every config once" in capsys.readouterr().err
