"""Masks that somebody has edited after their COCO file was made."""

import shutil

import cv2
import pytest
from mmengine.config import Config

import lesionseg.openmmlab  # noqa: F401
from lesionseg.data.coco.convert import Style, masks_to_coco
from lesionseg.engine.before_run import check_data

PREFIX = dict(img="images/validation", seg="annotations/validation")


@pytest.fixture
def folder(isic_folder, tmp_path):
    root = shutil.copytree(isic_folder, tmp_path / "my ISIC")
    # A speck, which instances of 20 pixels leave out.
    edit(root, 7, slice(0, 2))
    return root


def edit(root, number, rows, columns=slice(0, 3)):
    path = str(root / f"annotations/validation/ISIC_{number:07}.png")
    mask = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    mask[rows, columns] = 255
    cv2.imwrite(path, mask)


def told(root, capsys, category="lesion"):
    dataset = dict(type="LesionCocoDataset", data_root=str(root), ann_file="annotations/instances_validation.json")
    dataset.update(data_prefix=PREFIX, metainfo=dict(classes=(category,)))
    check_data(Config(dict(default_scope="mmdet", val_dataloader=dict(dataset=dataset))), "val_dataloader")
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]


@pytest.mark.parametrize("style", [Style(), Style("components", min_area=20, category="nail")])
def test_edited_masks_are_told_with_what_mends_it(folder, capsys, style):
    masks_to_coco(folder, style)
    assert told(folder, capsys, style.category) == []
    edit(folder, 6, slice(0, 9), slice(0, 9))
    [line] = told(folder, capsys, style.category)
    assert "instances_validation.json: the masks of 1 of 3 images have changed since " in line
    assert "(ISIC_0000006)" in line
    flags = " --instances components --min-area 20 --category nail" if style.min_area > 1 else ""
    assert line.endswith(f"Run tools/masks2coco.py '{folder}' --overwrite{flags}.")
    masks_to_coco(folder, style, overwrite=True)
    assert told(folder, capsys, style.category) == []


def test_what_was_not_made_of_masks_exactly_is_not_compared(folder, capsys):
    masks_to_coco(folder, Style(polygons=True))
    edit(folder, 6, slice(0, 9))
    assert told(folder, capsys) == []
