"""Scores by groups, and what images are grouped by."""

import json
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
from finished_tests import result

from lesionseg.errors import DataError
from lesionseg.evaluation.groups import (
    BORDER,
    SHARE,
    SKIN_TONE,
    group_grids,
    labels_of,
    match_rows,
    read_metadata,
    score_groups,
)
from lesionseg.evaluation.report import write_report
from lesionseg.pixels.skin_tone import tone_of, typology_angle
from lesionseg.tables import terminal_table

NO_LESION = np.zeros((60, 90), bool)


def skin(lightness, yellow, height=60, width=90):
    """A photograph of one colour, by its L* and b*: (H, W, 3) uint8 BGR."""
    colour = cv2.cvtColor(np.float32([[[lightness, 12, yellow]]]), cv2.COLOR_LAB2BGR)
    return np.full((height, width, 3), np.round(255 * colour), np.uint8)


@pytest.mark.parametrize(
    ("lightness", "yellow", "angle", "tone"),
    [
        (50 + 15 * np.sqrt(3), 15, 60, "very light"),
        (65, 15, 45, "light"),
        (50 + 15 / np.sqrt(3), 15, 30, "intermediate"),
        (55, 15, np.degrees(np.arctan(1 / 3)), "tan"),
        (50, 15, 0, "brown"),
        (35, 15, -45, "dark"),
    ],
)
def test_skin_tones_are_those_of_the_formula(lightness, yellow, angle, tone):
    measured = typology_angle(skin(lightness, yellow), NO_LESION)
    # 8 bits hold a colour to half a gray level.
    assert measured == pytest.approx(angle, abs=1.5)
    assert tone_of(measured) == tone


def test_only_skin_is_measured():
    image, lesion = skin(65, 15), NO_LESION.copy()
    lesion[20:40, 30:60] = True
    image[lesion] = (20, 20, 40)
    image[:, 70] = (10, 10, 10)  # A hair.
    corners = np.hypot(*np.ogrid[-30:30, -45:45]) > 46
    image[corners] = (5, 5, 5)
    assert typology_angle(image, lesion) == pytest.approx(45, abs=1.5)
    assert typology_angle(image, ~NO_LESION) is None


def table_of(*groups):
    """So many images of a group, of which the lesion was found by so many of 8 pixels."""
    rows = [result(f"{name}-{number}", found) for name, images, found in groups for number in range(images)]
    return rows, [name for name, images, _ in groups for _ in range(images)]


def test_a_group_is_compared_with_the_rest():
    rows, names = table_of(("a", 10, 8), ("b", 12, 4), ("c", 9, 2), ("unknown", 3, 0))
    groups = score_groups(rows, {"letter": names})["letter"]
    assert list(groups) == ["a", "b", "c", "unknown"]
    assert (groups["a"].means["jaccard"].mean, groups["b"].means["jaccard"].mean) == (1, 1 / 2)
    # The rest are those of another group; where all in a group are alike, it is the rest that varies.
    difference = groups["a"].difference
    assert difference.mean == pytest.approx(1 - (12 * 0.5 + 9 * 0.25) / 21)
    assert difference.low < difference.mean < difference.high
    assert difference.high - difference.low < 0.15
    # Nine are too few.
    assert (groups["c"].images, groups["c"].means, groups["c"].difference) == (9, {}, None)
    [grid] = group_grids({"letter": groups})
    assert "too small" in terminal_table(grid)


def test_columns_of_a_table_group(tmp_path):
    path = tmp_path / "metadata.csv"
    lines = ["isic_id;sex;age;patient;site"]
    lines += [f"ISIC_{number}.jpg;{'fm'[number % 2]};{number};p{number};" for number in range(30)]
    path.write_text("\n".join(lines))
    metadata = read_metadata(path)
    assert metadata.columns == ["sex", "age", "site"]
    assert metadata.notes == [f"{path}: left out patient, whose 30 values group nothing"]
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.zeros((4, 5), np.uint8))
    rows = [replace(result(f"ISIC_{number}", 8), truth=str(image), image=None) for number in range(24)]
    labels = labels_of([*rows, replace(rows[0], id="another")], metadata)
    assert labels["sex"][:3] == ["f", "m", "f"]
    assert labels["sex"][-1] == labels["age"][-1] == "unknown"
    assert sorted(set(labels["age"])) == [
        "0 to below 5.75",
        "11.5 to below 17.25",
        "17.25 to 23",
        "5.75 to below 11.5",
        "unknown",
    ]
    assert list(score_groups([*rows, rows[0]], {"age": labels["age"]})["age"])[1:3] == [
        "5.75 to below 11.5",
        "11.5 to below 17.25",
    ]
    with pytest.raises(DataError, match="none of its 30 ids is one of the 1 images"):
        labels_of([replace(rows[0], id="another")], metadata)


