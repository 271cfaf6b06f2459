"""A data set folder with several findings: `annotations/<split>/<finding>/<id>.png`, or labelled files."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from lesionseg.data.datasets.multi_label import MultiLabelDataset
from lesionseg.data.datasets.transforms import LoadLesionImage, LoadLesionMask
from lesionseg.engine.before_run import check_data
from lesionseg.errors import DataError
from lesionseg.pixels.findings import Label

ACNE, HEMO = np.zeros((2, 12, 16), bool)
ACNE[2:8, 3:9] = HEMO[5:10, 6:12] = True
PREFIX = dict(img_path="images/training", seg_map_path="annotations/training")


def write(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture)


@pytest.fixture
def folder(tmp_path):
    """Of image a both findings were looked for, of b hemo alone."""
    for id in "ab":
        write(tmp_path / f"images/training/{id}.png", np.full((12, 16, 3), 90, np.uint8))
        write(tmp_path / f"annotations/training/hemo/{id}.png", HEMO * np.uint8(255))
    write(tmp_path / "annotations/training/acne/a.png", ACNE * np.uint8(255))
    return tmp_path


@pytest.fixture
def labelled(folder):
    """The same as one file an image, where what is both is the later one."""
    for path in sorted(folder.glob("annotations/training/*/*.png")):
        path.unlink()
    for path in folder.glob("annotations/training/*"):
        path.rmdir()
    for id in "ab":
        write(folder / f"annotations/training/{id}.png", np.maximum(ACNE * np.uint8(1), HEMO * np.uint8(2)))
    return folder


def data_set(root, *findings):
    return MultiLabelDataset(findings, data_root=str(root), data_prefix=PREFIX, serialize_data=False)


def loaded(sample):
    return LoadLesionMask(cached=True).transform(LoadLesionImage().transform(sample))


def test_each_finding_has_a_bit_and_what_was_not_looked_for_no_path(folder):
    samples = data_set(folder, "acne", "hemo")
    assert samples.metainfo["classes"] == ("acne", "hemo")
    first, second = (loaded(samples.get_data_info(number)) for number in range(2))
    assert np.array_equal(first["gt_seg_map"], ACNE + 2 * HEMO.astype(np.uint8))
    assert np.array_equal(second["gt_seg_map"], 2 * HEMO.astype(np.uint8))
    assert (list(first["mask_paths"]), list(second["mask_paths"])) == (["acne", "hemo"], ["hemo"])
    assert first["seg_fields"] == ["gt_seg_map"]


def test_labelled_files_tell_of_all_findings(labelled):
    samples = data_set(labelled, "acne", "hemo")
    sample = loaded(samples.get_data_info(1))
    assert np.array_equal(sample["gt_seg_map"], (ACNE & ~HEMO) + 2 * HEMO.astype(np.uint8))
    assert sample["labels"] == {"acne": Label(1, 2), "hemo": Label(2, 2)}


def test_the_check_before_a_run_tells_of_each_finding(folder, capsys):
    dataset = dict(type="mmseg.MultiLabelDataset", findings=["hemo", "acne"], data_root=str(folder), data_prefix=PREFIX)
    check_data(Config(dict(default_scope="mmseg", train_dataloader=dict(dataset=dataset))), "train_dataloader")
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"train: hemo, 2 images, {30 / 192:.1%} of the pixels are lesion"
    assert second == f"train: acne, 1 images, {36 / 192:.1%} of the pixels are lesion"


def test_labels_of_no_finding_are_told_before_a_run(labelled):
    dataset = dict(type="mmseg.MultiLabelDataset", findings=["acne"], data_root=str(labelled), data_prefix=PREFIX)
    with pytest.raises(
        DataError, match=r"a\.png: a label of the values 0, 1 and 2, expected .* and 1 .*2 masks of train acne"
    ):
        check_data(Config(dict(default_scope="mmseg", train_dataloader=dict(dataset=dataset))), "train_dataloader")


@pytest.mark.parametrize(
    ("findings", "message"),
    [
        ([], r"findings=\[\], expected 1 to 7 different names"),
        (["acne", "acne"], "expected 1 to 7 different names"),
        (["../acne"], "expected 1 to 7 different names of folders"),
        (list("abcdefgh"), "expected 1 to 7 different names"),
        (["hemo", "mela"], r"training: none of the 2 images has a mask of mela, expected mela/<id>\.png of some"),
        (["acne"], r"training: 1 of 2 images have no mask of any finding \(b\)"),
        (["hemoglobin"], r"training: the folders acne, hemo, expected hemoglobin, one a finding"),
    ],
)
def test_findings_that_do_not_fit_are_told(folder, findings, message):
    with pytest.raises(DataError, match=message):
        data_set(folder, *findings)
