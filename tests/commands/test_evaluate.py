"""tools/evaluate.py: folders of masks against true ones."""

import csv
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from helpers import ROOT, load_tool, write_mask

from lesionseg.errors import DataError
from lesionseg.evaluation.compare import read_tests


def evaluate(*arguments) -> int:
    return load_tool("evaluate").main([str(argument) for argument in arguments])


@pytest.fixture
def folders(tmp_path):
    """A truth of two images and two systems, hand-countable, by the folders' names."""
    masks = {
        "truth/a": ("11...", "....."),
        "truth/b": ("1111.", "....."),
        "A/a": ("1....", "1...."),
        "A/b": ("111..", "....."),
        "B/a": (".....", "....."),
        "B/b": ("1111.", "....."),
    }
    for name, rows in masks.items():
        write_mask(tmp_path / f"{name}_segmentation.png", *rows)
    return tmp_path


def files(folder) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_two_systems_are_scored_and_compared(folders, capsys):
    out = folders / "made" / "here"
    assert evaluate(folders / "truth", folders / "A", folders / "B", "--out", out) == 0
    of_each = ("report.json", "report.html", "per_image.csv", "jaccard.png", "contact_sheet.jpg")
    reports = {f"{name}/{file}" for name in "AB" for file in of_each} | {"largest_differences.jpg"}
    assert files(out) == reports | {"report.html"} | {f"comparison.{kind}" for kind in ("md", "csv", "png")}

    report = json.loads((out / "A" / "report.json").read_text())
    assert report["per_image"]["jaccard"] == (1 / 3 + 3 / 4) / 2
    assert report["per_image"]["sensitivity"] == report["lesion"]["per_image"]["recall"] == 5 / 8
    assert report["lesion"]["per_image"]["precision"] == 3 / 4
    pooled = dict(precision=4 / 5, recall=4 / 6, accuracy=17 / 20, dice=8 / 11, iou=4 / 7)
    assert report["lesion"]["pooled"] == pooled
    assert (report["pooled"]["IoU.lesion"], report["pooled"]["aAcc"]) == (4 / 7, 17 / 20)
    _, second = csv.DictReader((out / "comparison.csv").read_text().splitlines())
    assert float(second["jaccard_difference_mean"]) == round(1 / 2 - 13 / 24, 6)
    assert (second["test"], second["remarks"]) == ("B", "")

    printed = capsys.readouterr().out
    assert printed.startswith("Scores of the lesion on 2 images:")
    assert "-0.0417" in printed
    assert printed.splitlines()[-1] == (
        "scored 2 folders of masks on 2 images; report.html, comparison.md, comparison.csv, comparison.png, "
        f"largest_differences.jpg are in {out}, the reports in {out / 'A'}, {out / 'B'}"
    )
    assert [test.label for test in read_tests([out / "A", out / "B"])] == ["A", "B"]

    # Again, over what is there.
    assert evaluate(folders / "truth", folders / "A", "--out", out) == 0
    assert "by_folder.csv" not in files(out)


def test_nothing_of_torch_or_openmmlab_is_needed(folders):
    arguments = ["evaluate", *(str(folders / name) for name in ("truth", "A", "B")), "--out", str(folders / "out")]
    code = (
        "import sys, runpy; sys.modules.update(torch=None, mmengine=None, mmcv=None, mmseg=None, mmdet=None); "
        f"sys.argv = {arguments!r}; runpy.run_path('{ROOT}/tools/evaluate.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_findings_in_folders_are_scored_by_folder(tmp_path, capsys):
    for name, suffix in (("truth", "_mask.png"), ("A", "_pred.bmp")):
        for id in ("acne/1", "acne/2", "mela/1"):
            write_mask(tmp_path / name / f"{id}{suffix}", "1..", "1.." if name == "truth" or id == "acne/1" else "...")
    for image in "12":
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / f"{image}.jpg"), np.full((2, 3, 3), 200, np.uint8))
    arguments = ["--suffix", "_mask", "--suffix", "_pred", "--images", tmp_path / "images", "--out", tmp_path / "out"]
    assert evaluate(tmp_path / "truth", tmp_path / "A", *arguments) == 0
    lines = list(csv.DictReader((tmp_path / "out" / "by_folder.csv").read_text().splitlines()))
    assert [line["folder"] for line in lines] == ["acne", "mela", "mean"]
    assert [float(line["jaccard"]) for line in lines] == [3 / 4, 1 / 2, 5 / 8]
    assert [float(line["pooled_recall"]) for line in lines] == [3 / 4, 1 / 2, 5 / 8]
    rows = list(csv.DictReader((tmp_path / "out" / "A" / "per_image.csv").read_text().splitlines()))
    assert [row["image"] for row in rows] == [str(tmp_path / "images" / f"{name}.jpg") for name in "121"]
    printed = capsys.readouterr().out
    assert "By folder: means over images (official), and pooled over pixels:" in printed
    assert "by_folder.csv are in" in printed


