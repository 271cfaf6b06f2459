"""Images that show the same lesion."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import draw_pair

from lesionseg.benchmarks.audit import make_copies
from lesionseg.data.phantoms.phantom import draw_phantom
from lesionseg.data.release.data_set_folder import find_seen, read_groups_of
from lesionseg.data.twins.candidates import bits_apart, cosines, near_embeddings, near_looks
from lesionseg.data.twins.find import Twins, find_groups
from lesionseg.data.twins.geometry import LEAST_INLIERS, find_features, find_similarity
from lesionseg.data.twins.listing import find_photographs
from lesionseg.errors import DataError


@pytest.fixture(scope="module")
def phantoms():
    return [draw_phantom(seed, 192, 256)[0] for seed in range(4)]


def test_copies_lie_in_each_other_and_others_do_not(phantoms):
    features = [find_features(image) for image in phantoms]
    copies = make_copies(phantoms[0], np.random.default_rng(0))
    for kind, copy in copies.items():
        moved = find_similarity(find_features(copy), features[0])
        assert moved is not None, kind
        assert moved.inliers > 2 * LEAST_INLIERS, kind
        assert moved.mirrored == kind.startswith("flipped"), kind
        assert moved.scale == pytest.approx(1, abs=0.02), kind
        degrees = {"turned by 10 degrees": 10, "flipped top to bottom": 180}.get(kind, 0)
        assert abs(moved.degrees) == pytest.approx(degrees, abs=1), kind
    pairs = [(one, other) for one in range(4) for other in range(one)]
    assert [find_similarity(features[one], features[other]) for one, other in pairs] == [None] * 6


def test_without_features_nothing_is_alike():
    plain = find_features(np.full((60, 80, 3), 128, np.uint8))
    assert len(plain.points) == 0
    assert find_similarity(plain, plain) is None
    tiny = find_features(np.zeros((1, 1, 3), np.uint8))
    assert find_similarity(tiny, plain) is None


def test_near_hashes_are_found_in_any_orientation():
    rng = np.random.default_rng(0)
    looks = rng.random((600, 8, 64)) < 0.5
    looks[3, 5] = looks[599, 0]
    for (one, orientation), other, bits in (((20, 2), 550, 10), ((7, 0), 8, 11)):
        looks[one, orientation] = looks[other, 0]
        looks[one, orientation, :bits] ^= True
    assert near_looks(looks).tolist() == [[3, 599], [20, 550]]
    assert bits_apart(looks, np.array([[3, 599], [7, 8]])).tolist() == [0, 11]


def test_near_embeddings_are_found_over_blocks():
    embeddings = np.eye(520, dtype=np.float32)
    embeddings[515] = embeddings[1] * 0.85 + embeddings[515] * (1 - 0.85**2) ** 0.5
    embeddings[516] = embeddings[1] * 0.83 + embeddings[516] * (1 - 0.83**2) ** 0.5
    assert near_embeddings(embeddings).tolist() == [[1, 515]]
    assert cosines(embeddings, np.array([[1, 516]])) == pytest.approx(0.83)


def twins(one, other):
    return Twins(one, other, "geometry", None, 0, None)


def test_chains_and_what_was_known_become_one_group():
    ids, known = ["d", "b", "c", "a", "e", "f"], ["", "", "", "p2", "p1", "p1"]
    assert find_groups(ids, known, "DDDDDD", [twins(0, 3), twins(3, 4)]) == ["p1", "", "", "p1", "p1", "p1"]
    assert find_groups(ids, known, "DDDDDD", []) == known
    assert find_groups(ids, [""] * 6, "DDDDDD", [twins(0, 1), twins(1, 2)]) == ["b", "b", "b", "", "", ""]


def test_what_two_data_sets_call_the_same_is_not_one_group():
    known = ["1", "1", "1", "1", ""]
    assert find_groups("abcde", known, "AABBB", []) == ["1", "1", "1 (2)", "1 (2)", ""]
    assert find_groups("abcde", known, "AABBB", [twins(1, 2)]) == ["1", "1", "1", "1", ""]


def test_no_group_is_called_like_another():
    ids, known = ["7", "8", "100", "101"], ["", "", "7", "7"]
    assert find_groups(ids, known, "DDDD", [twins(0, 1)]) == ["7 (2)", "7 (2)", "7", "7"]


def write(path, image=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), draw_pair(0)[0] if image is None else image)


def test_folders_tell_the_splits(tmp_path):
    for name in ("ISIC2018_Task1-2_Training_Input/a.jpg", "val/x/b.png", "more/c.jpg", "test/train/d.jpg", "e.jpg"):
        write(tmp_path / name)
    write(tmp_path / "val" / "b_segmentation.png")
    found = {photograph.id: photograph.split for photograph in find_photographs(tmp_path)}
    assert found == {"a": "training", "x/b": "validation", "more/c": "", "test/d": "training", "e": ""}


def ids(folder):
    return [photograph.id for photograph in find_photographs(folder)]


def test_ids_keep_what_stands_above_the_folder_of_the_split(tmp_path):
    for name in ("melanoma/train/001.png", "nevus/train/001.png", "nevus/test/x/002.png"):
        write(tmp_path / name)
    assert ids(tmp_path) == ["melanoma/001", "nevus/x/002", "nevus/001"]


def test_ids_are_whole_paths_where_folders_of_one_split_have_the_same(tmp_path):
    for name in ("melanoma_train/001.png", "nevus_train/001.png", "nevus_test/001.png", "nevus_test/002.png"):
        write(tmp_path / name)
    whole = ["melanoma_train/001", "nevus_test/001", "nevus_test/002", "nevus_train/001"]
    assert ids(tmp_path) == whole
    (tmp_path / "nevus_train/001.png").rename(tmp_path / "melanoma_train/001.jpg")
    assert ids(tmp_path) == ["001", "001", "001", "002"]


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("ISIC2018_Task1-2_Training_Input", "training"),
        ("TrainImages", "training"),
        ("trainimages", "training"),
        ("imagesTrain", "training"),
        ("2017TRAIN", "training"),
        ("train2017", "training"),
        ("ValidSet", "validation"),
        ("val_imgs", "validation"),
        ("X_test", "test"),
        ("testset", "test"),
        ("TrainVal", ""),
        ("train-test", ""),
        ("latest", ""),
        ("contest", ""),
        ("Trainer", ""),
    ],
)
def test_words_in_a_name_tell_the_split(tmp_path, monkeypatch, folder, split):
    write(tmp_path / "all" / folder / "a.jpg")
    write(tmp_path / "all" / "z" / "b.jpg")
    assert [each.split for each in find_photographs(tmp_path / "all")] == [split, ""]
    (own,) = find_photographs(tmp_path / "all" / folder)
    assert (own.id, own.split) == ("a", split)
    monkeypatch.chdir(tmp_path / "all" / folder)
    assert [each.split for each in find_photographs(Path())] == [split]


def test_the_name_of_a_data_set_tells_where_nothing_below_does(tmp_path):
    for name in ("test/images/a.jpg", "train/more/b.jpg", "train/c.jpg"):
        write(tmp_path / "test_data" / name)
    write(tmp_path / "test_data" / "d.jpg")
    splits = {each.id: each.split for each in find_photographs(tmp_path / "test_data")}
    assert splits == {"images/a": "test", "more/b": "training", "c": "training", "d": ""}
    assert [each.split for each in find_photographs(tmp_path / "test_data/test/images")] == ["test"]
    assert [each.split for each in find_photographs(tmp_path / "test_data/train/more")] == [""]


def test_a_data_set_folder_tells_splits_and_groups(tmp_path):
    for name in ("training/a.jpg", "test/1/b.jpg", "unlabelled/c.jpg"):
        write(tmp_path / "images" / name)
    write(tmp_path / "annotations" / "training" / "a.png")
    (tmp_path / "index.csv").write_text("id,split,group\na,training,p\n1/b,test,\n")
    found = [(each.id, each.split, each.group) for each in find_photographs(tmp_path)]
    assert found == [("a", "training", "p"), ("1/b", "test", ""), ("c", "unlabelled", "")]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ([], "empty, expected images such as <id>.jpg. Check the path."),
        (["a_mask.txt", "b_segmentation.png"], "only 2 masks or other files .* such as <id>.jpg. Check the path."),
        (["T.zip", "readme.txt"], r"only 2 masks .* such as <id>.jpg. Extract T.zip first, or audit the data set"),
    ],
)
def test_folders_without_images_are_told(tmp_path, files, told):
    for file in files:
        (tmp_path / file).touch()
    with pytest.raises(DataError, match=told):
        find_photographs(tmp_path)


def draw_splits(folder, **ids):
    for split, names in ids.items():
        for id in names:
            write(folder / "images" / split / f"{id}.png")


def write_groups(folder, rows):
    (folder / "audit").mkdir()
    (folder / "audit" / "groups.csv").write_text(f"id,group,split,dataset\n{rows}")


def test_what_has_its_like_in_training_is_found(tmp_path):
    assert find_seen(tmp_path) is None
    draw_splits(tmp_path, training=["a", "1/d"], validation=["e"], test=["b", "c", "1/d"])
    assert find_seen(tmp_path) is None
    (tmp_path / "index.csv").write_text(
        "id,split,finding,group\na,training,x,p\na,training,y,p\nb,test,x,p\nc,test,x,\n"
    )
    assert find_seen(tmp_path) == {"b"}
    assert read_groups_of(tmp_path) == {"a": "p", "b": "p"}
    # What an audit has left in the folder counts in its place, and the splits of now.
    write_groups(tmp_path, "a,g,test,\nc,g,test,\n1/d,d,training,\n1/d,d,test,\nb,e,,\ne,e,,\n")
    assert find_seen(tmp_path) == {"c", "1/d"}
    assert read_groups_of(tmp_path) == {"a": "g", "c": "g", "1/d": "d", "b": "e", "e": "e"}


def test_twins_in_training_are_those_that_were_trained_on(tmp_path):
    one, other = tmp_path / "A", tmp_path / "B"
    draw_splits(one, training=["a"], test=["b", "c"])
    draw_splits(other, training=["d"], test=["e"])
    write_groups(one, "a,g,training,A\nb,g,test,A\nc,h,test,A\nd,h,training,B\n")
    assert find_seen(one) == find_seen(one, one) == {"b"}
    assert find_seen(one, other) == {"c"}
    # What was trained on is not known where there is no training.
    assert find_seen(one, tmp_path) is None
