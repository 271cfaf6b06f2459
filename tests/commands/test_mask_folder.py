"""Masks from elsewhere are scored by the same test as a network's."""

import json

import cv2
import numpy as np
import pytest
from helpers import MASK2FORMER, load_tool

from lesionseg.errors import DataError
from lesionseg.evaluation.compare import compare, read_tests
from lesionseg.evaluation.report_file import Report
from lesionseg.files import file_sha256
from lesionseg.inference import Segmenter, otsu
from lesionseg.inference.finder import Image
from lesionseg.inference.mask_folder import MaskFolder


@pytest.fixture
def submission(isic_folder, tmp_path):
    """The true masks, named as the challenge wants predictions, but for the first, which is empty."""
    folder = tmp_path / "submission"
    folder.mkdir()
    for number, path in enumerate(sorted((isic_folder / "annotations" / "test").iterdir())):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(folder / f"{path.stem}_segmentation.png"), mask if number else np.zeros_like(mask))
    return folder


def test_a_submission_is_scored(submission, isic_folder, tmp_path):
    arguments = [MASK2FORMER, str(submission), "--work-dir", str(tmp_path / "w")]
    assert load_tool("test").main([*arguments, "--cfg-options", f"data_root={isic_folder}"]) == 0
    report = json.loads((tmp_path / "w" / "report.json").read_text())
    assert report["per_image"]["jaccard"] == 4 / 5
    assert report["provenance"]["operators"] == "none: masks from elsewhere"

    # Without a config, images or not, the scores are the same, and both tests can be compared.
    for name, truth in (("alone", isic_folder / "annotations" / "test"), ("folder", isic_folder)):
        out = tmp_path / name
        arguments = [str(truth), str(submission), "--out", str(out), *(["--split", "test"] * (name == "folder"))]
        assert load_tool("evaluate").main(arguments) == 0
        again = Report.read(out / "submission")
        assert (again.per_image, again.pooled) == (report["per_image"], report["pooled"])
        row = compare(read_tests([tmp_path / "w", out / "submission"]))[1]
        assert row.differences["jaccard"].equal == 5
    assert again.provenance["dataset_sha256"] == report["provenance"]["dataset_sha256"]


def test_masks_are_post_processed_before_they_are_scored(submission, isic_folder, tmp_path):
    for path in submission.iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        mask[0, 0] = 255 if mask.any() else 0  # A speck, where there is no lesion.
        cv2.imwrite(str(path), mask)
    arguments = [MASK2FORMER, str(submission), "--cfg-options", f"data_root={isic_folder}"]
    for name, flags in (("as they are", []), ("largest", ["--largest", "--fill-holes"])):
        assert load_tool("test").main([*arguments, "--work-dir", str(tmp_path / name), *flags]) == 0
    before, after = (Report.read(tmp_path / name) for name in ("as they are", "largest"))
    assert before.per_image["jaccard"] < after.per_image["jaccard"] == 4 / 5
    assert before.notes == []
    assert after.notes == [
        "Before they were scored, masks were changed: holes filled, only the largest component kept."
    ]


def test_a_method_without_learning_is_scored(isic_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # What lies at that name is `./otsu-blue`, and results may go there.
    arguments = [MASK2FORMER, "otsu-blue", "--work-dir", "w", "--out", "otsu-blue"]
    assert load_tool("test").main([*arguments, "--cfg-options", f"data_root={isic_folder}"]) == 0
    report = Report.read("w")
    assert 0.9 < report.per_image["jaccard"] < 1
    assert report.provenance["checkpoint"] == "otsu-blue"
    assert report.provenance["checkpoint_sha256"] == file_sha256(otsu.__file__)
    assert report.provenance["operators"] == f"OpenCV {cv2.__version__}"
    assert len(list((tmp_path / "otsu-blue").iterdir())) == 5


@pytest.mark.parametrize(
    ("flag", "folder"), [("--show-dir", "images/test"), ("--out", "annotations/test/new"), ("--out", "submission")]
)
def test_what_is_scored_is_not_replaced_by_results(submission, isic_folder, tmp_path, capsys, flag, folder):
    place = submission if folder == "submission" else isic_folder / folder
    arguments = [MASK2FORMER, str(submission), "--work-dir", str(tmp_path / "w"), flag, str(place)]
    assert load_tool("test").main([*arguments, "--cfg-options", f"data_root={isic_folder}"]) == 1
    message = f"error: {place}: holds what is scored, expected a folder for results. Choose another {flag}.\n"
    assert capsys.readouterr().err.endswith(message)
    assert not (tmp_path / "w").exists()


def test_what_an_earlier_test_wrote_is_not_replaced(submission, isic_folder, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a_segmentation.png").touch()
    arguments = [MASK2FORMER, str(submission), "--work-dir", str(tmp_path / "w"), "--out", str(tmp_path / "out")]
    assert load_tool("test").main([*arguments, "--cfg-options", f"data_root={isic_folder}"]) == 1
    assert (
        "out: 1 files are there already (a_segmentation.png), expected none of *_segmentation.png. Choose another"
        in (capsys.readouterr().err)
    )
    assert not (tmp_path / "w").exists()


def test_an_image_without_a_mask_is_named(submission):
    with pytest.raises(DataError, match=r"submission: 1 of 1 images have no mask \(other\)"):
        MaskFolder(submission).find([Image(np.zeros((72, 96, 3), np.uint8), "other")])


def test_a_mask_of_another_size_is_named(submission):
    id = next(submission.iterdir()).name.removesuffix("_segmentation.png")
    with pytest.raises(DataError, match=r"96x72 pixels, expected the 10x20 of the image"):
        MaskFolder(submission).find([Image(np.zeros((20, 10, 3), np.uint8), id)])


def test_masks_are_found_by_the_names_of_pictures(submission, isic_folder):
    path = sorted((isic_folder / "images" / "test").iterdir())[1]
    found = Segmenter(submission).predict(path)
    assert found.mask.sum() == np.count_nonzero(found.probability) > 0


def test_images_with_a_twin_in_training_are_told_apart(submission, isic_folder, tmp_path, capsys):
    data = tmp_path / "D"
    (data / "audit").mkdir(parents=True)
    for kind in ("images", "annotations"):
        (data / kind).symlink_to(isic_folder / kind)
    first = min((isic_folder / "annotations" / "test").iterdir()).stem
    (data / "audit" / "groups.csv").write_text(f"id,group,split\n{first},g,test\nISIC_0000000,g,training\n")
    arguments = [MASK2FORMER, str(submission), "--work-dir", str(tmp_path / "w"), "--cfg-options", f"data_root={data}"]
    assert load_tool("test").main(arguments) == 0
    assert "1 of 5 images have a twin, or another of their group, in training" in capsys.readouterr().out
    parts = Report.read(tmp_path / "w").twins_in_training
    assert [part["per_image"]["jaccard"] for part in parts.values()] == [0, 1]
    assert "another of their group, in training" in (tmp_path / "w" / "report.html").read_text()
    # Nothing is known of what another data set has in training.
    arguments[-1] = f"test_dataloader.dataset.data_root={data}"
    assert load_tool("test").main([*arguments, "--overwrite"]) == 0
    assert "another of their group" not in capsys.readouterr().out
