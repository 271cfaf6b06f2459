import csv
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from finished_tests import COCO, FIRST, SECOND, result

from lesionseg.evaluation.compare import (
    COMPARED,
    RESAMPLES,
    Difference,
    FinishedTest,
    bootstrap_means,
    compare,
    read_tests,
    short_names,
    stratified_mean,
)
from lesionseg.evaluation.compare_tables import (
    comparison_csv,
    comparison_markdown,
    comparison_text,
    write_comparison,
)
from lesionseg.evaluation.report import provenance, write_report
from lesionseg.evaluation.report_file import Report
from lesionseg.evaluation.scores import PER_IMAGE, POOLED


def finished(label: str, jaccards: np.ndarray) -> FinishedTest:
    """A test with these Jaccards, (images,) float64, and zeros for every other score."""
    scores = np.zeros((len(jaccards), len(PER_IMAGE)))
    scores[:, PER_IMAGE.index("jaccard")] = jaccards
    ids = tuple(f"{number:05}" for number in range(len(jaccards)))
    facts = dict(config="m.py", checkpoint="m.pth", checkpoint_sha256="0", dataset_sha256="1")
    size = np.full(len(jaccards), 20)
    everything = [np.arange(len(jaccards))]
    return FinishedTest(label, label, Report(len(ids), {}, {}, facts), ids, scores, size, size, everything)


def thrice(table):
    """As many images as an interval takes, with the means of these few."""
    return [replace(row, id=f"{row.id}{number}") for row in table for number in range(3)]


@pytest.mark.parametrize(("images", "bounded"), [(1, 0), (9, 0), (10, 1)])
def test_few_images_have_no_interval(images, bounded, finish):
    tables = [[result(str(number), found) for number in range(images)] for found in (4, 6)]
    rows = compare(read_tests([finish("first", tables[0]), finish("second", tables[1])]))
    change = rows[1].differences["jaccard"]
    assert (change.mean, change.better) == (0.25, images)
    assert (change.low, change.high, rows[0].means["jaccard"].low) == ((0.25, 0.25, 0.5) if bounded else (None,) * 3)
    assert ("+0.2500 to +0.2500" in comparison_markdown(rows)) == bounded
    line = list(csv.DictReader(comparison_csv(rows).splitlines()))[1]
    assert (line["jaccard_difference_low"] == "0.25") == bounded


def test_each_finding_has_to_have_enough_for_an_interval():
    test = finished("a", np.linspace(0, 1, 30))
    for rare, bounded in ((9, False), (10, True)):
        strata = [np.arange(rare), np.arange(rare, 30)]
        (row,) = compare([replace(test, strata=strata)])
        assert (row.means["jaccard"].low is not None) == bounded


def test_each_finding_counts_alike_however_many_images_have_it():
    strata = [np.array([0]), np.array([1, 2, 3])]
    assert stratified_mean(np.array([1.0, 0.0, 0.0, 1.0]), strata) == (1 + 1 / 3) / 2


def test_differences_are_these_fractions(finish):
    reference, other = compare(read_tests([finish("first"), finish("second", SECOND)]))
    assert reference.differences == {}
    assert reference.means["jaccard"].mean == 5 / 8
    assert other.means["jaccard"].mean == 11 / 16
    assert {name: vars(change)["mean"] for name, change in other.differences.items()} == pytest.approx(
        dict(jaccard=1 / 16, dice=1 / 15, threshold_jaccard=0), rel=1e-14, abs=1e-16
    )
    counts = {name: (change.better, change.worse, change.equal) for name, change in other.differences.items()}
    assert counts == dict(jaccard=(2, 1, 1), dice=(2, 1, 1), threshold_jaccard=(1, 1, 2))


def test_images_are_paired_by_their_ids_not_by_their_order(finish):
    rows = compare(read_tests([finish("first"), finish("second", SECOND)]))
    shuffled = compare(read_tests([finish("first"), finish("second", SECOND[::-1])]))
    assert rows[1].differences == shuffled[1].differences


def test_a_test_equals_its_own_copy(finish):
    _, copy = compare(read_tests([finish("first", thrice(FIRST)), finish("copy", thrice(FIRST))]))
    assert set(copy.differences.values()) == {Difference(0.0, 0.0, 0.0, 0, 0, 12)}


def test_one_test_alone_has_no_differences(finish):
    (row,) = compare(read_tests([finish("first")]))
    assert row.differences == {}
    assert "jaccard_difference_mean" not in comparison_csv([row])


def test_resampling_two_images_gives_their_binomial_distribution():
    means = bootstrap_means(np.array([0.0, 1.0]))
    values, times = np.unique(means, return_counts=True)
    assert values.tolist() == [0, 1 / 2, 1]
    assert times / RESAMPLES == pytest.approx([1 / 4, 1 / 2, 1 / 4], abs=0.02)


