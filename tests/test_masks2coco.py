import json

import pytest
from helpers import load_tool

from lesionseg.pixels.masks import read_mask


@pytest.fixture
def folder(isic_folder, tmp_path):
    """A data set folder that may be written to, without its test split."""
    folder = tmp_path / "ISIC"
    for split in ("training", "validation"):
        for kind in ("images", "annotations"):
            (folder / kind / split).mkdir(parents=True)
            for path in (isic_folder / kind / split).iterdir():
                (folder / kind / split / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def run(capsys):
    """Run the tool; gives exit code, stdout and stderr without the progress bar."""
    tool = load_tool("masks2coco")

    def run(*argv):
        code = tool.main([str(arg) for arg in argv])
        printed = capsys.readouterr()
        notes = [line for line in printed.err.splitlines() if line.startswith(("note: ", "error: "))]
        return code, printed.out.splitlines(), notes

    return run


def test_every_split_gets_a_file_and_masks_come_back(folder, run, tmp_path):
    code, printed, notes = run(folder)
    training, validation = (folder / f"annotations/instances_{split}.json" for split in ("training", "validation"))
    assert (code, notes) == (0, [])
    assert printed[-1] == f"Made {training} (6 images, 6 instances), {validation} (3 images, 3 instances)"
    assert {path.name for path in training.parent.iterdir()} == {
        *("training", "validation", "instances_training.json", "instances_validation.json")
    }
    code, printed, notes = run(training, "--to-masks", tmp_path / "masks")
    assert (code, notes) == (0, [])
    assert printed[-1] == f"Made {tmp_path / 'masks'} (6 images, 6 instances)"
    for mask in (folder / "annotations/training").iterdir():
        assert (read_mask(tmp_path / "masks" / mask.name) == read_mask(mask)).all()


def test_flags_reach_the_file(folder, run):
    code, _, notes = run(folder, "--instances", "components", "--min-area", "5", "--category", "nail", "--polygons")
    assert code == 0
    assert [note.rsplit(", ", 1)[0].rsplit(": ", 1)[1] for note in notes] == ["polygons have no holes"] * 2
    coco = json.loads((folder / "annotations/instances_training.json").read_text())
    assert coco["categories"][0]["name"] == "nail"
    assert coco["info"]["instances"] == "components"
    assert coco["info"]["min_area"] == 5
    assert coco["info"]["segmentation"] == "polygons"
    assert isinstance(coco["annotations"][0]["segmentation"], list)


def test_an_earlier_file_stays_without_overwrite(folder, run):
    assert run(folder)[0] == 0
    code, _, errors = run(folder, "--category", "nail")
    assert code == 1
    assert errors[0].endswith(
        "instances_training.json: exists, expected nothing there. Move it away or pass --overwrite."
    )
    assert run(folder, "--category", "nail", "--overwrite")[0] == 0


def test_a_category_is_chosen(folder, run, tmp_path):
    run(folder)
    file = folder / "annotations/instances_training.json"
    code, _, errors = run(file, "--to-masks", tmp_path / "masks", "--category", "nail")
    assert (code, errors) == (
        1,
        [f"error: {file}: its categories are lesion, expected nail among them. Check --category."],
    )
    assert not (tmp_path / "masks").exists()
    assert run(file, "--to-masks", tmp_path / "masks", "--category", "lesion")[0] == 0


def test_what_is_no_file_is_told(run, tmp_path):
    code, _, errors = run(tmp_path / "none.json", "--to-masks", tmp_path / "masks")
    assert code == 1
    assert errors == [
        f"error: {tmp_path / 'none.json'}: No such file or directory, expected a path that exists. Check the path."
    ]


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["D", "--instances", "some"],
        ["D", "--category", ""],
        ["D", "--category", " "],
        ["D", "--to-masks", "OUT", "--polygons"],
        ["D", "--to-masks", "OUT", "--min-area", "3"],
        ["D", "--to-masks", "OUT", "--instances", "components"],
        ["D", "--to-masks", "OUT", "--overwrite"],
    ],
)
def test_wrong_usage_is_2(argv, capsys):
    with pytest.raises(SystemExit) as ending:
        load_tool("masks2coco").main(argv)
    assert ending.value.code == 2


@pytest.mark.parametrize("area", ["0", "-3", "2.5", "x"])
def test_an_area_that_is_none_is_told(area, capsys):
    with pytest.raises(SystemExit) as ending:
        load_tool("masks2coco").main(["D", f"--min-area={area}"])
    assert ending.value.code == 2
    assert f"--min-area: '{area}', expected a whole number, 1 or more" in capsys.readouterr().err