def metadata_of(tmp_path, *lines):
    path = tmp_path / "metadata.csv"
    path.write_text("\n".join(["id,sex", *lines]))
    return read_metadata(path)


@pytest.mark.parametrize(
    ("lines", "sexes"),
    [
        (["a/1.jpg,f", "b/1,m"], {"a/1": "f", "b/1": "m"}),
        (["a/1,f", "2,m"], {"a/1": "f", "b/1": None, "b/2": "m"}),
        (["a/1,f", "1,m"], {"a/1": "f", "b/1": "m"}),
        (["1,f"], {"1": "f", "b/1": None}),
        (["a/1,f"], {"1": "f"}),
        (["c/1,f", "c/2,m"], {"b/1": None, "c/2": "m"}),
    ],
)
def test_a_row_is_of_the_image_of_its_id(lines, sexes, tmp_path):
    rows = match_rows(metadata_of(tmp_path, *lines), list(sexes))
    assert {id: rows[id]["sex"] if id in rows else None for id in sexes} == sexes


@pytest.mark.parametrize(("lines", "ids"), [(["1,f"], ["a/1", "b/1"]), (["a/1,f", "b/1,m"], ["1"])])
def test_a_name_that_means_several_is_refused(lines, ids, tmp_path):
    with pytest.raises(DataError, match=rf"images go by a name that is not theirs alone \({ids[0]}"):
        match_rows(metadata_of(tmp_path, *lines), ids)


def test_rows_are_of_images_whatever_was_found_in_them(tmp_path):
    mask = tmp_path / "a.png"
    cv2.imwrite(str(mask), np.zeros((4, 5), np.uint8))
    rows = [
        replace(result(f"{finding}/{id}", 8), finding=finding, truth=str(mask), image=None)
        for finding in ("acne", "mole")
        for id in ("a/1", "b/1")
    ]
    metadata = metadata_of(tmp_path, "a/1,f", "b/1,m")
    assert labels_of(rows, metadata)["sex"] == ["f", "m", "f", "m"]


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("start", [0, 10_000_000, 1_700_000_000])
def test_numbers_are_cut_into_four_however_long_they_are(start, step, tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text("id,time\n" + "".join(f"{number},{start + step * number}\n" for number in range(16)))
    mask = tmp_path / "a.png"
    cv2.imwrite(str(mask), np.zeros((4, 5), np.uint8))
    rows = [replace(result(str(number), 8), truth=str(mask), image=None) for number in range(16)]
    labels = labels_of(rows, read_metadata(path))["time"]
    assert list(Counter(labels).values()) == [4, 4, 4, 4]
    assert list(score_groups(rows, {"time": labels})["time"]) == list(dict.fromkeys(labels))


def test_of_several_rows_an_image_what_they_agree_in_groups(tmp_path):
    path = tmp_path / "index.csv"
    path.write_text("id,split,finding,patient\na,test,acne,1\na,test,mela,1\nb,test,acne,2\nc,test,mela,\n")
    metadata = read_metadata(path)
    assert metadata.columns == ["split", "patient"]
    assert metadata.notes == [f"{path}: left out finding, which 1 ids have several of (a)"]
    assert {id: row["patient"] for id, row in match_rows(metadata, ["a", "b", "c"]).items()} == dict(a="1", b="2", c="")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sex,age\nf,1\n", "no column of ids"),
        ("id,sex\na,f\na,m\n", r"1 ids have several rows \(a\) that agree in no column"),
        ("id\na\n", "nothing but ids"),
    ],
)
def test_a_table_that_groups_nothing_is_refused(text, said, tmp_path):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_metadata(tmp_path / "m.csv")


def test_a_report_has_groups(table, tmp_path):
    labels = labels_of(table)
    assert set(labels[BORDER]) == {"no lesion", "touches it", "apart from it"}
    assert set(labels[SHARE]) >= {"no lesion", "50 % or more"}
    assert set(labels[SKIN_TONE]) == {"light", "unknown"}
    origin = dict(config="c.py", checkpoint="m", checkpoint_sha256="0", dataset_sha256="1")
    write_report(tmp_path / "w", table, origin, groups=score_groups(table, labels))
    groups = json.loads((tmp_path / "w" / "report.json").read_text())["groups"]
    assert sum(group["images"] for group in groups[BORDER].values()) == 20
    assert (tmp_path / "w" / "groups.png").stat().st_size > 1000
    assert "By lesion share" in (tmp_path / "w" / "report.html").read_text()
