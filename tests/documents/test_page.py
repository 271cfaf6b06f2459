"""Pages that are files: what a text can do in them, and that they come to be whole or not at all."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from lesionseg.documents.gallery import Card, Measure, gallery, spread
from lesionseg.documents.page import page, table, text, write_page
from lesionseg.documents.thumbnails import thumbnail
from lesionseg.errors import DataError
from lesionseg.tables import Grid

NASTY = "\"><script>alert('&amp;')</script>\x1b[31m\u202e"


class Read(HTMLParser):
    """What a browser sees in a page: its tags, and all text in it."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_a_text_stays_a_text_wherever_it_stands():
    read = Read(
        page(
            NASTY,
            NASTY,
            table(Grid([NASTY, "score"], [[NASTY, "1"]], NASTY), {NASTY: NASTY}),
            gallery([Card(NASTY, [0.5], None, [NASTY])], [Measure(NASTY, NASTY)]),
        )
    )
    assert len(read.named("script")) == 1
    shown = "\"><script>alert('&amp;')</script>\\x1b[31m\\u202e"
    assert read.named("button")[0]["aria-description"] == shown
    assert sum(shown in words for words in read.texts) >= 8


def test_a_page_s_own_policy_lets_its_script_run_and_nothing_load():
    source = page("a", "b")
    (policy,) = [each["content"] for each in Read(source).named("meta") if "http-equiv" in each]
    script = re.search("<script>(.*)</script>", source, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}'" in policy
    assert "--truth: rgb(240, 228, 66)" in source


def test_a_page_that_cannot_be_made_is_a_warning_and_leaves_none(tmp_path, capsys):
    path = tmp_path / "report.html"
    path.write_text("of an earlier run")

    def fail():
        raise DataError("a.jpg: gone")

    assert not write_page(path, fail)
    assert capsys.readouterr().err == f"warning: {path}: not written, all else is: a.jpg: gone\n"
    assert list(tmp_path.iterdir()) == []
    assert write_page(path, lambda: "made")
    assert path.read_text() == "made"


def test_a_thumbnail_is_small_and_its_outlines_lie_where_the_masks_are():
    image = np.zeros((300, 900, 3), np.uint8)
    mask = np.zeros((100, 300), bool)
    mask[20:41, 60:121] = True
    made = thumbnail(image, dict(truth=mask, prediction=np.zeros_like(mask)))
    assert (made.width, made.height, made.prediction) == (600, 200, "")
    numbers = np.array(re.findall(r"\d+", made.truth), int).reshape(-1, 2)
    # Two units a pixel of the mask.
    assert (*numbers.min(axis=0), *numbers.max(axis=0)) == pytest.approx((121, 41, 241, 81), abs=1)
    assert len(thumbnail(image, {}, images=4_000).address) < len(made.address) < 2_000


def test_of_very_many_some_are_shown_and_it_is_said():
    assert spread(range(10), 4) == [0, 2, 5, 7]
    assert spread(range(3), 4) == range(3)
    assert "Of 9,000 images, 1 are shown here" in gallery([Card("a", [None])], [Measure("score")], images=9_000)
    assert text("a  b\n") == "a b"
