import json
import os
import shutil

import cv2
import numpy as np
import pytest

from lesionseg.data.datasets import preflight
from lesionseg.data.datasets.preflight import check_masks
from lesionseg.errors import DataError
from lesionseg.pixels.masks import read_mask


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def pairs(isic_folder, tmp_path):
    root = shutil.copytree(isic_folder, tmp_path / "ISIC")
    images = sorted((root / "images" / "training").iterdir())
    return [(str(i), str(root / "annotations" / "training" / f"{i.stem}.png")) for i in images]


def test_counts_pixels_and_names_masks_without_lesion(pairs):
    cv2.imwrite(pairs[2][1], np.zeros((72, 96), np.uint8))
    summary = check_masks(pairs, "training")
    lesion = sum(int((read_mask(mask) > 128).sum()) for _, mask in pairs)
    assert summary.histogram == (6 * 72 * 96 - lesion, lesion)
    assert summary.empty == (pairs[2][1],)
    assert "6 images" in str(summary)
    assert "1 without lesion" in str(summary)


def test_second_check_reads_only_what_changed(pairs, monkeypatch):
    first = check_masks(pairs, "training")
    read = []
    monkeypatch.setattr(preflight, "read_finding", lambda path, label: read.append(path) or read_mask(path) > 128)
    assert check_masks(pairs, "training") == first
    assert read == []
    os.utime(pairs[1][1], ns=(1, 1))
    assert check_masks(pairs, "training") == first
    assert read == [pairs[1][1]]


def test_a_cache_that_cannot_be_written_or_read_costs_only_time(pairs, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert check_masks(pairs, "training").images == 6


def test_masks_whose_cache_is_damaged_are_read_again(pairs, tmp_path):
    first = check_masks(pairs, "training")
    (file,) = (tmp_path / "cache").rglob("*.json")
    kept = json.loads(file.read_text())
    for damaged in ("[]", json.dumps({name: [1] for name in kept})):
        file.write_text(damaged)
        assert check_masks(pairs, "training") == first
        assert json.loads(file.read_text()) == kept


def test_unusable_masks_are_counted_and_the_first_is_explained(pairs):
    cv2.imwrite(pairs[1][1], np.zeros((72, 96, 3), np.uint8) + np.uint8([0, 0, 255]))
    cv2.imwrite(pairs[3][1], np.zeros((96, 72), np.uint8))
    with pytest.raises(DataError, match=r"ISIC_0000001.png: a coloured mask.*2 masks of training cannot be used"):
        check_masks(pairs, "training")


def test_a_mask_of_another_size_is_told_with_both_sizes(pairs):
    cv2.imwrite(pairs[3][1], np.zeros((96, 72), np.uint8))
    with pytest.raises(DataError, match=r"ISIC_0000003.png: 72x96 pixels, expected the 96x72 of"):
        check_masks(pairs, "training")


def test_masks_without_any_lesion_are_an_error(pairs):
    for _, mask in pairs:
        cv2.imwrite(mask, np.zeros((72, 96), np.uint8))
    with pytest.raises(DataError, match="none of the 6 masks has a lesion pixel"):
        check_masks(pairs, "training")
