import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from lesionseg.errors import DataError
from lesionseg.pixels.findings import IGNORED, MOST_FINDINGS, Label, has_finding, join_findings, read_finding

LABELS = np.array([[0, 1, 2], [3, 0, 1]], np.uint8)


def test_a_pixel_may_have_several_findings():
    masks = [np.array([[1, 1, 0]], bool), np.array([[0, 1, 0]], bool), np.array([[0, 0, 1]], bool)]
    codes = join_findings(masks)
    assert (codes.tolist(), codes.dtype) == ([[1, 3, 4]], np.uint8)
    for number, mask in enumerate(masks):
        assert np.array_equal(has_finding(codes, number), mask)
        assert torch.equal(has_finding(torch.from_numpy(codes), number), torch.from_numpy(mask))


def test_no_code_is_that_of_what_lies_beyond_the_picture():
    assert join_findings([np.ones((1, 2), bool)] * MOST_FINDINGS).max() < IGNORED


@pytest.mark.parametrize("kind", ["gray", "three equal channels", "palette"])
def test_labelled_files_are_read_by_number(kind, tmp_path):
    path = tmp_path / "a.png"
    if kind == "palette":
        picture = Image.fromarray(LABELS, "P")
        # The numbers count, whatever their colours.
        picture.putpalette([9, 9, 9, 255, 0, 0, 0, 0, 0, 0, 255, 0])
        picture.save(path)
    else:
        cv2.imwrite(str(path), LABELS if kind == "gray" else np.dstack([LABELS] * 3))
    assert np.array_equal(read_finding(path, Label(1, 3)), LABELS == 1)
    assert np.array_equal(read_finding(path, Label(3, 3)), LABELS == 3)


def test_a_number_of_no_finding_is_an_error(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), LABELS)
    with pytest.raises(DataError, match=r"a\.png: a label of the values 0, 1, 2 and 3, expected .* 1, 2 of"):
        read_finding(tmp_path / "a.png", Label(1, 2))


def test_a_coloured_picture_is_no_labelled_file(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([LABELS, LABELS, LABELS // 2]))
    with pytest.raises(DataError, match=r"a\.png: a label of type uint8 with colours, expected 8-bit gray"):
        read_finding(tmp_path / "a.png", Label(1, 3))