def test_a_table_brings_its_images(folders):
    (folders / "images").mkdir()
    for id in "ab":
        cv2.imwrite(str(folders / "images" / f"{id}.png"), np.full((2, 5, 3), 200, np.uint8))
    rows = [f"{id},test,images/{id}.png,truth/{id}_segmentation.png" for id in "ab"]
    (folders / "index.csv").write_text("\n".join(["id,split,image,mask", *rows]))
    assert evaluate(folders / "index.csv", folders / "A", "--split", "test", "--out", folders / "out") == 0
    row = next(csv.DictReader((folders / "out" / "A" / "per_image.csv").read_text().splitlines()))
    assert row["image"] == str(folders / "images" / "a.png")


def test_unmatched_names_are_refused_or_left_out(folders, capsys):
    (folders / "B" / "b_segmentation.png").rename(folders / "B" / "c_segmentation.png")
    arguments = [folders / "truth", folders / "A", folders / "B", "--out", folders / "out"]
    assert evaluate(*arguments) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(
        f"error: {folders / 'B'}: 1 of 2 images have no mask (b) and 1 of 2 masks are of no image"
    )
    assert printed.endswith("or score those that all have with --common.\n")
    assert printed.count("\n") == 1
    assert not (folders / "out").exists()

    assert evaluate(*arguments, "--common") == 0
    printed = capsys.readouterr()
    assert f"note: {folders / 'B'}: 1 of 2 images have no mask (b) and 1 of 2 masks are of no image" in printed.err
    assert "scored 2 folders of masks on 1 images" in printed.out


def test_what_is_wrong_with_files_is_told_before_anything_is_written(folders, capsys):
    write_mask(folders / "A" / "a_segmentation.png", "11", "..")
    (folders / "B" / "b_segmentation.png").write_bytes(b"")
    assert evaluate(folders / "truth", folders / "A", folders / "B", "--out", folders / "out") == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert [error.split(": ")[1].removeprefix(f"{folders}/") for error in errors] == [
        "A/a_segmentation.png",
        "B/b_segmentation.png",
    ]
    assert not (folders / "out").exists()


def test_an_image_that_cannot_be_drawn_on_leaves_nothing(folders, capsys):
    (folders / "images").mkdir()
    for id in "ab":
        cv2.imwrite(str(folders / "images" / f"{id}.png"), np.full((2, 5, 3), 200, np.uint8))
    data = bytearray((folders / "images" / "b.png").read_bytes())
    data[45:50] = b"\0" * 5  # inside the pixels: its size can still be read
    (folders / "images" / "b.png").write_bytes(data)
    assert evaluate(folders / "truth", folders / "A", "--images", folders / "images", "--out", folders / "out") == 1
    assert f"{folders / 'images' / 'b.png'}: " in capsys.readouterr().err
    assert not (folders / "out").exists()


def test_images_that_are_not_there_are_told(folders, capsys):
    (folders / "images").mkdir()
    cv2.imwrite(str(folders / "images" / "a.png"), np.full((2, 5, 3), 200, np.uint8))
    assert evaluate(folders / "truth", folders / "A", "--images", folders / "images", "--out", folders / "out") == 1
    assert "images: 1 of 2 masks have no image (b), expected <id>.jpg or another" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "fact"),
    [
        (".", "A: results would lie in {}/A, expected a folder apart from masks. Choose another --out."),
        (
            "truth/made",
            "truth/made: results would lie in {}/truth, expected a folder apart from masks. Choose another --out.",
        ),
        ("tests", "tests/A: it holds the report of another test, expected nothing there. Choose another --out."),
        ("text", "text/A: a file, expected a folder for the results. Choose another --out."),
        ("text/A", "text/A: a file, expected a folder for the results. Choose another --out."),
    ],
)
def test_results_replace_no_masks_and_no_other_tests(folders, capsys, out, fact):
    (folders / "tests" / "A").mkdir(parents=True)
    (folders / "tests" / "A" / "report.json").touch()
    (folders / "text").mkdir()
    (folders / "text" / "A").touch()
    before = files(folders)
    assert evaluate(folders / "truth", folders / "A", "--out", folders / out) == 1
    assert f"{folders}/{fact.format(folders)}" in capsys.readouterr().err
    assert files(folders) == before


def test_a_folder_given_twice_is_told(folders, capsys):
    assert evaluate(folders / "truth", folders / "A", folders / "B" / ".." / "A", "--out", folders / "out") == 1
    assert "B/../A: given twice, expected every folder of masks once. Leave one out." in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [" ", "a/b"])
def test_a_suffix_is_the_end_of_a_name(suffix, capsys):
    with pytest.raises(SystemExit) as ending:
        evaluate("truth", "A", "--out", "out", "--suffix", suffix)
    assert ending.value.code == 2
    assert f"argument --suffix: '{suffix}', expected the end of a name, such as _mask" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "fact"), [("per_image.csv", "no such file"), ("report.json", "not JSON")])
def test_a_damaged_report_names_the_tool_that_made_it(folders, name, fact):
    out = folders / "made"
    assert evaluate(folders / "truth", folders / "A", "--out", out) == 0
    damaged = out / "A" / name
    if fact == "no such file":
        damaged.unlink()
    else:
        damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(DataError, match=rf"{name}: {fact}.*\. Run tools/evaluate\.py again with the masks and --out"):
        read_tests([out / "A"])
