"""What is wrong with a data set folder whose masks become COCO files."""

import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest
from drawn_masks import COMPONENTS, HEIGHT, WIDTH, draw_folder, json_path, noise, refused, tree, write_pair

from lesionseg.data.coco import convert as coco_module
from lesionseg.data.coco.convert import Style, masks_to_coco
from lesionseg.errors import DataError
from lesionseg.pixels.masks import encode_mask


@pytest.fixture
def folder(tmp_path):
    return draw_folder(tmp_path)


def test_a_split_without_masks_is_an_error(folder):
    (folder / "images/test").mkdir()
    write_pair(folder, "test", "x", noise(0))
    shutil.rmtree(folder / "annotations/test")
    (line,) = refused(folder)
    assert line.startswith(f"{folder / 'annotations/test'}: there is no mask in it, expected <id>.png or")


def test_unpaired_files_are_counted_and_named(folder):
    (folder / "annotations/training/a/two.png").unlink()
    (folder / "images/training/a/noise.jpg").unlink()
    lines = refused(folder)
    assert lines[0].startswith(f"{folder / 'images/training'}: 1 of 7 masks have no image (a/noise), expected")
    assert lines[1].startswith(f"{folder / 'annotations/training'}: 1 of 7 images have no mask (a/two), expected")


def test_a_folder_without_splits_names_the_converter(tmp_path):
    (tmp_path / "images/training").mkdir(parents=True)
    (line,) = refused(tmp_path)
    assert line.endswith("expected a data set folder. Make one with tools/convert_isic.py.")
    assert len(refused(tmp_path / "none")) == 1


def test_a_mask_of_another_size_is_told_with_both_sizes(folder):
    (folder / "annotations/validation/ISIC_0000001.png").write_bytes(encode_mask(np.ones((36, 50))))
    (line,) = refused(folder)
    assert "ISIC_0000001.png: 50x36 pixels, expected the 36x50 of" in line


def test_the_first_faults_of_masks_are_told_and_their_number(folder):
    for path in (folder / "annotations/training/a").iterdir():
        path.write_bytes(encode_mask(np.ones((3, 4))))
    lines = refused(folder)
    assert len(lines) == 6
    assert "a/border.png: 4x3 pixels" in lines[0]
    assert lines[-1] == f"{folder}: 8 such faults in all, expected none. Mend the others too."


def test_masks_that_cannot_be_read_are_named(folder):
    (folder / "annotations/training/a/two.png").write_bytes(b"text")
    (line,) = refused(folder)
    assert line.startswith(f"{folder / 'annotations/training/a/two.png'}: not a readable picture")


def test_a_split_without_instances_is_an_error(folder):
    write_pair(folder, "validation", "ISIC_0000001", np.zeros((50, 36), np.uint8))
    (line,) = refused(folder)
    assert line.startswith(
        f"{folder / 'annotations/validation'}: none of its 1 masks has an instance, expected one of 1"
    )
    assert len(refused(folder, Style(min_area=HEIGHT * WIDTH + 1))) == 2


def test_a_file_in_the_way_stays_unless_told_otherwise(folder):
    json_path(folder, "validation").write_text("mine")
    (line,) = refused(folder)
    assert line == (
        f"{json_path(folder, 'validation')}: exists, expected nothing there. Move it away or pass --overwrite."
    )
    masks_to_coco(folder, overwrite=True)
    assert json.loads(json_path(folder, "validation").read_text())["images"]


def test_splits_do_not_disagree_about_the_category(folder):
    masks_to_coco(folder, Style(category="nail"))
    for kind in ("images", "annotations"):
        shutil.rmtree(folder / kind / "validation")
    (line,) = refused(folder, overwrite=True)
    assert line.startswith(f"{json_path(folder, 'validation')}: its categories are nail, expected lesion in all splits")
    masks_to_coco(folder, Style(category="nail"), overwrite=True)


def test_a_folder_in_the_way_stays_in_any_case(folder):
    masks_to_coco(folder)
    json_path(folder, "validation").unlink()
    json_path(folder, "validation").mkdir()
    (line,) = refused(folder, overwrite=True)
    assert line == f"{json_path(folder, 'validation')}: not a file, expected one or nothing there. Move it away."


def test_a_broken_file_of_a_split_that_is_not_here_is_told(folder):
    json_path(folder, "test").write_text("{")
    (line,) = refused(folder)
    assert line.startswith(f"{json_path(folder, 'test')}: not a COCO file")
    assert line.endswith("Remove it.")


def test_a_file_in_place_of_the_folder_names_the_option(folder):
    masks_to_coco(folder)
    with pytest.raises(DataError, match=r"instances_training\.json: a file, expected .* add --to-masks OUT"):
        masks_to_coco(json_path(folder))


def test_all_files_are_replaced_or_none(folder, monkeypatch):
    masks_to_coco(folder)
    write = coco_module._Entries.to_json

    def fail_at_validation(entries, style):
        if len(entries.images) == 1:
            raise OSError(28, "No space left on device")
        return write(entries, style)

    monkeypatch.setattr(coco_module._Entries, "to_json", fail_at_validation)
    before = tree(folder)
    with pytest.raises(OSError, match="No space left"):
        masks_to_coco(folder, COMPONENTS, overwrite=True)
    assert tree(folder) == before


def test_what_a_killed_run_has_put_in_place_is_completed(folder):
    masks_to_coco(folder)
    whole = tree(folder)
    gone = folder / "annotations/instances_validation.json"
    gone.unlink()
    masks_to_coco(folder)
    assert tree(folder) == whole
    gone.unlink()
    (folder / "annotations/instances_training.json").write_text("mine")
    with pytest.raises(DataError, match=r"instances_training\.json: exists, expected nothing there"):
        masks_to_coco(folder)
    assert not gone.exists()


@pytest.mark.parametrize("part", ["images", "annotations"])
def test_pipes_are_no_pictures(folder, part):
    path = next((folder / part / "validation").iterdir())
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}: a pipe or a device"):
        masks_to_coco(folder)


@pytest.mark.parametrize("length", [0, 1, 4, 20, 30, 60])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp"])
def test_an_image_whose_header_breaks_off_is_named(folder, suffix, length):
    path = folder / "images/validation/ISIC_0000001.jpg"
    data = cv2.imencode(suffix, np.zeros((20, 30, 3), np.uint8))[1].tobytes()[:length]
    path.unlink()
    path.with_suffix(suffix).write_bytes(data)
    with pytest.raises(DataError, match=re.escape(str(path.with_suffix(suffix)))):
        masks_to_coco(folder)