def test_interval_of_normal_values_is_that_of_the_standard_error():
    values = np.random.default_rng(1).normal(0.7, 0.1, 400)
    (row,) = compare([finished("m", values)])
    error = values.std() / np.sqrt(400)
    mean = row.means["jaccard"]
    assert mean.mean == pytest.approx(values.mean())
    assert mean.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert mean.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_interval_of_a_constant_difference_has_no_width():
    values = np.random.default_rng(2).uniform(0, 0.7, 121)
    _, row = compare([finished("a", values), finished("b", values + 1 / 4)])
    change = row.differences["jaccard"]
    assert (change.mean, change.low, change.high) == pytest.approx((1 / 4, 1 / 4, 1 / 4), abs=1e-14)
    assert row.means["jaccard"].high - row.means["jaccard"].low > 0.05
    assert (change.better, change.worse, change.equal) == (121, 0, 0)


def test_interval_of_the_difference_is_that_of_paired_values():
    random = np.random.default_rng(3)
    values, changes = random.uniform(0, 0.9, 121), random.normal(0.01, 0.02, 121)
    _, row = compare([finished("a", values), finished("b", values + changes)])
    error = changes.std() / np.sqrt(121)
    change = row.differences["jaccard"]
    assert change.low == pytest.approx(changes.mean() - 1.96 * error, abs=0.15 * error)
    assert change.high == pytest.approx(changes.mean() + 1.96 * error, abs=0.15 * error)


def test_files_are_the_same_bytes_again(finish, tmp_path):
    work_dirs = [finish("first"), finish("second", SECOND)]
    for folder in ("one", "two"):
        write_comparison(tmp_path / folder, compare(read_tests(work_dirs)))
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["comparison.csv", "comparison.md", "comparison.png", "report.html"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_csv_has_the_reports_own_floats_and_every_figure(finish):
    work_dirs = [finish("first", thrice(FIRST)), finish("second", thrice(SECOND), coco=COCO)]
    rows = compare(read_tests(work_dirs))
    lines = list(csv.DictReader(comparison_csv(rows).splitlines()))
    assert [line["test"] for line in lines] == ["first", "second"]
    assert [line["work_dir"] for line in lines] == list(map(str, work_dirs))
    report = json.loads((work_dirs[1] / "report.json").read_text())
    for name in PER_IMAGE:
        assert float(lines[1][name]) == report["per_image"][name]
    for name in POOLED:
        assert float(lines[1][f"pooled_{name}"]) == report["pooled"][name]
    for name in COMPARED:
        change = rows[1].differences[name]
        assert float(lines[1][f"{name}_difference_low"]) == pytest.approx(change.low, abs=1e-6)
        assert lines[1][f"{name}_difference_better"] == str(change.better)
        assert lines[0][f"{name}_difference_mean"] == ""
    assert {name: float(lines[1][name]) for name in COCO} == COCO
    assert lines[0]["segm_mAP_50"] == ""


def test_a_pooled_score_that_does_not_exist_is_empty(finish):
    table = [result("a", 0, lesion=0)]
    (line,) = csv.DictReader(comparison_csv(compare(read_tests([finish("empty", table)]))).splitlines())
    assert line["pooled_IoU.lesion"] == ""


def test_coco_scores_stand_in_the_table_where_a_test_has_them(finish):
    rows = compare(read_tests([finish("first"), finish("second", SECOND)]))
    assert "mAP" not in comparison_markdown(rows) + comparison_text(rows, 200)
    rows = compare(read_tests([finish("first"), finish("second", SECOND, coco=COCO)]))
    header, _, first, second = comparison_markdown(rows).splitlines()[2:6]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (header, first, second)]
    by_name = [dict(zip(cells[0], line, strict=True)) for line in cells[1:]]
    assert (by_name[0]["segm mAP 50"], by_name[1]["segm mAP 50"]) == ("-", "0.9330")
    assert "segm mAP s" not in by_name[0]  # the CSV has it
    assert "0.9330" in comparison_text(rows, 80)


def test_markdown_tables_are_whole(finish):
    rows = compare(read_tests([finish("fi|rst"), finish("second", SECOND)]))
    text = comparison_markdown(rows)
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert [len(table.splitlines()) for table in tables] == [4, 4, 4, 4]
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert "fi\\|rst" in text
    assert "| second | 0.6875 |" in tables[0]
    assert "+0.0625" in tables[1]
    assert "+0.0667" in tables[2]
    assert "![Jaccard of the images in every test](comparison.png)" in text


