"""People who have drawn the same lesions, and a model beside them."""

import csv

import numpy as np
import pytest
from helpers import load_tool, write_mask

from lesionseg.evaluation import consensus
from lesionseg.evaluation.agreement import MODEL_PERSON, PEOPLE, Comparison, agreement_grid, verdict
from lesionseg.evaluation.agreement_page import agreement_csv, agreement_plot
from lesionseg.evaluation.consensus import majority, staple
from lesionseg.tables import terminal_table

main = load_tool("agreement").main


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Two images by three people and a model; the Jaccards of anna and bela are 1/2 and 1."""
    monkeypatch.chdir(tmp_path)
    for name, first, second in (
        ("anna", "1100", "0110"),
        ("bela", "1000", "0110"),
        ("cilla", "1110", "0110"),
        ("model", "1100", "0010"),
    ):
        write_mask(tmp_path / name / "a.png", first, "0000")
        write_mask(tmp_path / name / "b.png", second, "0000")
    return tmp_path


def rows(folder):
    with (folder / "agreement.csv").open() as file:
        return {(row["compared"], row["one"], row["other"]): float(row["jaccard"]) for row in csv.DictReader(file)}


def test_a_model_stands_beside_two_people(drawn, capsys):
    assert main(["anna", "bela", "--model", "model", "--out", "out"]) == 0
    found = rows(drawn / "out")
    assert found["two people", "anna", "bela"] == (1 / 2 + 1) / 2
    assert found["model and person", "model", "anna"] == (1 + 1 / 2) / 2
    assert found["model and person", "model", "bela"] == (1 / 2 + 1 / 2) / 2
    assert found["model and person", "mean", ""] == 5 / 8
    # What both have is what the majority of two is.
    assert found["model and all people, majority", "model", "majority"] == (1 / 2 + 1 / 2) / 2
    printed = capsys.readouterr().out
    assert "0.683" in printed
    assert "IMA++" in printed
    assert "on these 2 images" in printed
    assert printed.endswith(
        "compared 2 people and a model on 2 images; "
        "report.html, agreement.csv, per_image.csv, agreement.png are in out\n"
    )
    assert "no random sample" in (drawn / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (1, "a person by a mean Jaccard of 1.000, two people with each other by 0.500, +0.500 apart. Fewer than 10"),
        (9, "a person by a mean Jaccard of 1.000, two people with each other by 0.500, +0.500 apart. Fewer than 10"),
        (10, "better than two people with each other: mean Jaccard 1.000 and 0.500, +0.500 apart (+0.500 to +0.500)."),
    ],
)
def test_few_images_say_nothing_of_others(images, told):
    scores = dict(jaccard=np.full(images, 0.5), dice=np.full(images, 2 / 3))
    compared = [
        Comparison(PEOPLE, "anna", "bela", scores),
        Comparison(MODEL_PERSON, "model", "anna", {name: np.ones(images) for name in scores}),
    ]
    assert told in verdict(compared)
    bounded = images == 10
    assert ("0.500 to 0.500" in terminal_table(agreement_grid(compared))) == bounded
    [line, _] = csv.DictReader(agreement_csv(compared).splitlines())
    assert (line["jaccard"], line["jaccard_low"]) == ("0.5", "0.5" if bounded else "")
    assert agreement_plot(compared)
    assert ("Fewer than 10" in verdict(compared[:1])) != bounded


def test_each_of_three_is_left_out_once(drawn, monkeypatch, capsys):
    monkeypatch.setattr("lesionseg.evaluation.consensus.has_staple", lambda: False)
    assert main(["anna", "bela", "cilla", "--model", "model", "--out", "out"]) == 0
    assert "STAPLE is left out" in capsys.readouterr().err
    found = rows(drawn / "out")
    # Both others than anna have the first pixel of a: 1/2 of hers.
    assert found["person and the others, majority", "anna", "majority without anna"] == (1 / 2 + 1) / 2
    assert found["model and the others, majority", "model", "majority without bela"] == (1 + 1 / 2) / 2
    assert found["model and all people, majority", "model", "majority"] == (1 + 1 / 2) / 2
    assert found["two people", "mean", ""] == pytest.approx((1 / 2 + 2 / 3 + 1 / 3 + 3) / 6)


def test_people_can_be_compared_alone(drawn):
    assert main(["anna", "bela", "--out", "out"]) == 0
    assert {kind for kind, _, _ in rows(drawn / "out")} == {"two people"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["anna"], "anna: the only folder of a person's masks, expected two or more"),
        (["anna", "anna"], "anna: given twice"),
        (["anna", "none"], "none: no such folder"),
        (["anna", "bela", "--model", "short"], "short: 1 of 2 images have no mask"),
        (["anna", "small"], "small/a.png: 3x1 pixels, expected the 4x2 of anna/a.png"),
        (["anna", "bela", "--out", "anna/out"], "anna/out: results would lie in anna"),
    ],
)
def test_what_cannot_be_compared_is_told(arguments, said, drawn, capsys):
    write_mask(drawn / "short" / "a.png", "1100", "0000")
    write_mask(drawn / "small" / "a.png", "110")
    write_mask(drawn / "small" / "b.png", "1100", "0000")
    assert main(["--out", "out", *arguments]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {said}")
    assert not (drawn / "out").exists()
    assert not (drawn / "anna" / "out").exists()


def test_more_than_half_is_a_majority():
    masks = np.array([[[1, 1, 0, 0]], [[1, 0, 1, 0]], [[1, 1, 0, 0]]], bool)
    assert majority(masks).tolist() == [[True, True, False, False]]
    assert majority(masks[:2]).tolist() == [[True, False, False, False]]


def test_staple_trusts_whom_the_others_confirm():
    pytest.importorskip("SimpleITK")
    truth = np.zeros((20, 30), bool)
    truth[5:15, 8:20] = True
    blind = np.zeros_like(truth)
    blind[0, 0] = True
    assert np.array_equal(staple([truth, truth, blind]), truth)
    assert np.array_equal(staple([truth, truth]), truth)
    assert not staple([np.zeros_like(truth)] * 2).any()
    assert consensus.has_staple()
