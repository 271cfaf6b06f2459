"""Data set folders as Hugging Face data sets, and back."""

import io
import json
import sys

import cv2
import numpy as np
import pytest
from drawn_masks import draw_folder, drawn_masks, write_pair
from drawn_release import failure, index
from helpers import draw_pair, load_tool

from lesionseg.pixels.labels import encode_labels

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

HEIGHT, WIDTH = 30, 43
LEFT, RIGHT = np.zeros((2, HEIGHT, WIDTH), np.uint8)
LEFT[:, :9] = RIGHT[5:25, 20:] = 1
EMPTY = np.zeros_like(LEFT)


@pytest.fixture(scope="module")
def datasets():
    from lesionseg.data.release.layouts.hugging_face import import_datasets

    return import_datasets()


@pytest.fixture
def hf(tmp_path):
    return tmp_path / "made" / "hf"


@pytest.fixture
def to_hf(run):
    return lambda folder, out, *more: run(folder, "--to-hf", out, *more)


@pytest.fixture
def from_hf(run):
    return lambda folder, out, *more: run("--from-hf", folder, out, *more)


def load(datasets, folder, tmp_path):
    return datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))


def masks(folder):
    return {
        str(path.relative_to(folder)): cv2.imread(str(path), cv2.IMREAD_UNCHANGED).tolist()
        for path in folder.glob("annotations/**/*.png")
    }


def images(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("images/**/*.*")}


def write_findings(folder, **findings):
    """Two images with the masks of some findings."""
    for id in ("a", "b/c"):
        write_pair(folder, "training", id, LEFT)
        (folder / "annotations/training" / f"{id}.png").unlink()
        for finding, (id_of, mask) in findings.items():
            if id in id_of:
                path = folder / "annotations/training" / finding / f"{id}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), mask * 255)
    return folder


def save(datasets, folder, rows, split="train", id2label=None):
    """Write rows as `datasets` and others do."""
    pictures = {name for name in rows[0] if isinstance(rows[0][name], dict)}
    features = datasets.Features(
        {name: datasets.Image() if name in pictures else datasets.Value("string") for name in rows[0]}
    )
    table = pyarrow.Table.from_pylist(rows, schema=features.arrow_schema)
    folder.mkdir()
    pyarrow.parquet.write_table(table, folder / f"{split}.parquet")
    (folder / "id2label.json").write_text(json.dumps(id2label or {"0": "background", "1": "lesion"}))
    return folder


def row(**changed):
    image = cv2.imencode(".jpg", draw_pair(0, HEIGHT, WIDTH)[0])[1].tobytes()
    return {"image": picture(image, "a.jpg"), "label": picture(encode_labels(LEFT)), **changed}


def picture(data, path=None):
    return {"bytes": data, "path": path}


def test_a_data_set_comes_back_as_it_was(tmp_path, hf, to_hf, from_hf, datasets):
    folder, again = draw_folder(tmp_path), tmp_path / "again"
    code, printed, _ = to_hf(folder, hf)
    assert (code, printed) == (0, f"Made {hf}: {len(drawn_masks())} training, 1 validation\n")
    assert json.loads((hf / "id2label.json").read_text()) == {"0": "background", "1": "lesion"}
    loaded = load(datasets, hf, tmp_path)
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 8, "validation": 1}
    first = loaded["train"][0]
    assert (list(first), first["id"], first["image"].size) == (["id", "image", "label"], "a/border", (WIDTH, HEIGHT))
    assert np.array_equal(np.array(first["label"]), drawn_masks()["border"])
    assert from_hf(hf, again)[0] == 0
    assert images(again) == images(folder)
    assert masks(again) == masks(folder)
    assert list(index(again)) == [*(f"a/{name}" for name in sorted(drawn_masks())), "ISIC_0000001"]


def test_the_same_folder_gives_the_same_bytes_and_splits_are_seeded(tmp_path, hf, to_hf):
    folder = draw_folder(tmp_path)
    other = hf.with_name("other")
    for out in (hf, other):
        assert to_hf(folder, out, "--splits", "training", "--split", "0.5,0.25,0.25", "--seed", "7")[0] == 0
    files = sorted(path.relative_to(hf) for path in hf.rglob("*.*"))
    assert [path.name.partition("-")[0] for path in files[:-1]] == ["test", "train", "validation"]
    assert all((hf / file).read_bytes() == (other / file).read_bytes() for file in files)


