import csv
from io import StringIO

import pytest

from lesionseg.tables import (
    Grid,
    cell_text,
    csv_text,
    markdown_table,
    markdown_text,
    named_values,
    side_by_side,
    terminal_table,
)

GRID = Grid(["name", "mean score"], [["a|b", "0.5"], ["a rather long name of a test", "0.25"]], title="Means")


def test_csv_gives_the_same_floats_again():
    text = csv_text(["id", "score", "note"], [dict(id="a", score=1 / 3), dict(id="b,c", score=1, note=None)])
    rows = list(csv.DictReader(StringIO(text)))
    assert float(rows[0]["score"]) == 1 / 3
    assert rows[1] == dict(id="b,c", score="1", note="")


def test_csv_rounds_floats_alone():
    assert csv_text(["x", "n"], [dict(x=1 / 3, n=7)], digits=3) == "x,n\n0.333,7\n"


def test_csv_without_lines_has_its_header():
    assert csv_text(["id", "score"], []) == "id,score\n"


def test_numbers_are_never_folded():
    lines = terminal_table(GRID, width=24).splitlines()
    assert lines[0] == "Means:"
    assert any(line.endswith("0.25") for line in lines)
    assert "a rather long" in lines[-2]


def test_markdown_escapes_what_parts_columns():
    assert markdown_table(GRID).splitlines()[4] == r"| a\|b | 0.5 |"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("mask2former_r50_1xb4-20k", "mask2former_r50_1xb4-20k"),
        ("_a_ __b__ c_", r"\_a\_ \_\_b\_\_ c\_"),
        ("**a** `b` ~~c~~ $d$", r"\*\*a\*\* \`b\` \~\~c\~\~ \$d\$"),
        ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert(1)\>"),
        ("![a](b) [c]", r"!\[a\](b) \[c\]"),
        ("a\nb\x1bc\u2028d", "a b c d"),
        ("&lt;b&gt; \\", r"\&lt;b\&gt; \\"),
        ("https://a.b @someone", "https&#8203;://a.b @&#8203;someone"),
        ("0.4 to 0.6 (+0.1)", "0.4 to 0.6 (+0.1)"),
    ],
)
def test_markdown_shows_text_as_it_stands(text, written):
    assert markdown_text(text) == written
    table = markdown_table(Grid(["test"], [[text]], title=text)).splitlines()
    assert (table[0], table[4], len(table)) == (f"{written}:", f"| {written} |", 5)


def test_values_stand_in_one_column():
    assert named_values([("a", "1"), ("long", "2")]) == ["  a     1", "  long  2"]
    assert named_values([]) == []


def test_blocks_of_other_heights_stand_side_by_side():
    assert side_by_side(["a", "bb"], ["c"]) == "a     c\nbb"
    assert side_by_side(["a"], ["c", "d"]) == "a    c\n     d"


@pytest.mark.parametrize("id", ["=1+1", "+1a", "-a", "@SUM(A1)", "\tx", '=HYPERLINK("http://x")'])
def test_an_id_is_no_formula(id):
    (row,) = csv.DictReader(StringIO(csv_text(["id"], [dict(id=id)])))
    assert row["id"] == f"'{id}"
    assert cell_text(row["id"]) == id


@pytest.mark.parametrize("cell", ["'a", "'", "", "=1"])
def test_a_text_that_was_no_formula_is_read_as_it_is(cell):
    assert cell_text(cell) == cell


@pytest.mark.parametrize("cell", ["a=b", "-0.5", "+1e3", "", "ISIC_1", -1, -0.5, None])
def test_other_cells_stay_as_they_are(cell):
    (row,) = csv.DictReader(StringIO(csv_text(["x", "y"], [dict(x=cell, y=1)])))
    assert row["x"] == ("" if cell is None else str(cell))


def test_bytes_of_a_path_that_are_no_utf8_are_shown():
    text = csv_text(["image"], [dict(image="l\udce9sion.jpg")])
    assert text == "image\nl\\udce9sion.jpg\n"
    assert text.encode()
