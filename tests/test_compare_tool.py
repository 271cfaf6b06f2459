import re
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
        f"compared 2 tests on 3 images; all on one page: {out}/report.html, and comparison.md, comparison.csv, "
        "comparison.png beside it"
    )
    parts = ["comparison.csv", "comparison.md", "comparison.png", "report.html"]
    assert sorted(path.name for path in out.iterdir()) == parts
    page = (out / "report.html").read_text()
    assert page.count('<path class="truth"') == 3
    assert "Comparison of 2 tests" in page
    assert cv2.imread(str(out / "comparison.png")).shape[0] > 300
    far = next(
        line for line in (out / "comparison.md").read_text().split("Mean jaccard")[1].splitlines() if "| far" in line
    )
    assert far.endswith("| 0 | 3 | 0 |")

    # Again, over what is there.
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert load_tool("compare").main([*work_dirs[::-1], "--out", str(out)]) == 0
    assert all((out / name).read_bytes() != content for name, content in before.items())


def test_the_page_of_a_test_is_never_replaced(finish, capsys):
    near, far = finish("near", 2), finish("far", 6)
    assert load_tool("compare").main([near, far, "--out", near]) == 1
    assert f"{near}: it holds the report of a test, expected another folder." in capsys.readouterr().err


def test_images_that_are_gone_are_compared_by_their_scores(finish, tmp_path, capsys):
    table = tmp_path / "near" / "per_image.csv"
    near, far = finish("near", 2), finish("far", 6)
    table.write_text(re.sub("/images/[^,]*", "/gone.jpg", table.read_text()))
    assert load_tool("compare").main([near, far, "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<dt>Jaccards apart</dt>") == 3
    assert '<div class="thumbnail">' not in page
    assert capsys.readouterr().err == ""


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


def replace_in(name, old, new):
    def change(work_dir):
        data = (Path(work_dir) / name).read_bytes()
        assert old in data
        (Path(work_dir) / name).write_bytes(data.replace(old, new, 1))

    return change


def replace_count(text):
    """Replace the first image's count of true positives."""

    def change(work_dir):
        path = Path(work_dir) / "per_image.csv"
        lines = path.read_bytes().splitlines(keepends=True)
        cells = lines[1].split(b",")
        cells[lines[0].split(b",").index(b"tp")] = text
        path.write_bytes(b"".join([lines[0], b",".join(cells), *lines[2:]]))

    return change


TABLE, DAMAGED = (
    "per_image.csv",
    "expected an id of its own, scores from 0 to 1 and counts of pixels. Run `tools/test.py",
)


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (replace_count(b"9" * 30), f"line 2 is damaged, {DAMAGED}"),
        (replace_count(b"1e400"), f"line 2 is damaged, {DAMAGED}"),
        (replace_count(b"nan"), f"line 2 is damaged, {DAMAGED}"),
        (replace_count(b"-4"), f"line 2 is damaged, {DAMAGED}"),
        (replace_count(b"4.5"), f"line 2 is damaged, {DAMAGED}"),
        (replace_count(b"4\0"), f"line 2 is damaged, {DAMAGED}"),
        (replace_count(b""), f"line 2 is damaged, {DAMAGED}"),
        (replace_in(TABLE, b",0.", b",-0."), f"line 2 is damaged, {DAMAGED}"),
        (replace_in(TABLE, b",0.", b",7."), f"line 2 is damaged, {DAMAGED}"),
        (
            replace_in(TABLE, b".png", b"\xe9.png"),
            "not UTF-8, expected a table as tools/test.py writes it. Run `tools/te",
        ),
        (replace_in("report.json", b"configs", b"\xe9"), "not JSON ("),
        (
            replace_in("report.json", b'dataset_sha256": "', b'dataset_sha256": "00'),
            "expected the same images and true masks. Run tools/test.py again for both with the same --cfg-options",
        ),
    ],
)
def test_damaged_files_are_named_with_what_to_run(finish, tmp_path, capsys, change, fact):
    near, far = finish("near", 2), finish("far away", 6)
    change(far)
    assert load_tool("compare").main([near, far, "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {far}")
    assert fact in printed
    assert printed.count("\n") == 1
    if "`" in fact:
        assert printed.endswith(f" --work-dir '{far}'`.\n")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_told(finish, tmp_path, capsys):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below" / "it"):
        assert load_tool("compare").main([finish("near", 2), "--out", str(out)]) == 1
        printed = capsys.readouterr().err
        assert printed.startswith(f"error: {tmp_path / 'file'}: ")
        assert ", expected a folder. Choose another path, or move that file away." in printed


def test_nothing_is_written_where_a_folder_is_in_the_way(finish, tmp_path, capsys):
    (tmp_path / "out" / "comparison.md").mkdir(parents=True)
    assert load_tool("compare").main([finish("near", 2), "--out", str(tmp_path / "out")]) == 1
    assert f"error: {tmp_path}/out/comparison.md: a folder, expected a place for a file." in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["comparison.md"]


def test_names_are_no_markdown(finish, tmp_path):
    assert load_tool("compare").main([finish("<b>*a*|$x_{", 2), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert text.count(r"\<b\>\*a\*\|\$x\_{") == 1 + 2 * 3
    assert "<b>" not in text