def test_findings_that_are_all_labelled_and_do_not_overlap_are_one_label(tmp_path, hf, to_hf, from_hf, datasets):
    both = ("a", "b/c")
    folder = write_findings(tmp_path / "data", acne=(both, LEFT), hemo=(both, RIGHT), mela=(both, EMPTY))
    assert to_hf(folder, hf)[0] == 0
    assert json.loads((hf / "id2label.json").read_text()) == {"0": "background", "1": "acne", "2": "hemo", "3": "mela"}
    (loaded, _) = load(datasets, hf, tmp_path)["train"]
    assert np.array_equal(np.array(loaded["label"]), LEFT + 2 * RIGHT)
    assert from_hf(hf, tmp_path / "again")[0] == 0
    assert masks(tmp_path / "again") == masks(folder)
    assert len(masks(folder)) == 6


@pytest.mark.parametrize(
    "findings",
    [
        dict(acne=(("a", "b/c"), LEFT), hemo=(("a", "b/c"), LEFT | RIGHT)),
        dict(acne=(("a",), LEFT), hemo=(("b/c",), RIGHT)),
    ],
    ids=["overlapping", "not all labelled"],
)
def test_other_findings_have_a_column_each(tmp_path, hf, to_hf, from_hf, datasets, findings):
    folder = write_findings(tmp_path / "data", **findings)
    assert to_hf(folder, hf)[0] == 0
    first, second = load(datasets, hf, tmp_path)["train"]
    assert list(first) == ["id", "image", "label_acne", "label_hemo"]
    assert np.array_equal(np.array(second["label_hemo"]), 2 * findings["hemo"][1])
    assert (first["label_hemo"] is None) == (findings["hemo"][0] == ("b/c",))
    assert from_hf(hf, tmp_path / "again")[0] == 0
    assert masks(tmp_path / "again") == masks(folder)


def test_what_others_have_saved(tmp_path, out, from_hf, datasets):
    palette = io.BytesIO()
    from PIL import Image

    indexed = Image.fromarray(LEFT + 2 * RIGHT, "L").convert("P")
    indexed.putpalette([10, 20, 30, 200, 0, 0, 0, 200, 0])
    indexed.save(palette, "png")
    id2label = {"0": "skin", "1": "acne", "2": "hemo"}
    parquet = save(datasets, tmp_path / "hf", [row(label=picture(palette.getvalue()))], "valid", id2label)
    assert from_hf(parquet, out)[0] == 0
    assert masks(out) == {
        "annotations/validation/acne/a.png": (LEFT * np.uint8(255)).tolist(),
        "annotations/validation/hemo/a.png": (RIGHT * np.uint8(255)).tolist(),
    }
    rows = load(datasets, parquet, tmp_path)["validation"]
    for split, code in (("test", 0), ("odd", 1)):
        folder = tmp_path / split
        datasets.DatasetDict({split: rows}).save_to_disk(str(folder))
        (folder / "id2label.json").write_text(json.dumps(id2label))
        assert from_hf(folder, tmp_path / "out" / split)[0] == code
        assert (tmp_path / "out" / split).exists() == (code == 0)


def test_rows_without_names_go_by_their_numbers_and_files_by_their_content(tmp_path, out, from_hf, datasets):
    png = cv2.imencode(".png", draw_pair(0, HEIGHT, WIDTH)[0])[1].tobytes()
    folder = save(datasets, tmp_path / "hf", [row(image=picture(png)), row(image=picture(png, "b.jpg"))])
    assert from_hf(folder, out)[0] == 0
    assert sorted(images(out)) == ["images/training/b.png", "images/training/training_000000.png"]


