"""tools/look.py, and the page that every conversion leaves."""

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from helpers import draw_pair, draw_release_folder, load_tool

from lesionseg.commands.look import look_at, look_page
from lesionseg.data.oddities import Measured, find_oddities
from lesionseg.errors import DataError

USUAL = [
    Measured(f"i{number}", "training" if number < 200 else "validation", "", "", 600, 450, 0.2, 1, 0.6, 0.0)
    for number in range(260)
]


def test_usual_data_are_not_odd():
    assert find_oddities(USUAL) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            dict(border_share=0.8, lesion_share=0.7),
            "1 of 260 masks is lesion along most of their border (i7): they may",
        ),
        (dict(lesion_share=0.0), "1 of 260 masks is empty (i7)"),
        (dict(lesion_share=0.95, border_share=1.0), "1 of 260 masks is lesion on more than 90% of the image (i7)"),
        (dict(lesion_share=0.0005), "1 of 260 masks is lesion on less than 0.1% of the image (i7)"),
        (dict(components=11), "1 of 260 masks is of more than 10 parts (i7)"),
        (dict(brightness=0.1), "1 of 260 images is much darker than the others (i7)"),
        (dict(brightness=0.99), "1 of 260 images is much brighter than the others (i7)"),
        (dict(width=2000), "1 of 260 images is long and narrow (i7)"),
        (dict(height=127, width=127), "1 of 260 images is smaller than 128 pixels (i7)"),
        (dict(id="i230"), "1 ids are in several splits (i230)"),
    ],
)
def test_what_is_odd_is_told_once(changes, told):
    (only,) = find_oddities([replace(row, **changes) if row.id == "i7" else row for row in USUAL])
    assert only.startswith(told)


def test_groups_in_several_splits_and_few_images_are_told():
    shared = [replace(row, group="p1" if row.id in ("i7", "i230") else row.id) for row in USUAL]
    assert find_oddities(shared)[0].startswith("1 groups are in several splits (p1)")
    few = find_oddities([*USUAL[:20], *USUAL[200:209]])
    assert few[0].startswith("20 training images: few to learn from.")
    assert few[1].startswith("9 validation images: a mean score moves by about 0.12")
    assert find_oddities(USUAL[:200])[0].startswith("No validation images")


def test_a_folder_is_looked_at_with_what_is_wrong_in_it(isic_folder, tmp_path, capsys):
    folder = tmp_path / "D"
    shutil.copytree(isic_folder, folder)
    (folder / "annotations/training/ISIC_0000000.png").write_bytes(b"no picture")
    cv2.imwrite(str(folder / "annotations/test/ISIC_0000010.png"), np.zeros((72, 96), np.uint8))
    (folder / "annotations/validation/ISIC_0000006.png").unlink()
    assert load_tool("look").main([str(folder)]) == 0
    printed = capsys.readouterr().out
    for told in ("1 of 3 images have no mask (ISIC_0000006)", "ISIC_0000000.png: ", "1 of 12 masks is empty"):
        assert told in printed
    assert printed.splitlines()[-1].startswith("looked at 12 masks, found ")
    page = (folder / "look.html").read_text()
    assert page.count('<div class="thumbnail">') == 12
    assert "5 training, 2 validation, 5 test images" in page

    row = next(row for row in look_at(folder).rows if row.id == "ISIC_0000001")
    image, mask = draw_pair(1)
    assert row.lesion_share == np.count_nonzero(mask) / mask.size
    assert row.brightness == pytest.approx(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).mean() / 255, abs=0.01)
    assert load_tool("look").main([str(tmp_path)]) == 1


def test_twins_of_an_audit_are_told(isic_folder, tmp_path):
    folder = tmp_path / "D"
    shutil.copytree(isic_folder, folder)
    (folder / "audit").mkdir()
    (folder / "audit" / "groups.csv").write_text("id,group\nISIC_0000001,twins\nISIC_0000010,twins\n")
    assert look_at(folder).oddities[0].startswith("1 groups are in several splits (twins): scores would be of what")


def test_a_conversion_leaves_the_page_and_looks_at_some_images_only(tmp_path, capsys, monkeypatch):
    raw = draw_release_folder(tmp_path / "raw", training=4, validation=3)
    monkeypatch.setattr("lesionseg.commands.look.SAMPLE", 3)
    out = tmp_path / "D"
    assert load_tool("convert_isic").main([str(raw), str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"Look at it before you train: {out / 'look.html'}\n")
    page = (out / "look.html").read_text()
    assert page.count('<div class="thumbnail">') == 3
    assert "3 masks that are evenly spread over all 7" in page
    sampled, whole = look_at(out, sample=3), look_at(out)
    shares = ([row.lesion_share for row in look.rows] for look in (sampled, whole))
    assert next(shares) == pytest.approx(next(shares), abs=1e-6)
    assert sum(row.brightness is None for row in sampled.rows) == 4
    assert "Of 7 images" in look_page(out, sampled)


def test_without_pairs_there_is_nothing_to_look_at(tmp_path):
    with pytest.raises(DataError, match="expected a data set folder"):
        look_at(tmp_path)
