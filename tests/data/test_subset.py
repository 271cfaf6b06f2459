"""Trainings on a share of the images, or on those of a list."""

import shutil
from itertools import pairwise

import pytest

from lesionseg.data.datasets.instances import LesionCocoDataset
from lesionseg.data.datasets.multi_label import MultiLabelDataset
from lesionseg.data.datasets.semantic import ISICDataset
from lesionseg.data.datasets.subset import Subset
from lesionseg.errors import DataError

IDS = [f"ISIC_{number:07}" for number in range(200)]
PREFIX = dict(img_path="images/training", seg_map_path="annotations/training")


def chosen(fraction, ids=IDS, root=None, **settings):
    return Subset(fraction, **settings).choose(ids, root)[0]


def semantic(root, **settings):
    return ISICDataset(data_root=str(root), data_prefix=PREFIX, serialize_data=False, **settings)


def instances(root, **settings):
    prefix = dict(img="images/training", seg="annotations/training")
    ann_file = "annotations/instances_training.json"
    return LesionCocoDataset(data_root=str(root), ann_file=ann_file, data_prefix=prefix, **settings)


def ids_of(dataset):
    return [dataset.get_data_info(index)["image_id"] for index in range(len(dataset))]


@pytest.fixture
def folder(coco_folder, tmp_path):
    """Six images of three patients, two each."""
    root = shutil.copytree(coco_folder, tmp_path / "ISIC")
    rows = "".join(f"{id},patient {number // 2}\n" for number, id in enumerate(IDS[:6]))
    (root / "index.csv").write_text(f"id,group\n{rows}")
    return root


def test_a_share_is_nested_and_the_same_in_any_order():
    shares = [chosen(fraction) for fraction in (0.01, 0.1, 0.25, 0.5, 1)]
    assert list(map(len, shares)) == [2, 20, 50, 100, 200]
    assert all(set(less) < set(more) for less, more in pairwise(shares))
    assert sorted(chosen(0.1, IDS[::-1])) == shares[1]
    assert len({*chosen(0.1, seed=1)} & {*shares[1]}) < 10


def test_a_share_stays_the_same_in_later_versions():
    assert chosen(0.02) == ["ISIC_0000035", "ISIC_0000091", "ISIC_0000143", "ISIC_0000193"]


@pytest.mark.parametrize(("ids", "fraction", "count"), [(7, 0.001, 1), (10, 0.35, 3), (10, 0.36, 4), (3, 0.9, 3)])
def test_the_nearest_number_is_taken_and_one_at_least(ids, fraction, count):
    assert len(chosen(fraction, IDS[:ids])) == count


def test_groups_of_the_index_stay_together(folder):
    for build in (semantic, instances):
        shares = [ids_of(build(folder, subset=dict(fraction=fraction))) for fraction in (0.1, 0.4, 0.7)]
        assert list(map(len, shares)) == [2, 2, 4]
        patients = [{int(id[-1]) // 2 for id in share} for share in shares]
        assert list(map(len, patients)) == [1, 1, 2]
        assert patients[0] == patients[1] < patients[2]
    taken = semantic(folder, subset=dict(fraction=0.4, seed=3)).taken
    assert taken == "2 of 6 images (train_fraction=0.4, train_fraction_seed=3, groups kept whole)"


def test_all_families_take_the_same_images(coco_folder):
    for seed in range(3):
        subset = dict(fraction=0.5, seed=seed)
        assert ids_of(semantic(coco_folder, subset=subset)) == ids_of(instances(coco_folder, subset=subset))
    assert instances(coco_folder, subset=subset).summary.startswith("3 images with 3 instances")


def test_a_list_chooses_images_of_every_family(folder):
    listed = folder / "some.txt"
    listed.write_text("ISIC_0000004\n\nISIC_0000001.jpg\nISIC_0000004\n")
    # The others need no mask.
    (folder / "annotations/training/ISIC_0000002.png").unlink()
    for build in (semantic, instances):
        dataset = build(folder, subset=dict(list_file=str(listed)))
        assert ids_of(dataset) == ["ISIC_0000001", "ISIC_0000004"]
        assert dataset.taken == f"2 of 6 images (train_list={listed})"
    listed.write_text("ISIC_0000004\nISIC_0000099\n")
    with pytest.raises(DataError, match=r"some.txt: 1 of 2 ids are of no training image \(ISIC_0000099\)"):
        semantic(folder, subset=dict(list_file=str(listed)))


def test_ids_that_end_like_pictures_are_listed_as_they_are(tmp_path):
    ids = ["a.jpeg", "a", "b.png", "c"]
    listed = tmp_path / "listed.txt"
    listed.write_text("a.jpeg\nb.png\nc.jpg\n")
    assert Subset(list_file=str(listed)).choose(ids, None)[0] == ["a.jpeg", "b.png", "c"]


def test_a_finding_that_no_image_of_the_share_has(folder):
    masks = folder / "annotations/training"
    for finding, ids in (("acne", IDS[:6]), ("hemo", IDS[5:6])):
        (masks / finding).mkdir()
        for id in ids:
            shutil.copy(masks / f"{id}.png", masks / finding)
    settings = dict(data_root=str(folder), data_prefix=PREFIX)
    assert len(MultiLabelDataset(["acne", "hemo"], subset=dict(fraction=0.9), **settings)) == 6
    (folder / "five.txt").write_text("".join(f"{id}\n" for id in IDS[:5]))
    with pytest.raises(DataError, match=r"none of the 5 images has a mask of hemo, .*train on more of the images, or"):
        MultiLabelDataset(["acne", "hemo"], subset=dict(list_file=str(folder / "five.txt")), **settings)


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1, "10%", True, None, float("nan")])
def test_what_is_no_share(fraction):
    with pytest.raises(DataError, match=r"train_fraction=.*: not usable, expected a share .*, such as 0\.1"):
        Subset(fraction)


def test_what_does_not_go_together():
    with pytest.raises(DataError, match=r"train_list=a.txt: given beside train_fraction=0.5"):
        Subset(0.5, list_file="a.txt")
    with pytest.raises(DataError, match=r"train_fraction_seed=3: nothing is drawn with it"):
        Subset(seed=3)