def test_groups_come_back_and_stay_together(tmp_path, run, hf, to_hf, from_hf):
    pairs, folder, again = tmp_path / "pairs", tmp_path / "data", tmp_path / "again"
    for number in range(6):
        for kind, picture in zip(("images", "masks"), draw_pair(number, HEIGHT, WIDTH), strict=True):
            (pairs / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(pairs / kind / f"{number}.png"), picture)
    groups = {"0": "p1", "1": "-2", "2": "p1", "3": "", "4": "p1", "5": "-2"}
    table = tmp_path / "groups.csv"
    table.write_text("image_id,patient_id\n" + "".join(f"{id},{group}\n" for id, group in groups.items()))
    assert run(pairs, folder, "--layout", "pairs", "--group-csv", table)[0] == 0
    (folder / "images/unlabelled").mkdir()
    (folder / "images/unlabelled/x.jpg").touch()
    assert to_hf(folder, hf)[2] == f"note: {folder}/images/unlabelled: left out 1 files, which have no mask\n"
    assert from_hf(hf, again)[0] == 0
    assert {id: row["group"] for id, row in index(again).items()} == groups
    assert to_hf(folder, hf, "--split", "0.5,0.5", "--overwrite")[0] == 0
    assert from_hf(hf, again, "--overwrite")[0] == 0
    assert len({index(again)[id]["split"] for id in ("0", "2", "4")}) == 1
    assert len({index(again)[id]["split"] for id in ("1", "5")}) == 1


def test_patients_of_others_are_groups(tmp_path, out, from_hf, datasets):
    ids = {"a": "p", "b": "p", "c": None}
    rows = [row(id=id, patient_id=patient, lesion_id=id) for id, patient in ids.items()]
    assert from_hf(save(datasets, tmp_path / "hf", rows), out)[0] == 0
    assert {id: line["group"] for id, line in index(out).items()} == {"a": "p", "b": "p", "c": ""}


@pytest.mark.parametrize(
    ("rows", "id2label", "fault"),
    [
        (
            [row(label=picture(encode_labels(2 * LEFT)))],
            None,
            "1 of 2 files: a label of the values 0 and 2 (train",
        ),
        ([row(label=picture(b"none"))], None, "not a readable picture (training/a (label)), expected"),
        ([row(label=picture(encode_labels(LEFT.T)))], None, "width and height are the other way round"),
        ([row(label=picture(None, "/etc/hostname"))], None, "a picture outside the data set (/etc/hostname)"),
        ([row(id="../../a")], None, "1 of 1 ids of train are no names of files (../../a), expected"),
        ([row(), {**row(id="b"), "image": None}], None, "1 of 2 masks have no image (b), expected one in its row"),
        ([row(), row(), dict(image=None, label=None)], None, "left out 1 rows of train without image and label"),
        ([row(), row()], None, "1 of 1 ids occur more than once (a as training/a.jpg and training/a.jpg)"),
        ([row(), row(image=picture(None, "/etc/hostname"))], None, "row 1 of training: a picture outside the data set"),
        ([row(), {**row(id="b"), "label": None}], None, "1 of 2 images have no mask (b), expected one in its row"),
        (
            [{"image": row()["image"], "mask": row()["label"]}],
            None,
            "the columns image (Image), mask (Image), expec",
        ),
        ([row(label="a.png")], None, "the columns image (Image), label (Value), expected pictures in image and label"),
        ([row()], {"0": "background", "1": "../x"}, "the classes ../x, expected different names of folders"),
        ([row()], {"0": "background"}, "the classes none, expected"),
        ([row()], {"a": "background"}, "id2label.json: not a table of class names, expected"),
    ],
)
def test_rows_that_cannot_be_used_are_told_and_nothing_is_written(
    tmp_path, out, from_hf, datasets, rows, id2label, fault
):
    rows = [{**dict.fromkeys(rows[-1]), **each} for each in rows]
    folder = save(datasets, tmp_path / "hf", rows, id2label=id2label)
    lines = failure(from_hf, out, folder, out)
    assert any(fault in line for line in lines), lines


