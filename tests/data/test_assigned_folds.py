"""Folds: every image is held out once, whole groups at a time, the same on every machine."""

from collections import Counter

import pytest

from lesionseg.data.datasets.subset import Subset
from lesionseg.data.release.folds import assign_folds, folds_text, read_folds
from lesionseg.errors import DataError

IDS = [f"ISIC_{number:07}" for number in range(23)]
GROUPS = {id: f"patient {number // 3}" for number, id in enumerate(IDS[:12])}


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "folds.csv"
    path.write_text(folds_text(assign_folds(IDS, GROUPS, 5)))
    return path


def test_folds_are_equal_and_keep_groups_whole():
    folds = assign_folds(IDS, GROUPS, 5)
    assert sorted(Counter(folds.values()).values()) == [4, 4, 5, 5, 5]
    assert all(len({folds[id] for id in IDS if GROUPS.get(id) == group}) == 1 for group in GROUPS.values())
    assert list(folds) == IDS
    assert folds == assign_folds(IDS[::-1], GROUPS, 5) != assign_folds(IDS, GROUPS, 5, seed=1)


def test_folds_stay_the_same_in_later_versions():
    assert assign_folds(IDS[12:17], {}, 2) == dict(zip(IDS[12:17], [0, 0, 1, 0, 1], strict=True))


def test_more_folds_than_groups():
    with pytest.raises(DataError, match=r"--folds 3: 4 images in 2 groups leave folds empty, .* Give fewer folds"):
        assign_folds(IDS[2:6], GROUPS, 3)


def test_a_fold_and_the_others_are_all_images(table):
    assert read_folds(table, IDS) == assign_folds(IDS, GROUPS, 5)
    held_out, how = Subset(fold=f"{table}:2", held_out=True).choose(IDS, None)
    others, _ = Subset(fold=f"{table}:2").choose(IDS, None)
    assert sorted(held_out + others) == IDS
    assert {read_folds(table, IDS)[id] for id in held_out} == {2}
    assert how == f"{len(held_out)} of 23 images (fold={table}:2, those in it)"


@pytest.mark.parametrize(
    ("ids", "fold", "message"),
    [
        (IDS[1:], "2", r"1 ids are in it or among the 22 training images, but not in both \(ISIC_0000000\)"),
        (IDS, "5", r"fold=.*:5: no image is in that fold, expected a number from 0 to 4"),
    ],
)
def test_folds_of_other_images(table, ids, fold, message):
    with pytest.raises(DataError, match=message):
        Subset(fold=f"{table}:{fold}").choose(ids, None)


def test_what_is_no_fold(tmp_path):
    with pytest.raises(DataError, match=r"fold=folds.csv: not usable, expected .* such as folds\.csv:2"):
        Subset(fold="folds.csv")
    with pytest.raises(DataError, match="given beside train_list or train_fraction"):
        Subset(0.5, fold="folds.csv:2")
    (tmp_path / "folds.csv").write_text("id,fold\na,0\nb,first\n")
    with pytest.raises(DataError, match="no number of a fold for b, expected id and fold"):
        read_folds(tmp_path / "folds.csv", ["a", "b"])
    (tmp_path / "folds.csv").write_text("id,fold\na,0\na.jpg,1\n")
    with pytest.raises(DataError, match="a is in two folds"):
        read_folds(tmp_path / "folds.csv", ["a", "b"])