@pytest.mark.parametrize("width", [20, 110, 300])
def test_terminal_never_cuts_a_number_or_a_name(finish, width):
    name = "mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160[bold]"
    tests = [finish("first", thrice(FIRST)), finish(name, thrice(SECOND), ["Averaged over flipped copies."], COCO)]
    rows = compare(read_tests(tests))
    text = comparison_text(rows, width)
    for number in ("0.6875", "0.7000", "0.6200", "0.9330", "+0.0625", "+0.0667"):
        assert number in text
    for change in rows[1].differences.values():
        assert f"{change.low:+.4f} to {change.high:+.4f}" in text
    folded = "".join(line[:50].split()[0] if line[:50].split() else "" for line in text.splitlines())
    assert name in (folded if width < 300 else text)


def test_terminal_text_is_plain_where_colours_are_forced(finish, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in comparison_text(compare(read_tests([finish("first"), finish("second", SECOND)])), 120)


def test_terminal_text_fits_where_it_can(finish):
    rows = compare(read_tests([finish("first"), finish("m" * 80, SECOND, ["Averaged over flipped copies."])]))
    assert max(map(len, comparison_text(rows, 120).splitlines())) <= 120


def test_remarks_tell_what_may_differ(finish):
    first = finish("first", notes=["A note."], operators="lesionseg.ops")
    second = finish("second", SECOND, ["Averaged over flipped copies."], operators="lesionseg.ops")
    third = finish(
        *("third", FIRST, ["Union of detections.", "Another."]),
        **dict(config="configs/n.py", checkpoint="runs/n.pth", checkpoint_sha256="2" * 64, operators="mmcv._ext"),
    )
    rows = compare(read_tests([first, second, third]))
    assert [row.remarks for row in rows] == [
        "A note",
        "Averaged over flipped copies",
        "other config n; other checkpoint n.pth; computed by mmcv._ext; Union of detections; Another",
    ]
    assert "Averaged over flipped copies |" in comparison_markdown(rows)
    assert "Averaged over flipped copies" in comparison_text(rows, 200)
    assert "Averaged over flipped copies" in comparison_csv(rows)


def test_optimistic_scores_are_labelled_wherever_they_stand(finish, monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr("lesionseg.evaluation.compare_tables.jaccard_boxes", lambda tests: drawn.extend(tests) or b"")
    rows = compare(read_tests([finish("first"), finish("second", SECOND, optimistic=True)]))
    write_comparison(tmp_path / "out", rows)
    assert drawn == ["first", "second (optimistic)"]
    for table in comparison_markdown(rows).split("\n\n")[1:8:2]:
        assert "| second (optimistic) |" in table
    assert comparison_text(rows, 200).count("second (optimistic)") == 1 + len(COMPARED)
    assert "second (optimistic)," in comparison_csv(rows)


def test_a_note_or_a_flag_that_denies_it_labels_nothing_optimistic(finish):
    tests = read_tests([finish("first", notes=["Not optimistic."]), finish("second", optimistic=False)])
    assert [test.label for test in tests] == ["first", "second"]


def test_one_config_with_other_settings_is_remarked(finish):
    first = finish("first", config_sha256="3" * 64)
    changed = finish("changed", config_sha256="4" * 64)
    other = finish("other", config="configs/n.py", config_sha256="4" * 64)
    rows = compare(read_tests([first, finish("same", config_sha256="3" * 64), changed, other]))
    assert [row.remarks for row in rows] == ["", "", "other settings", "other config n"]


def test_coco_scores_of_an_unknown_file_are_remarked(finish):
    known = finish("known", coco=COCO, annotations_sha256="3" * 64)
    older = finish("older", coco=COCO)
    semantic = finish("semantic", annotations_sha256=None)
    rows = compare(read_tests([known, older, semantic]))
    assert [row.remarks for row in rows] == ["", "COCO scores of unknown true instances", ""]


def test_a_coco_score_that_does_not_exist_is_a_dash(finish):
    rows = compare(read_tests([finish("first", coco=dict(bbox_mAP=0.5, segm_mAP=None), annotations_sha256="3" * 64)]))
    assert "| 0.5000 | - |  |" in comparison_markdown(rows)


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["runs/a", "runs/b/"], ["a", "b"]),
        (["one/a", "two/a", "c"], ["one/a", "two/a", "c"]),
        (["x/one/a", "y/one/a", "y/two/a"], ["x/one/a", "y/one/a", "two/a"]),
        (["/a", "/a/a"], ["/a", "a/a"]),
        (["."], [os.path.basename(os.getcwd())]),
    ],
)
def test_names_are_as_short_as_they_can_be(folders, names):
    assert short_names(folders) == names


def test_a_real_report_can_be_compared(table, tmp_path):
    checkpoint = tmp_path / "best.pth"
    checkpoint.write_bytes(b"weights")
    for name in ("first", "second"):
        write_report(tmp_path / name, table, provenance("a.py", "", checkpoint, "lesionseg.ops", table))
    row = compare(read_tests([tmp_path / "first", tmp_path / "second"]))[1]
    assert row.remarks == ""
    assert row.differences["jaccard"].equal == len(table) == 20