def test_folders_that_are_none(tmp_path, out, from_hf, to_hf, hf, datasets):
    (line,) = failure(from_hf, out, tmp_path / "none", out)
    assert "none: no such file or folder, expected a Hugging Face data set" in line
    (tmp_path / "x").mkdir()
    (line,) = failure(from_hf, out, tmp_path / "x", out)
    assert "id2label.json: no such file" in line
    (tmp_path / "x" / "id2label.json").write_text('{"0": "background", "1": "lesion"}')
    (line,) = failure(from_hf, out, tmp_path / "x", out)
    assert "x: the columns 0 (Value), 1 (Value), expected pictures in image and label. Rename" in line
    (tmp_path / "x" / "train.parquet").write_bytes(b"PAR1 cut off")
    (line,) = failure(from_hf, out, tmp_path / "x", out)
    assert "x: not readable as a Hugging Face data set (" in line
    (line,) = failure(to_hf, hf, tmp_path / "x", hf)
    assert "no pictures in images/{training,validation,test}, expected a data set folder" in line


def test_faults_of_a_data_set_folder_are_told_before_anything_is_written(tmp_path, hf, to_hf):
    folder = draw_folder(tmp_path)
    (folder / "annotations/training/a/hole.png").write_bytes(encode_labels(np.ones((3, 4), np.uint8) * 255))
    (folder / "images/training/a/two.jpg").write_bytes(b"\xff\xd8 cut off")
    (folder / "annotations/training/a/pixel.png").unlink()
    lines = failure(to_hf, hf, folder, hf)
    for fact in (
        "1 of 8 images have no mask (a/pixel)",
        "has another size than its image",
        "breaks off before its end",
    ):
        assert any(fact in line for line in lines)


def test_masks_with_and_without_a_finding_do_not_go_together(tmp_path, hf, to_hf):
    folder = write_findings(tmp_path / "data", acne=(("a", "b/c"), LEFT))
    write_pair(folder, "training", "d", LEFT)
    (line,) = failure(to_hf, hf, folder, hf)
    assert "masks with and without a finding, expected a finding for all or none" in line


def test_only_an_earlier_result_is_replaced(tmp_path, hf, to_hf):
    folder = draw_folder(tmp_path)
    assert to_hf(folder, hf)[0] == 0
    (line,) = failure(to_hf, hf, folder, hf)
    assert "exists, expected nothing there" in line
    assert to_hf(folder, hf, "--overwrite", "--splits", "validation")[0] == 0
    assert [path.name for path in (hf / "data").iterdir()] == ["validation-00000-of-00001.parquet"]
    (hf / "id2label.json").write_text('{"0": "unlabelled", "1": "road"}\n')
    (line,) = failure(to_hf, hf, folder, hf, "--overwrite")
    assert "holds no id2label.json of this tool" in line
    (line,) = failure(to_hf, hf, folder, folder / "hf")
    assert "expected a folder apart" in line


def test_without_the_library_one_line_says_what_to_install(tmp_path, hf, to_hf, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    (line,) = failure(to_hf, hf, draw_folder(tmp_path), hf)
    assert line.startswith("datasets: ")
    assert line.endswith("Install the extra hf: `uv sync`, or `pip install .[hf]`.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "expected RAW OUT, RAW --to-hf DIR or --from-hf DIR OUT"),
        (["a", "b", "--to-hf", "c"], "expected one folder besides that of --to-hf or --from-hf"),
        (["--from-hf", "c"], "expected RAW OUT, RAW --to-hf DIR or --from-hf DIR OUT"),
        (["a", "--to-hf", "b", "--from-hf", "c"], "not allowed with argument"),
        (["a", "--to-hf", "b", "--layout", "pairs"], "--layout does not go with --to-hf and --from-hf"),
        (["a", "--to-hf", "b", "--short-edge", "9"], "--short-edge does not go with --to-hf"),
        (["--from-hf", "a", "b", "--link"], "--link does not go with --from-hf"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as ending:
        load_tool("convert_isic").main(arguments)
    assert ending.value.code == 2
    assert message in capsys.readouterr().err


def test_coco_files_are_of_one_finding(tmp_path, capsys):
    folder = write_findings(tmp_path / "data", acne=(("a", "b/c"), LEFT))
    assert load_tool("masks2coco").main([str(folder)]) == 1
    assert "a mask for each finding (acne), expected one mask an image" in capsys.readouterr().err
