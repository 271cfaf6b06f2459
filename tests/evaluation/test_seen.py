"""Scores with and without the images whose like was trained on."""

from dataclasses import replace

import pytest
from finished_tests import FIRST, result

from lesionseg.evaluation.report_file import Report
from lesionseg.evaluation.results import means
from lesionseg.evaluation.scores import POOLED
from lesionseg.evaluation.seen import seen_grid, seen_means, seen_table


def test_both_parts_are_scored_and_kept(tmp_path):
    scores = seen_means(FIRST, {"c", "elsewhere"})
    assert (scores["with"]["images"], scores["without"]["images"]) == (1, 3)
    assert scores["with"]["per_image"]["jaccard"] == 1
    assert scores["without"]["per_image"]["jaccard"] == 1 / 2
    origin = dict.fromkeys(("config", "checkpoint", "checkpoint_sha256", "dataset_sha256"), "x")
    Report(4, means(FIRST), dict.fromkeys(POOLED), origin, twins_in_training=scores).write(tmp_path)
    assert Report.read(tmp_path).twins_in_training == scores
    lines = seen_table(FIRST, {"c"}).splitlines()
    assert lines[0] == "1 of 4 images have a twin, or another of their group, in training:"
    assert "1.000" in lines[-2]
    assert "0.500" in lines[-1]


@pytest.mark.parametrize(("seen", "empty"), [(set(), 0), ({"a", "b", "c", "d"}, 1)])
def test_no_images_have_no_scores(seen, empty):
    assert set(seen_grid(seen_means(FIRST, seen)).cells[empty][2:]) == {"-"}


def test_nothing_is_told_where_nothing_is_known():
    assert seen_means(FIRST, None) == {}
    assert seen_table(FIRST, None) == ""


def test_images_of_several_findings_count_once():
    rows = [replace(result(f"{finding}/a", 4), finding=finding) for finding in ("acne", "hemo")]
    assert [part["images"] for part in seen_means(rows, {"a"}).values()] == [1, 0]
