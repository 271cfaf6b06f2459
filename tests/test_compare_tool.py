from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import load_tool

from lesionseg.evaluation.report import provenance, write_report
from lesionseg.evaluation.results import ImageResult
from lesionseg.evaluation.scores import Confusion
from lesionseg.pixels.masks import lesion_pixels, read_mask
from lesionseg.pixels.rle import pack_mask


@pytest.fixture
def finish(isic_folder, tmp_path):
    """Leaves what a test of a split leaves; the prediction is the truth, moved to the right by some pixels."""

    def write(name: str, shift: int, split: str = "validation") -> str:
        table = []
        for image in sorted((isic_folder / "images" / split).iterdir()):
            path = isic_folder / "annotations" / split / f"{image.stem}.png"
            truth = lesion_pixels(read_mask(path))
            prediction = np.roll(truth, shift, axis=1)
            counts = Confusion.from_masks(truth, prediction)
            table.append(ImageResult(image.stem, str(image), str(path), counts, pack_mask(prediction)))
        origin = provenance("configs/m.py", "", Path(__file__), "lesionseg.ops", table)
        write_report(tmp_path / name, table, origin)
        return str(tmp_path / name)

    return write


def test_two_tests_become_tables_and_a_picture(finish, tmp_path, capsys):
    work_dirs = [finish("near", 2), finish("far", 6)]
    out = tmp_path / "made" / "here"
    assert load_tool("compare").main([*work_dirs, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Means over 3 images (official)")
    assert printed.splitlines()[-1] == (
        f"compared 2 tests on 3 images; comparison.md, comparison.csv, comparison.png are in {out}"
    )
    assert sorted(path.name for path in out.iterdir()) == ["comparison.csv", "comparison.md", "comparison.png"]
    assert cv2.imread(str(out / "comparison.png")).shape[0] > 300
    far = next(
        line for line in (out / "comparison.md").read_text().split("Mean jaccard")[1].splitlines() if "| far" in line
    )
    assert far.endswith("| 0 | 3 | 0 |")

    # Again, over what is there.
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert load_tool("compare").main([*work_dirs[::-1], "--out", str(out)]) == 0
    assert all((out / name).read_bytes() != content for name, content in before.items())


def test_default_folder_is_beside_the_work_dirs(finish, tmp_path, monkeypatch):
    work_dir = finish("near", 2)
    monkeypatch.chdir(tmp_path)
    assert load_tool("compare").main([work_dir]) == 0
    assert (tmp_path / "work_dirs/comparison/comparison.md").is_file()


def test_other_images_are_refused_before_anything_is_written(finish, tmp_path, capsys):
    work_dirs = [finish("near", 2), finish("others", 2, split="test")]
    assert load_tool("compare").main([*work_dirs, "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {work_dirs[1]}: not made on the images of {work_dirs[0]}: 5 of 5 images only in")
    assert printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_report_names_the_next_step(finish, tmp_path, capsys):
    assert load_tool("compare").main([finish("near", 2), str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert f"Run `tools/test.py CONFIG CHECKPOINT --work-dir {tmp_path}`." in capsys.readouterr().err


def test_at_least_one_work_dir_is_needed():
    with pytest.raises(SystemExit) as ending:
        load_tool("compare").main([])
    assert ending.value.code == 2
