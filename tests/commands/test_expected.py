"""What Jaccard may be expected is learned in a test, and told by predictions, exports and the demo."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
from drawn_models import CARD, semantic_model
from helpers import MASK2FORMER, ROOT, draw_pair, load_tool
from predicted import table
from small_networks import SEGFORMER, save_random_weights

from lesionseg.commands.expected import check_fit
from lesionseg.errors import DataError
from lesionseg.evaluation.report_file import Report
from lesionseg.inference import Segmenter
from lesionseg.inference.ensemble_card import EnsembleCard, Member
from lesionseg.inference.quality import FEWEST, fingerprint
from lesionseg.pages.demo import look, view
from lesionseg.pixels.masks import encode_mask
from lesionseg.pixels.pictures import encode_jpeg

score, predict = load_tool("test").main, load_tool("predict").main


# A tiny network, on images as they are: enlarged, one that is flipped first differs from one that is flipped after.
CONFIG = f"""
{SEGFORMER.format(root=ROOT)}
_resize = dict(type="Resize", scale=(48, 36), keep_ratio=True, interpolation="area")
test_pipeline = [_resize if step["type"] == "Resize" else step for step in test_pipeline]
test_dataloader["dataset"]["pipeline"] = test_pipeline
tta_pipeline[1]["transforms"][0] = [_resize]
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.py"
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture(scope="module")
def checkpoint(config, tmp_path_factory):
    return save_random_weights(config, tmp_path_factory.mktemp("weights") / "random.pth")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """So few images as a map can be fitted on."""
    root = tmp_path_factory.mktemp("data")
    for number in range(FEWEST):
        image, mask = draw_pair(number, 36, 48)
        for kind, name, content in (
            ("images", f"{number}.jpg", encode_jpeg(image)),
            ("annotations", f"{number}.png", encode_mask(mask > 0)),
        ):
            path = root / kind / "validation" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def per_image(folder):
    with (folder / "per_image.csv").open() as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def test_from_the_fit_to_a_prediction(config, checkpoint, data, tmp_path, capsys):
    arguments = [config, str(checkpoint), "--split", "validation", "--cfg-options", f"data_root={data}"]
    assert score([*arguments, "--work-dir", str(tmp_path / "fit"), "--fit-quality", "--tta"]) == 0
    printed = capsys.readouterr().out
    assert f"what may be expected of a mask is in {checkpoint.with_suffix('.quality.json')}" in printed
    assert "by the other images of these 20, in five folds" in printed
    fitted = per_image(tmp_path / "fit")

    # The next test has seen these images, and says so.
    assert score([*arguments, "--work-dir", str(tmp_path / "again"), "--tta"]) == 0
    assert (
        Report.read(tmp_path / "again").notes[-1].startswith("Expected Jaccards were fitted on 20 of these 20 images")
    )

    images = str(data / "images" / "validation")
    assert predict([config, str(checkpoint), images, "--out", str(tmp_path / "out"), "--tta"]) == 0
    printed = capsys.readouterr().out
    assert "masks have an expected Jaccard below 0.65" in printed
    again = per_image(tmp_path / "again")
    for row in table(tmp_path / "out"):
        own = again[row["id"]]
        # A test and a prediction have the same numbers, though one runs in MMSegmentation and the other does not.
        for name in ("soft_dice", "flips", "expected_jaccard"):
            assert float(row[name]) == pytest.approx(float(own[name]), abs=2e-3), (row["id"], name)
        assert own["soft_dice"] == fitted[row["id"]]["soft_dice"]
        assert int(row["doubtful"]) == (float(row["expected_jaccard"]) < 0.65)

    # Nothing was fitted for the image alone.
    alone = Segmenter(config, checkpoint).predict(draw_pair(0)[0])
    assert alone.expected_jaccard is None
    assert list(alone.numbers) == ["soft_dice"]


def test_an_exported_model_is_judged(isic_folder, tmp_path, capsys):
    image = next((isic_folder / "images/test").iterdir())
    curves = {"soft_dice": ((0.0, 1.0), (0.4, 0.4))}
    quality = {"alone": dict(curves=curves, fitted_on=[fingerprint(image)])}
    model = semantic_model(tmp_path / "model.onnx", replace(CARD, quality=quality))
    metadata = tmp_path / "metadata.csv"
    metadata.write_text(f"id,sex\n{image.stem},f\n")
    arguments = [MASK2FORMER, str(model), "--work-dir", str(tmp_path / "w"), "--groups", str(metadata)]
    assert score([*arguments, "--cfg-options", f"data_root={isic_folder}"]) == 0
    report = Report.read(tmp_path / "w")
    assert {name: group["images"] for name, group in report.groups["sex"].items()} == {"f": 1, "unknown": 4}
    assert "too small" in capsys.readouterr().out
    assert report.notes == ["Expected Jaccards were fitted on 1 of these 5 images: on them they are optimistic."]
    assert {row["expected_jaccard"] for row in per_image(tmp_path / "w").values()} == {"0.4"}
    assert json.loads((tmp_path / "w/report.json").read_text())["failures"]["images"] == 5

    seen = look([Segmenter(model)], str(image))
    shown = view(seen, 0, "m", "lesion", seen.found[0]["lesion"].mask)
    assert "<dt>Expected Jaccard</dt><dd>0.40, below 0.65: look at it with care</dd>" in shown


