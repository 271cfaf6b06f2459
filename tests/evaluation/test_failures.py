"""Does a method know when it fails: by images so few that the numbers can be counted."""

import json
from dataclasses import replace

import numpy as np
import pytest
from finished_tests import result

from lesionseg.evaluation.failures import auroc, auroc_interval, failure_grid, judge, risks, with_expected
from lesionseg.evaluation.report import write_report
from lesionseg.evaluation.report_file import Report
from lesionseg.tables import terminal_table


def rows(found, **numbers):
    """Images of a lesion of 8 pixels, of which so many were found."""
    images = [result(f"{number}", count) for number, count in enumerate(found)]
    return [
        replace(image, numbers={name: values[number] for name, values in numbers.items()})
        for number, image in enumerate(images)
    ]


def test_auroc_counts_pairs():
    failed = np.array([True, True, False, False])
    assert auroc(failed, np.array([0.1, 0.2, 0.3, 0.4])) == 1
    assert auroc(failed, np.array([0.4, 0.3, 0.2, 0.1])) == 0
    # Of four pairs, three are in order, or two and two halves.
    assert auroc(failed, np.array([0.1, 0.3, 0.2, 0.4])) == 3 / 4
    assert auroc(failed, np.array([0.1, 0.2, 0.2, 0.1])) == 1 / 2
    assert np.isnan(auroc(np.zeros(4, bool), np.arange(4.0)))


def test_an_interval_is_of_resampled_images():
    random = np.random.default_rng(1)
    failed = random.random(80) < 0.3
    confidence = random.random(80) + ~failed
    low, high = auroc_interval(failed, confidence - 0.6 * random.random(80))
    assert 0.8 < low < auroc(failed, confidence) <= 1
    assert low < high
    # Whoever is always right is so in every resample.
    assert auroc_interval(failed, 1.0 - failed) == (1, 1)


@pytest.mark.parametrize(("failures", "passes", "bounded"), [(1, 40, 0), (40, 9, 0), (10, 10, 1)])
def test_few_images_on_either_side_have_no_interval(failures, passes, bounded):
    found = [2] * failures + [8] * passes
    judged = judge(rows(found, sure=[count / 8 for count in found]))
    assert judged.by["sure"].auroc == 1
    assert (judged.by["sure"].auroc_low is not None) == bounded
    assert ("an interval takes 10" in failure_grid(judged).title) != bounded
    assert ("1.000 to 1.000" in terminal_table(failure_grid(judged))) == bounded


def test_risk_is_what_is_lost_of_the_jaccard():
    jaccard = np.array([0.5, 1.0, 0.0])
    assert risks(np.array([0.2, 0.9, 0.1]), jaccard).tolist() == pytest.approx([0, 1 / 4, 1 / 2])
    # The last two are equally sure, and taken as if each had their mean.
    assert risks(np.array([0.1, 0.9, 0.1]), jaccard).tolist() == pytest.approx([0, 3 / 8, 1 / 2])


def test_numbers_are_judged():
    # Ten images of Jaccard 1, but for the last of 1/4 and the first of 1/2.
    found = [4, 8, 8, 8, 8, 8, 8, 8, 8, 2]
    sure = [0.5, *[0.9] * 8, 0.1]
    judged = judge(rows(found, sure=sure, vain=[0.5] * 10, lost=[1 - value for value in sure]))
    assert (judged.images, judged.failed) == (10, 2)
    assert judged.threshold_jaccard == pytest.approx(0.8)
    assert judged.aurc_of_chance == pytest.approx((0.5 + 0.75) / 10)
    assert [judged.by[name].auroc for name in ("sure", "vain", "lost")] == [1, 0.5, 0]
    # The least sure of ten is left out.
    assert [judged.by[name].threshold_jaccard for name in ("sure", "vain", "lost")] == pytest.approx(
        [8 / 9, 0.8, (8 - 1) / 9]
    )
    assert judged.by["sure"].aurc == pytest.approx(judged.aurc_at_best) == pytest.approx((0.5 / 9 + 1.25 / 10) / 10)


def test_there_may_be_nothing_to_judge():
    assert judge(rows([8, 8])) is None
    partly = [*rows([8], sure=[0.9]), *rows([8])]
    assert judge(partly) is None
    judged = judge(rows([8, 8], sure=[0.9, 0.8]))
    assert judged.by["sure"].auroc is None
    text = terminal_table(failure_grid(judged), width=80)
    assert "sure" in text
    # Its last column is named in few lines.
    assert len(text.split("─", 1)[0].splitlines()) <= 4


def test_a_report_says_it(table, tmp_path):
    table = [replace(row, numbers={"soft_dice": 0.5 + number / 40}) for number, row in enumerate(table)]
    table = with_expected(table, [row.scores["jaccard"] for row in table])
    write_report(tmp_path / "w", table, dict(config="c.py", checkpoint="m", checkpoint_sha256="0", dataset_sha256="1"))
    failures = json.loads((tmp_path / "w" / "report.json").read_text())["failures"]
    assert failures["by"]["expected_jaccard"]["auroc"] == 1
    assert failures == Report.read(tmp_path / "w").failures
    header = (tmp_path / "w" / "per_image.csv").read_text().splitlines()[0]
    assert header.endswith(",soft_dice,expected_jaccard")
    page = (tmp_path / "w" / "report.html").read_text()
    assert "When it fails" in page
    assert (tmp_path / "w" / "failures.png").stat().st_size > 1000
    # What is sure everywhere has no such picture, and leaves none of an earlier test.
    bare = [replace(row, numbers={}) for row in table]
    write_report(tmp_path / "w", bare, dict(config="c.py", checkpoint="m", checkpoint_sha256="0", dataset_sha256="1"))
    assert not (tmp_path / "w" / "failures.png").exists()
    assert "failures" not in json.loads((tmp_path / "w" / "report.json").read_text())
