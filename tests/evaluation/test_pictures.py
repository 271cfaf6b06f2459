import cv2
import numpy as np
import pytest
from helpers import draw_pair

from lesionseg.evaluation.pictures import (
    _box_labels,
    _short,
    captioned,
    contact_sheet,
    cut_names,
    difference_sheet,
    jaccard_boxes,
    most_different,
    outlined,
)
from lesionseg.evaluation.results import ImageResult
from lesionseg.evaluation.scores import Confusion
from lesionseg.pixels.rle import pack_mask

MEAN_BGR = (0x00, 0x5E, 0xD5)


def draw(tests):
    return cv2.imdecode(np.frombuffer(jaccard_boxes(tests), np.uint8), cv2.IMREAD_COLOR)


def test_means_stand_side_by_side_at_their_heights():
    values = np.linspace(-0.05, 0.05, 21)
    picture = draw({"a": 0.25 + values, "b": 0.5 + values, "c": 0.75 + values})
    rows, columns = np.nonzero(np.all(picture == MEAN_BGR, axis=2))
    rows, columns = rows[rows > 90], columns[rows > 90]  # the legend above has such a line too
    third = np.digitize(columns, np.linspace(columns.min(), columns.max() + 1, 4)[1:-1])
    heights = [float(np.median(rows[third == number])) for number in range(3)]
    assert heights[0] > heights[1] > heights[2]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=1.5)


def test_width_grows_with_the_tests_and_the_height_stays():
    values = np.linspace(0, 1, 20)
    small, large = (draw({f"test {number}": values for number in range(count)}).shape[:2] for count in (2, 8))
    assert small[0] == large[0]
    assert 2 * small[1] < large[1] < 2000


def test_many_tests_are_drawn_in_lines():
    values = np.linspace(0, 1, 20)
    one, two = (draw({f"test {number}": values for number in range(count)}).shape[:2] for count in (6, 12))
    assert one[1] == two[1]
    assert 1.5 * one[0] < two[0] < 2 * one[0]


@pytest.mark.parametrize(
    ("names", "cut"),
    [
        (["unet_r18_isic", "unet_r50-amp_isic"], ("unet_", ["r18", "r50-amp"], "_isic")),
        (["a_b", "a_b_c"], ("a_", ["b", "b_c"], "")),
        (["w/a", "w/a/a"], ("w/", ["a", "a/a"], "")),
        (["one", "two"], ("", ["one", "two"], "")),
        (["alone_here"], ("", ["alone_here"], "")),
    ],
)
def test_names_lose_what_all_have(names, cut):
    assert cut_names(names) == cut


def test_a_long_id_keeps_its_ends():
    assert _short("1/4c472e18-e402-11e8-97db-0242ac1c0002") == "1/4c472e18-e402-1\u202697db-0242ac1c0002"
    assert _short("ISIC_0000000") == "ISIC_0000000"


def test_a_single_image_can_be_drawn():
    assert draw({"a": np.array([0.5])}).shape[0] > 300


def test_labels_are_narrow_and_lose_nothing():
    names = [
        "mask2former_r18-w64_1xb8-amp-1650i_isic2018-128x128",
        "a",
        "anameofwhichnoparthasanendwhereitcouldbebroken",
        "mask-rcnn_r50_fpn_1xb8-24e_isic2018-512x512 (optimistic)",
    ]
    labels = [label.split("\n") for label in _box_labels({name: np.array([0.5, 0.5, 0.8]) for name in names})]
    for name, label in zip(names, labels, strict=True):
        assert "".join(label[:-2]) == name
        assert max(map(len, label)) <= 18
        assert label[-2:] == ["mean 0.600", "median 0.500"]
    assert len(set(map(len, labels))) == 1
    assert labels[0][:4] == ["mask2former_r18-", "w64_1xb8-amp-", "1650i_isic2018-", "128x128"]


def systems(*jaccards):
    """Tables of images of 20 pixels, a list of found pixels of ten a system."""
    return {
        f"s{number}": [
            ImageResult(f"i{image}", None, "", Confusion(tp=found, tn=10, fp=0, fn=10 - found), {})
            for image, found in enumerate(founds)
        ]
        for number, founds in enumerate(jaccards)
    }


def test_images_on_which_systems_differ_most_come_first():
    tables = systems([9, 5, 5, 8, 2, 0], [8, 5, 9, 1, 2, 3])
    rows = most_different(list(tables.values()))
    assert [row[0].id for row in rows] == ["i3", "i2", "i5", "i0"]
    assert [row.scores["jaccard"] for row in rows[0]] == [8 / 10, 1 / 10]


def test_largest_differences_show_every_system_or_the_best_and_the_worst(monkeypatch):
    drawn = []
    monkeypatch.setattr("lesionseg.evaluation.pictures._sheet", lambda lines: drawn.append(lines) or b"")
    difference_sheet(systems([9, 5], [8, 1], [7, 5]))
    difference_sheet(systems([9], [8], [1], [5], [4]))
    few, many = ({name: [label for label, _ in cells] for name, cells in lines.items()} for lines in drawn)
    assert few == {name: ["i1", "i0"] for name in ("s0", "s1", "s2")}
    assert many == {"best system": ["i0\ns0"], "worst system": ["i0\ns2"]}


@pytest.mark.parametrize("name", ["$x^$", "$$", "a$b", "$\\frac{$", "\\$a$", "l\udce9sion", "\u6f22", "\x1b[31m"])
def test_any_name_can_be_drawn(name, tmp_path):
    assert draw({name: np.array([0.5])}).shape[0] > 300
    image, mask = draw_pair(0)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    cv2.imwrite(str(tmp_path / "a_mask.png"), mask)
    lesion = mask > 128
    row = ImageResult(
        name,
        str(tmp_path / "a.png"),
        str(tmp_path / "a_mask.png"),
        Confusion.from_masks(lesion, lesion),
        pack_mask(lesion),
    )
    assert contact_sheet([row]).startswith(b"\xff\xd8")
    assert np.array_equal(captioned(row)[:72], outlined(row))