@pytest.fixture
def own(checkpoint, tmp_path):
    """A checkpoint in a folder of its own."""
    return shutil.copy(checkpoint, tmp_path / "own.pth")


def refused(capsys, tmp_path, *arguments):
    """What is said of a test that ends before it has tested anything, and leaves nothing."""
    assert score([*map(str, arguments), "--work-dir", str(tmp_path / "w"), "--out", str(tmp_path / "masks")]) == 1
    assert not [*tmp_path.glob("w/*"), *tmp_path.glob("masks/*.png")]
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_metadata_of_others_is_told_before_the_test(config, own, isic_folder, tmp_path, capsys):
    metadata = tmp_path / "metadata.csv"
    metadata.write_text("id,sex\nanother,f\n")
    options = ["--cfg-options", f"data_root={isic_folder}", "--groups", metadata]
    assert "none of its 1 ids is one of the 5 images" in refused(capsys, tmp_path, config, own, *options)


@pytest.mark.parametrize("fit", [[], ["--split", "validation", "--fit-quality"]])
def test_damaged_maps_are_told_before_the_test(fit, config, own, data, isic_folder, tmp_path, capsys):
    own.with_suffix(".quality.json").write_text("{}")
    options = ["--cfg-options", f"data_root={data if fit else isic_folder}", *fit]
    told = refused(capsys, tmp_path, config, own, *options)
    assert "own.quality.json: damaged" in told
    assert "Remove it" in told


def test_what_was_trained_on_is_not_for_the_fit(config, own, data, tmp_path, capsys):
    root = tmp_path / "data"
    for kind in ("images", "annotations"):
        shutil.copytree(data / kind / "validation", root / kind / "training")
    options = ["--split", "training", "--fit-quality", "--cfg-options", f"data_root={root}"]
    told = refused(capsys, tmp_path, config, own, *options)
    assert "20 of 20 images are among those that it was trained on" in told
    assert told.endswith("Choose --split validation.")


def test_images_are_learned_by_the_lists_beside_the_weights(tmp_path):
    ids = [f"clinic/{number}" for number in range(FEWEST)]
    for fold in (0, 1):
        (tmp_path / f"{fold}").mkdir()
        (tmp_path / f"{fold}" / "train_ids.txt").write_text(f"clinic/{fold}\nanother\n")
    single = tmp_path / "0" / "iter_9.pth"
    with pytest.raises(DataError, match=r"1 of 20 images are among .* \(clinic/0\), .* Choose another --split, or "):
        check_fit("c.py", single, ids, of_training=False, rule="union")
    # The list knows better than the folder: what a fold holds out was not learned.
    check_fit("c.py", single, [*ids[1:], "b"], of_training=True, rule="union")

    ensemble = tmp_path / "ensemble"
    ensemble.mkdir()
    members = [Member("../c.py", f"../{fold}/iter_9.pth", 0.5, "0") for fold in (0, 1)]
    EnsembleCard(tuple(members), 0.5).write(ensemble)
    with pytest.raises(DataError, match=r"2 of 20 images are among .* \(clinic/0, clinic/1\)"):
        check_fit("c.py", ensemble, ids, of_training=True, rule="union")
    check_fit("c.py", ensemble, [*ids[2:], "b", "c"], of_training=True, rule="union")


def test_a_choice_by_the_truth_is_not_for_the_fit(tmp_path):
    with pytest.raises(DataError, match=r"c\.py: its LesionMetric has instances=best, .* Set instances=union or top1"):
        check_fit("c.py", tmp_path / "a.pth", list(map(str, range(FEWEST))), of_training=False, rule="best")


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("checkpoint", "3 images, expected at least 20 to fit on"),
        ("otsu-blue", "otsu-blue: --fit-quality writes beside a checkpoint, expected a .pth file or an ensemble"),
    ],
)
def test_what_cannot_be_fitted_is_told(model, error, config, checkpoint, isic_folder, tmp_path, capsys):
    model = str(checkpoint) if model == "checkpoint" else model
    arguments = [config, model, "--split", "validation", "--work-dir", str(tmp_path / "w"), "--fit-quality"]
    assert score([*arguments, "--cfg-options", f"data_root={isic_folder}"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert error in line
    assert not (tmp_path / "w").exists()


def test_test_images_are_not_for_the_fit(capsys):
    with pytest.raises(SystemExit) as ended:
        score([MASK2FORMER, "a.pth", "--fit-quality"])
    assert ended.value.code == 2
    assert "--fit-quality needs images that are not scored later" in capsys.readouterr().err
