"""Models that tell several findings apart, from prediction to the comparison of tests."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from drawn_models import FINDINGS, findings_model
from helpers import ROOT, load_tool
from predicted import files, table

from lesionseg.inference import PostProcessing, Segmenter

CONFIG = ROOT / "configs/segformer/segformer_mit-b0_1xb8-10k_skintypes-512x512.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return findings_model(tmp_path_factory.mktemp("findings") / "model.onnx")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The config for skin types, with the findings that are drawn and without a change of size."""
    path = tmp_path_factory.mktemp("config") / "dark_and_red.py"
    path.write_text(
        f'_base_ = "{CONFIG}"\n'
        "from lesionseg.engine.recipes import multi_label\n"
        f"globals().update(multi_label({FINDINGS}))\n"
        "steps = [dict(step, scale=(96, 72)) if step.type == 'Resize' else step for step in _base_.test_pipeline]\n"
        "test_dataloader.update(num_workers=0, persistent_workers=False)\n"
        "test_dataloader['dataset']['pipeline'] = steps\n"
    )
    return str(path)


@pytest.fixture(scope="module")
def truth(isic_folder, tmp_path_factory):
    """Five images with what is dark in them, and for two of them also what is red; that is nowhere."""
    root = tmp_path_factory.mktemp("truth") / "data"
    shutil.copytree(isic_folder / "images/test", root / "images/test")
    shutil.copytree(isic_folder / "annotations/test", root / "annotations/test/dark")
    (root / "annotations/test/red").mkdir()
    for path in sorted((root / "annotations/test/dark").iterdir())[:2]:
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        # All but the upper half, so that one half of what the model finds there is wrong.
        halves = np.repeat([0, 255], mask.size // 2).reshape(mask.shape)
        cv2.imwrite(str(root / "annotations/test/red" / path.name), halves)
    return root


def score(config, model, truth, work_dir, *more):
    arguments = [config, str(model), "--work-dir", str(work_dir), *more, "--cfg-options", f"data_root={truth}"]
    assert load_tool("test").main(arguments) == 0
    return json.loads((work_dir / "report.json").read_text())


def test_each_finding_is_scored_where_it_was_looked_for(model, config, truth, tmp_path, capsys):
    report = score(config, model, truth, tmp_path / "w", "--out", str(tmp_path / "masks"))
    assert report["images"] == 5 + 2
    found = report["findings"]
    assert list(found) == ["dark", "red"]
    assert found["dark"]["jaccard"] == pytest.approx(1, abs=0.02)
    assert found["red"]["jaccard"] == pytest.approx(1 / 2, abs=0.02)
    # Each finding counts as much as the other, though more images have the first.
    assert report["per_image"]["jaccard"] == np.mean([found[name]["jaccard"] for name in FINDINGS])
    assert re.search(r"dark +5 ", capsys.readouterr().out)
    written = [name for name in files(tmp_path / "masks") if name.endswith(".png")]
    assert [name.split("/")[0] for name in written] == ["dark"] * 5 + ["red"] * 2

    again = score(config, tmp_path / "masks", truth, tmp_path / "again")
    assert again["per_image"] == report["per_image"]
    arguments = [str(tmp_path / "w"), str(tmp_path / "again"), "--out", str(tmp_path / "comparison")]
    assert load_tool("compare").main(arguments) == 0
    assert "+0.000" in capsys.readouterr().out


def test_a_mask_that_is_missing_in_a_submission_is_named(model, config, truth, tmp_path, capsys):
    load_tool("predict").main([str(model), str(truth / "images/test"), "--out", str(tmp_path / "masks")])
    lost = sorted((tmp_path / "masks/red").iterdir())[1]
    lost.unlink()
    arguments = [config, str(tmp_path / "masks"), "--work-dir", str(tmp_path / "w")]
    assert load_tool("test").main([*arguments, "--cfg-options", f"data_root={truth}"]) == 1
    assert f"masks: gives no mask of red for {lost.name[:12]}, expected one" in capsys.readouterr().err


def test_each_finding_is_written_into_its_folder_and_has_a_row(model, photos, tmp_path, capsys):
    arguments = [str(model), str(photos), "--out", str(tmp_path / "out"), "--overlay", "--probability"]
    assert load_tool("predict").main(arguments) == 0
    written, rows = files(tmp_path / "out"), table(tmp_path / "out")
    assert len([name for name in written if name.startswith("dark/")]) == 2 * 6
    assert "red/more/ISIC_0_probability.png" in written
    assert len([name for name in written if name.endswith("_overlay.jpg")]) == 6
    assert [row["id"] for row in rows[:3]] == ["dark/ISIC_0", "red/ISIC_0", "dark/ISIC_1"]
    assert "predicted 6 images (dark, red: 12 masks), 0 without a lesion" in capsys.readouterr().out
    image = cv2.imread(str(photos / "ISIC_0.png"))
    dark = image.mean(2) < 128
    mask = cv2.imread(str(tmp_path / "out/dark/ISIC_0_segmentation.png"), cv2.IMREAD_GRAYSCALE)
    assert np.mean((mask > 128) == dark) > 0.999
    assert float(rows[0]["lesion_share"]) == pytest.approx(np.mean(mask > 128), abs=1e-6)
    assert load_tool("predict").main(arguments) == 1
    assert "outputs are there already" in capsys.readouterr().err


def test_a_run_that_was_ended_is_taken_up_image_by_image(model, photos, tmp_path, capsys):
    arguments = [str(model), str(photos), "--out", str(tmp_path / "out")]
    assert load_tool("predict").main(arguments) == 0
    out = tmp_path / "out"
    whole = {name: (out / name).read_bytes() for name in files(out) if name.endswith(".png")}
    # As if it had been killed after the first finding of the third image.
    lines = (out / "predictions.csv").read_text().splitlines(keepends=True)
    settings = dict(Segmenter(model).settings(), overlay=False, probability=False)
    (out / "predictions.unfinished.json").write_text(json.dumps(settings))
    (out / "predictions.csv").write_text("".join(lines[:6]))
    assert load_tool("predict").main(arguments) == 0
    assert "2 of 6 images were predicted by an earlier run" in capsys.readouterr().err
    assert [row["id"] for row in table(out)] == [line.split(",")[0] for line in lines[1:]]
    assert {name: (out / name).read_bytes() for name in whole} == whole


def test_findings_are_processed_each_and_joined(model, photos):
    plain = Segmenter(model).predict(photos / "ISIC_0.png")
    assert list(plain.findings) == ["dark", "red"]
    assert np.array_equal(plain.mask, plain.findings["dark"].mask | plain.findings["red"].mask)
    assert np.array_equal(plain.probability, np.maximum(*(part.probability for part in plain.parts)))
    for part in plain.parts:
        assert np.array_equal(part.probability > 0.5, part.mask)
    gone = Segmenter(model, postprocess=PostProcessing(min_area=2500)).predict(photos / "ISIC_0.png")
    assert not gone.findings["dark"].mask.any()
    assert np.array_equal(gone.mask, gone.findings["red"].mask)
    turned = Segmenter(model, tta=True).predict(photos / "ISIC_0.png")
    assert all(np.array_equal(one.mask, other.mask) for one, other in zip(turned.parts, plain.parts, strict=True))
