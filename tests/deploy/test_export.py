"""Exports really small models with random weights by the tool, and looks at what it leaves."""

import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from drawn_models import CARD, instance_model, semantic_model, without_card
from helpers import MASK2FORMER, ROOT, load_tool
from small_networks import save_random_weights

from lesionseg.deploy.parity import Thresholds
from lesionseg.engine.families import INSTANCES
from lesionseg.inference.runtimes.model_card import ModelCard
from lesionseg.inference.segmenter import Segmenter
from lesionseg.pixels.masks import read_mask

MASK_RCNN = str(ROOT / "configs/mask_rcnn/mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160.py")
RETINANET = """
_base_ = ["mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"]
custom_imports = dict(imports=["lesionseg.openmmlab"])
model = dict(backbone=dict(init_cfg=None))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return str(save_random_weights(MASK2FORMER, tmp_path_factory.mktemp("weights") / "random.pth"))


@pytest.fixture(scope="module")
def exported(checkpoint, isic_folder, tmp_path_factory) -> Path:
    """The folder of an export."""
    out = tmp_path_factory.mktemp("export") / "out"
    # As a killed export leaves it.
    (out / ".a1b2c3_4.part").mkdir(parents=True)
    (out / ".a1b2c3_4.part" / "raw.onnx").touch()
    arguments = [MASK2FORMER, checkpoint, "--out", str(out), "--cfg-options", f"data_root={isic_folder}"]
    assert load_tool("export").main(arguments) == 0
    return out


def test_export_leaves_a_proven_model(exported):
    names = {path.name for path in exported.iterdir()}
    assert names == {"model.onnx", "deploy.json", "parity.json", "parity_worst.jpg"}
    parity = json.loads((exported / "parity.json").read_text())
    assert parity["passed"]
    assert parity["images"] == len(parity["per_image"]) == 3
    assert parity["agreement"] >= 0.999
    assert 0 <= parity["mean_difference"] <= parity["max_difference"] < 1e-3
    assert set(parity["latency_ms"]) == {"pytorch", "onnxruntime"}
    assert all(value > 0 for value in parity["latency_ms"].values())
    # A process without torch is a fraction of one with it.
    assert 0 < parity["peak_memory_mib"]["onnxruntime"] < parity["peak_memory_mib"]["pytorch"] / 2
    height, width = cv2.imread(str(exported / "parity_worst.jpg")).shape[:2]
    assert width == 96
    assert height > 72, "a legend is below"


def test_the_file_says_what_it_takes_to_use_it(exported):
    properties = {entry.key: entry.value for entry in onnx.load(exported / "model.onnx").metadata_props}
    card = ModelCard.from_properties(properties, "model.onnx")
    assert card.classes == ("background", "lesion")
    assert card.scale == (512, 128)
    assert card.size_divisor == 32
    assert card.config == Path(MASK2FORMER).name
    assert set(card.versions) >= {"torch", "onnx", "onnxruntime", "lesionseg"}
    beside = json.loads((exported / "deploy.json").read_text())
    assert beside["checkpoint_sha256"] == card.checkpoint_sha256
    assert beside["engine"] == "onnxruntime"


def test_both_predict_the_same(exported, checkpoint, isic_folder):
    original, model = Segmenter(MASK2FORMER, checkpoint, device="cpu"), Segmenter(exported)
    images = sorted((isic_folder / "images/test").iterdir())
    pairs = [(original.predict(image), model.predict(image)) for image in images]
    for one, other in pairs:
        assert np.mean(one.mask == other.mask) > 0.999
        np.testing.assert_allclose(one.probability, other.probability, atol=1e-3)
    assert np.ptp(np.stack([one.probability for one, _ in pairs])) > 0.1


def test_scores_of_the_exported_model(exported, checkpoint, isic_folder, tmp_path, capsys):
    reports = []
    for model in (checkpoint, str(exported / "model.onnx")):
        work_dir = tmp_path / Path(model).stem
        arguments = [MASK2FORMER, model, "--work-dir", str(work_dir), "--cfg-options", f"data_root={isic_folder}"]
        assert load_tool("test").main(arguments) == 0
        reports.append(json.loads((work_dir / "report.json").read_text()))
    for name, score in reports[0]["per_image"].items():
        assert reports[1]["per_image"][name] == pytest.approx(score, abs=2e-3)
    assert reports[1]["provenance"]["operators"].startswith("onnxruntime ")
    assert "scored 5 images" in capsys.readouterr().out


def test_scores_of_exported_instances(coco_folder, tmp_path):
    """A model that finds one box in every image, and none that is half as good."""
    card = replace(CARD, task=INSTANCES, classes=("lesion",), score_rule="union", min_score=0.5)
    detections = [((10, 10, 60, 50), 0.9, 0), ((0, 0, 96, 72), 0.3, 0)]
    model = instance_model(tmp_path / "model.onnx", detections, card)
    arguments = [MASK_RCNN, str(model), "--work-dir", str(tmp_path / "w"), "--out", str(tmp_path / "masks")]
    assert load_tool("test").main([*arguments, "--cfg-options", f"data_root={coco_folder}"]) == 0
    box = np.zeros((72, 96), np.uint8)
    box[10:50, 10:60] = 255
    masks = sorted((tmp_path / "masks").iterdir())
    assert len(masks) == 5
    for path in masks:
        np.testing.assert_array_equal(read_mask(path), box)
    report = json.loads((tmp_path / "w/report.json").read_text())
    assert 0 < report["coco"]["bbox_mAP_50"] < 1


def test_flipped_copies_of_an_exported_model(isic_folder, tmp_path):
    """The drawn model is right on drawn images, whichever way they are turned."""
    model = semantic_model(tmp_path / "model.onnx")
    arguments = [MASK2FORMER, str(model), "--tta", "--work-dir", str(tmp_path / "w")]
    assert load_tool("test").main([*arguments, "--cfg-options", f"data_root={isic_folder}"]) == 0
    report = json.loads((tmp_path / "w/report.json").read_text())
    # Drawn images are JPEG files: edges are not exact.
    assert report["per_image"]["jaccard"] > 0.9
    assert report["notes"] == ["Averaged over flipped copies of each image."]


def test_an_export_that_differs_is_not_called_a_model(checkpoint, isic_folder, tmp_path, capsys, monkeypatch):
    # No export can agree on more than all pixels.
    monkeypatch.setattr("lesionseg.commands.export.thresholds", lambda deploy_cfg: Thresholds(min_agreement=1.5))
    out = tmp_path / "out"
    # An earlier export goes: its model would stand beside the new one's report.
    semantic_model(out / "model.onnx")
    (out / "deploy.json").write_text("{}")
    arguments = [MASK2FORMER, checkpoint, "--out", str(out), "--overwrite"]
    assert load_tool("export").main([*arguments, "--cfg-options", f"data_root={isic_folder}"]) == 1
    assert {path.name for path in out.iterdir()} == {"model.unproven.onnx", "parity.json", "parity_worst.jpg"}
    assert not json.loads((out / "parity.json").read_text())["passed"]
    error = capsys.readouterr().err.splitlines()[-1]
    assert "model.unproven.onnx" in error
    assert "of the pixels agree with PyTorch, expected at least 150.0000%; it differs most on" in error


def faulty(case, tmp_path, checkpoint, isic_folder):
    """The arguments of an export that cannot be, and a part of the message."""
    out, options = tmp_path / "out", ["--cfg-options", f"data_root={isic_folder}"]
    deploy = ROOT / "configs/deploy"
    plain = [MASK2FORMER, checkpoint, "--out", str(out)]
    if case == "checkpoint of another model":
        return [MASK_RCNN, checkpoint, "--out", str(out)], "does not fit the model of the config"
    if case == "no checkpoint":
        return [MASK2FORMER, str(tmp_path / "no.pth"), "--out", str(out)], "no.pth: no such checkpoint, expected"
    if case == "checkpoint that is a pipe":
        os.mkfifo(tmp_path / "pipe.pth")
        return [MASK2FORMER, str(tmp_path / "pipe.pth"), "--out", str(out)], "pipe.pth: a pipe or a device, expected a"
    if case == "deploy config of another task":
        path = deploy / "instance-seg_onnxruntime_dynamic.py"
        return [*plain, "--deploy-cfg", str(path), *options], "a deploy config for mmdet, expected one for mmseg"
    if case == "no deploy config":
        return [
            *plain,
            "--deploy-cfg",
            str(tmp_path / "no.py"),
        ], "no.py: no such file or folder, expected a file of configs/deploy"
    if case == "deploy config does not load":
        (tmp_path / "bad.py").write_text("backend_config = dict(\n")
        return [*plain, "--deploy-cfg", str(tmp_path / "bad.py")], "bad.py: does not load"
    if case == "parity image that is none":
        (tmp_path / "image.jpg").write_bytes(b"text")
        return [*plain, "--parity-images", str(tmp_path / "image.jpg"), *options], "image.jpg: not a readable picture"
    if case == "parity image that is too thin":
        cv2.imwrite(str(tmp_path / "thin.png"), np.zeros((1, 5000, 3), np.uint8))
        return [*plain, "--parity-images", str(tmp_path / "thin.png"), *options], "thin.png: 5000x1 pixels: nothing is"
    if case == "another program's export is there":
        out.mkdir()
        (out / "deploy.json").write_text("{}")
        return plain, "holds an export already, expected an empty folder"
    if case == "folder in the way":
        (out / "parity.json").mkdir(parents=True)
        return plain, "parity.json: a folder, expected a place for a file"
    if case == "no model in the config":
        return [*plain, "--cfg-options", "model=None"], f"{MASK2FORMER}: does not run ("
    if case == "unknown threshold":
        path = tmp_path / "threshold.py"
        path.write_text(f'_base_ = "{deploy}/segmentation_onnxruntime_dynamic.py"\nparity = dict(speed=2)\n')
        return [*plain, "--deploy-cfg", str(path), *options], "threshold.py: parity is {"
    if case == "size that is no multiple":
        path = tmp_path / "odd.py"
        path.write_text(
            f'_base_ = "{deploy}/segmentation_onnxruntime_static-512x512.py"\n'
            "onnx_config = dict(input_shape=(500, 512))\n"
        )
        return [
            *plain,
            "--deploy-cfg",
            str(path),
            *options,
        ], "a fixed input of 500x512 pixels, expected multiples of 32"
    if case == "unknown engine":
        path = tmp_path / "engine.py"
        path.write_text(
            f'_base_ = "{deploy}/segmentation_onnxruntime_dynamic.py"\nbackend_config = dict(type="ncnn")\n'
        )
        return [
            *plain,
            "--deploy-cfg",
            str(path),
            *options,
        ], "backend_config.type is 'ncnn', expected onnxruntime"
    if case == "export is there":
        semantic_model(out / "model.onnx")
        return plain, "holds an export already, expected an empty folder"
    if case == "out is a file":
        out.write_text("mine")
        return plain, "out: is a file, expected a folder to write to"
    if case == "unsupported model":
        (tmp_path / "retinanet.py").write_text(RETINANET)
        return [
            str(tmp_path / "retinanet.py"),
            checkpoint,
            "--out",
            str(out),
        ], "a model of the kind RetinaNet, expected"
    assert case == "no parity images"
    return [*plain, "--parity-images", str(tmp_path / "nothing"), *options], "nothing: "


@pytest.mark.parametrize(
    "case",
    [
        *("checkpoint of another model", "no checkpoint", "deploy config of another task", "no deploy config"),
        *("deploy config does not load", "size that is no multiple", "unknown engine", "export is there"),
        *("out is a file", "unsupported model", "no parity images", "parity image that is none", "unknown threshold"),
        *("parity image that is too thin", "another program's export is there", "folder in the way"),
        *("no model in the config", "checkpoint that is a pipe"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(case, tmp_path, checkpoint, isic_folder, capsys):
    arguments, message = faulty(case, tmp_path, checkpoint, isic_folder)
    before = sorted(tmp_path.rglob("*"))
    assert load_tool("export").main(arguments) == 1
    # MMEngine's logger may complain before that it logs to the standard error of an earlier test.
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in str(path)) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to(checkpoint, tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert load_tool("export").main([MASK2FORMER, checkpoint, "--out", str(tmp_path / "out")]) == 1
    assert "Permission denied, expected a path that you may write to. Choose a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: instance_model(path, [((8, 8, 40, 40), 0.9, 0)]), "a model for instance segmentation"),
        (without_card, "an ONNX file without this project's metadata, expected one that tools/export.py made"),
        (lambda path: path.write_bytes(b"no onnx") and path, "not a readable ONNX file, expected a whole one"),
    ],
    ids=["another task", "foreign", "no ONNX"],
)
def test_what_cannot_be_scored(make, message, isic_folder, tmp_path, capsys):
    model = make(tmp_path / "model.onnx")
    arguments = [
        MASK2FORMER,
        str(model),
        "--work-dir",
        str(tmp_path / "w"),
        "--cfg-options",
        f"data_root={isic_folder}",
    ]
    assert load_tool("test").main(arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
