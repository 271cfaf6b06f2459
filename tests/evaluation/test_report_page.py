"""report.html: what stands in it, and what it does in a browser."""

from dataclasses import replace

import cv2
import pytest

from lesionseg.evaluation.report import write_report

NASTY = "<img src=x onerror=document.title='run'>"


def test_a_test_is_not_lost_with_its_page(table, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lesionseg.evaluation.report.report_page", lambda *_: 1 / 0)
    monkeypatch.chdir(tmp_path)
    write_report(tmp_path / "report", table[:2], {})
    assert (tmp_path / "report" / "report.json").is_file()
    assert not (tmp_path / "report" / "report.html").exists()
    assert "report.html: not written, all else is: ended by ZeroDivisionError" in capsys.readouterr().err


def test_the_page_says_what_was_measured_and_how_it_was_trained(table, tmp_path):
    (tmp_path / "learning_curve.png").write_bytes(cv2.imencode(".png", cv2.imread(table[0].image))[1].tobytes())
    origin = dict(
        config="configs/m.py", checkpoint=str(tmp_path / "best.pth"), commit="abc-dirty", versions=dict(torch="2.13")
    )
    coco = dict(bbox_mAP=0.61, segm_mAP_50=0.92)
    write_report(tmp_path, table[:3], origin, ["A note."], coco, optimistic=True)
    page = (tmp_path / "report.html").read_text()
    for shown in ("configs/m.py", "abc-dirty", "torch 2.13", "A note.", "optimistic", "0.610", "Loss and scores"):
        assert shown in page
    write_report(tmp_path, table[:3], dict(origin, checkpoint="elsewhere/best.pth"))
    assert "Loss and scores" not in (tmp_path / "report.html").read_text()


@pytest.mark.browser
def test_the_gallery_sorts_and_filters_in_a_browser_that_asks_for_nothing(table, tmp_path, tab):
    rows = [replace(table[0], id=NASTY), *table[1:]]
    write_report(tmp_path / "report", rows, {})
    # A page is opened from disk, wherever it was taken to.
    tab.goto((tmp_path / "report" / "report.html").rename(tmp_path / "moved.html").as_uri())

    def shown():
        return tab.eval_on_selector_all(".cards li:not([hidden]) h3", "all => all.map(one => one.textContent)")

    worst_first = [row.id for row in sorted(rows, key=lambda row: row.scores["jaccard"])]
    assert shown() == worst_first
    assert tab.title() != "run"
    tab.click("[data-do=turn]")
    assert shown() == [row.id for row in sorted(rows, key=lambda row: -row.scores["jaccard"])]
    tab.select_option("[data-do=sort]", label="sensitivity")
    assert shown() == [row.id for row in sorted(rows, key=lambda row: row.scores["sensitivity"])]
    tab.fill("[data-do=least]", "0.9")
    assert set(shown()) == {row.id for row in rows if row.scores["sensitivity"] >= 0.9} < {row.id for row in rows}
    tab.fill("[data-do=least]", "")
    tab.fill("[data-do=find]", "ONERROR")
    assert (shown(), tab.inner_text("output")) == ([NASTY], f"1 of {len(rows)} images")
    tab.uncheck("[data-outline=truth]")
    visible = "all => all.map(one => getComputedStyle(one).visibility)"
    assert set(tab.eval_on_selector_all("path.truth", visible)) == {"hidden"}
    assert set(tab.eval_on_selector_all("path.prediction", visible)) == {"visible"}
    tab.hover(".figures .term >> nth=0")
    assert tab.inner_text("#tip").startswith("Overlap of the predicted and the true lesion")
