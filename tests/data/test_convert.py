import errno
import os
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_release import (
    COUNTS,
    SIZES,
    image_bytes,
    index,
    leftovers,
    mask_bytes,
    release_files,
    tree,
    write_folder,
    write_pairs,
    write_release,
    write_zip,
)
from helpers import ROOT, draw_pair
from PIL import Image

from lesionseg.data.release import convert_image as convert_module
from lesionseg.data.release.layouts.isic import RELEASES
from lesionseg.pixels.masks import read_mask

IMAGES, MASKS = RELEASES[2018]["training"]


# What is written


@pytest.mark.parametrize("form", ["folders", "zips", "flat zips"])
@pytest.mark.parametrize("year", [2016, 2017, 2018])
def test_a_release_becomes_a_data_set_folder(tmp_path, out, run, year, form):
    raw = write_release(tmp_path / "raw", year, form)
    code, stdout, stderr = run(raw, out)
    assert code == 0, stderr
    expected = {"index.csv", "look.html", *(f"splits/{split}.txt" for split in RELEASES[year])}
    number = 0
    for split in RELEASES[year]:
        ids = [f"ISIC_{number + more:07}" for more in range(COUNTS[split])]
        assert (out / "splits" / f"{split}.txt").read_text().splitlines() == ids
        for id in ids:
            image, mask = out / f"images/{split}/{id}.jpg", out / f"annotations/{split}/{id}.png"
            assert image.read_bytes() == image_bytes(number, SIZES[split])
            assert mask.read_bytes() == mask_bytes(number, SIZES[split])
            expected |= {str(path.relative_to(out)) for path in (image, mask)}
            number += 1
    assert set(tree(out)) == expected
    counts = ", ".join(f"{COUNTS[split]} {split}" for split in RELEASES[year])
    how = "copied" if form == "folders" else "unpacked"
    assert stdout.splitlines()[-1] == f"Made {out}: {counts} (files: {2 * number} {how})"
    assert leftovers(out) == [out]


def test_what_is_done_to_the_copy_does_nothing_to_the_original(raw, out, run):
    code, stdout, _ = run(raw, out)
    assert code == 0
    assert "(files: 18 copied)" in stdout
    before = tree(raw)
    for path in [*out.rglob("*.jpg"), *out.rglob("*.png")]:
        with path.open("r+b") as file:
            file.write(b"edited in place")
    assert tree(raw) == before


def test_files_are_hard_linked_where_asked(raw, out, run):
    code, stdout, _ = run(raw, out, "--link")
    assert code == 0
    assert "(files: 18 hard-linked)" in stdout
    assert (out / "images/training/ISIC_0000000.jpg").samefile(raw / IMAGES / "ISIC_0000000.jpg")
    assert (out / "annotations/training/ISIC_0000000.png").samefile(raw / MASKS / "ISIC_0000000_segmentation.png")


def test_files_are_copied_where_the_disk_cannot_link(raw, out, run, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(convert_module.os, "link", refuse)
    code, stdout, _ = run(raw, out, "--link")
    assert code == 0
    assert "(files: 18 copied)" in stdout
    copy = out / "images/training/ISIC_0000000.jpg"
    assert copy.stat().st_nlink == 1
    assert copy.read_bytes() == image_bytes(0)


@pytest.mark.parametrize("link", [[], ["--link"]])
def test_of_a_symbolic_link_the_file_is_taken(raw, out, run, link):
    path = raw / IMAGES / "ISIC_0000000.jpg"
    path.rename(raw / "stored")
    path.symlink_to("../stored")
    assert run(raw, out, *link)[0] == 0
    made = out / "images/training/ISIC_0000000.jpg"
    assert not made.is_symlink()
    assert made.read_bytes() == image_bytes(0)


def test_the_index_tells_about_the_released_pairs(tmp_path, out, run):
    mask = np.zeros((60, 100), np.uint8)
    mask[:10, :20] = 255
    mask[10:20, 20:25] = 255  # touches only by its corner
    mask[2:4, 3:5] = 0
    mask[40:60, 90:] = 255
    files = release_files(2018)
    files[IMAGES] = {"ISIC_1.jpg": image_bytes(0, (60, 100))}
    files[MASKS] = {"ISIC_1_segmentation.png": cv2.imencode(".png", mask)[1].tobytes()}
    for part in (IMAGES, MASKS):
        write_folder(tmp_path / "raw" / part, files[part])
    assert run(tmp_path / "raw", out, "--short-edge", 30)[0] == 0
    assert index(out) == {
        "ISIC_1": {
            "id": "ISIC_1",
            "split": "training",
            "image": "images/training/ISIC_1.jpg",
            "mask": "annotations/training/ISIC_1.png",
            "width": "100",
            "height": "60",
            "lesion_share": f"{(200 + 50 - 4 + 200) / 6000:.6f}",
            "components": "2",
        }
    }
    assert cv2.imread(str(out / "images/training/ISIC_1.jpg")).shape == (30, 50, 3)


def test_only_larger_training_pairs_are_shrunk(raw, out, run):
    write_folder(raw / IMAGES, {"ISIC_9.jpg": image_bytes(9, (36, 50))})
    write_folder(raw / MASKS, {"ISIC_9_segmentation.png": mask_bytes(9, (36, 50))})
    code, stdout, _ = run(raw, out, "--short-edge", 36)
    assert code == 0
    assert "(files: 8 shrunk, 12 copied)" in stdout
    for number in range(4):
        image = cv2.imread(str(out / f"images/training/ISIC_{number:07}.jpg"))
        mask = read_mask(out / f"annotations/training/ISIC_{number:07}.png")
        assert image.shape == (36, 48, 3)
        assert mask.shape == (36, 48)
        assert set(np.unique(mask)) == {0, 255}
        large_image, large_mask = cv2.imdecode(np.frombuffer(image_bytes(number), np.uint8), 1), draw_pair(number)[1]
        direct = cv2.resize(large_image, (48, 36), interpolation=cv2.INTER_AREA)
        assert np.abs(image.astype(int) - direct).mean() < 3
        assert np.array_equal(mask, cv2.resize(large_mask, (48, 36), interpolation=cv2.INTER_NEAREST_EXACT))
    assert (out / "images/training/ISIC_9.jpg").read_bytes() == image_bytes(9, (36, 50))
    assert (out / "images/test/ISIC_0000006.jpg").read_bytes() == image_bytes(6, SIZES["test"])


def test_masks_that_are_not_plain_are_rewritten(tmp_path, out, run):
    mask = draw_pair(0)[1]
    soft = cv2.blur(mask, (5, 5))
    soft[0, :2] = [128, 129]
    palette = Image.fromarray((mask == 0).astype(np.uint8)).convert("P")
    palette.putpalette([255, 255, 255, 0, 0, 0])
    saved = BytesIO()
    palette.save(saved, "PNG")
    sources = {
        "soft.png": cv2.imencode(".png", soft)[1].tobytes(),
        "palette.png": saved.getvalue(),
        "channels.bmp": cv2.imencode(".bmp", cv2.merge([mask] * 3))[1].tobytes(),
        "jpeg.JPG": cv2.imencode(".jpg", mask)[1].tobytes(),
        "plain.png": mask_bytes(0),
    }
    raw = write_pairs(tmp_path / "raw", {f"{Path(name).stem}.jpg": image_bytes(0) for name in sources}, sources)
    code, stdout, stderr = run(raw, out, "--layout", "pairs")
    assert code == 0, stderr
    assert "(files: 6 copied, 4 rewritten)" in stdout
    expected = {name: mask for name in sources} | {"soft.png": np.where(soft > 128, np.uint8(255), np.uint8(0))}
    for name, lesion in expected.items():
        written = (out / "annotations/training" / name).with_suffix(".png")
        assert np.array_equal(cv2.imread(str(written), cv2.IMREAD_UNCHANGED), lesion)
        assert written.read_bytes()[24:26] == b"\x08\x00"
    assert (out / "annotations/training/plain.png").read_bytes() == mask_bytes(0)


def test_image_formats(tmp_path, out, run):
    names = ("a.JPEG", "b.PNG", "c.bmp", "d.tif", "e.jpg")
    raw = write_pairs(
        tmp_path / "raw",
        {name: image_bytes(0, extension=Path(name).suffix.lower()) for name in names},
        {f"{Path(name).stem}.png": mask_bytes(0) for name in names},
    )
    assert run(raw, out, "--layout", "pairs")[0] == 0
    assert sorted(path.name for path in (out / "images/training").iterdir()) == [
        "a.jpg",
        "b.png",
        "c.bmp",
        "d.tif",
        "e.jpg",
    ]
    assert (out / "images/training/b.png").read_bytes() == image_bytes(0, extension=".png")
    assert run(raw, out, "--layout", "pairs", "--short-edge", 40, "--overwrite")[0] == 0
    assert sorted(path.name for path in (out / "images/training").iterdir()) == [f"{id}.jpg" for id in "abcde"]


def test_sub_folders_are_kept(tmp_path, out, run):
    raw = write_pairs(
        tmp_path / "raw",
        {f"{folder}/a.jpg": image_bytes(folder) for folder in (1, 2)},
        {f"{folder}/a_lesion.png": mask_bytes(folder) for folder in (1, 2)},
    )
    assert run(raw, out, "--layout", "pairs", "--mask-suffix", "_lesion")[0] == 0
    for folder in (1, 2):
        assert (out / f"images/training/{folder}/a.jpg").read_bytes() == image_bytes(folder)
        assert (out / f"annotations/training/{folder}/a.png").read_bytes() == mask_bytes(folder)
    assert (out / "splits/training.txt").read_text() == "1/a\n2/a\n"


def test_an_oriented_image_fits_the_upright_mask(tmp_path, out, run):
    image, mask = draw_pair(0, 72, 96)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = BytesIO()
    Image.fromarray(np.rot90(image)[..., ::-1]).save(lying, "JPEG", quality=95, exif=exif)
    raw = write_pairs(tmp_path / "raw", {"a.jpg": lying.getvalue()}, {"a.png": cv2.imencode(".png", mask)[1].tobytes()})
    code, _, stderr = run(raw, out, "--layout", "pairs", "--short-edge", 36)
    assert code == 0, stderr
    assert (index(out)["a"]["width"], index(out)["a"]["height"]) == ("96", "72")
    shrunk = cv2.imread(str(out / "images/training/a.jpg"), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert shrunk.shape == (36, 48, 3)
    upright = cv2.resize(image, (48, 36), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk.astype(int) - upright).mean() < 4


def test_two_runs_give_the_same_bytes(tmp_path, raw, run):
    write_zip(raw / f"{IMAGES}.zip", release_files(2018)[IMAGES])
    made = [tmp_path / "one" / "out", tmp_path / "two" / "out"]
    for out, workers in zip(made, (1, 3), strict=True):
        assert run(raw, out, "--short-edge", 40, "--workers", workers)[0] == 0
    assert tree(made[0]) == tree(made[1])


# Random splits


def test_a_random_split(tmp_path, out, run):
    names = [f"{number:02}" for number in range(16)]
    raw = write_pairs(
        tmp_path / "raw",
        {f"{name}.jpg": image_bytes(int(name), (20, 30)) for name in names},
        {f"{name}.png": mask_bytes(int(name), (20, 30)) for name in names},
    )
    code, stdout, _ = run(raw, out, "--layout", "pairs", "--split", "0.5625,0.1875,0.25", "--seed", 3)
    assert code == 0
    assert "9 training, 3 validation, 4 test" in stdout
    listed = {split: (out / f"splits/{split}.txt").read_text().split() for split in ("training", "validation", "test")}
    assert sorted(id for ids in listed.values() for id in ids) == names
    for split, ids in listed.items():
        assert sorted(path.stem for path in (out / "images" / split).iterdir()) == ids
        assert all(index(out)[id]["split"] == split for id in ids)
    first = tree(out)
    run(raw, out, "--layout", "pairs", "--split", "0.5625,0.1875,0.25", "--seed", 3, "--overwrite")
    assert tree(out) == first


def test_groups_stay_in_one_split(tmp_path, out, run):
    names = [f"{number:02}" for number in range(12)]
    raw = write_pairs(
        tmp_path / "raw",
        {f"{name}.jpg": image_bytes(int(name), (20, 30)) for name in names},
        {f"{name}.png": mask_bytes(int(name), (20, 30)) for name in names},
    )
    rows = "".join(f"{name},lesion {int(name) // 3}\n" for name in names)
    (raw / "groups.csv").write_text(f"image_id,lesion_id\n{rows}")
    arguments = ("--layout", "pairs", "--split", "1/2,1/2", "--group-csv", raw / "groups.csv")
    assert run(raw, out, *arguments)[0] == 0
    splits = {}
    for id, row in index(out).items():
        splits.setdefault(int(id) // 3, set()).add(row["split"])
        assert row["group"] == f"lesion {int(id) // 3}"
    assert sorted(map(sorted, splits.values())) == [["training"], ["training"], ["validation"], ["validation"]]
    code, _, stderr = run(raw, out, *arguments, "--group-column", "patient_id", "--overwrite")
    assert code == 1
    assert "the columns are image_id, lesion_id, expected one of" in stderr


def test_official_splits_are_not_mixed_by_accident(raw, out, run):
    code, _, stderr = run(raw, out, "--split", "0.5,0.5")
    assert code == 1
    assert "--split would mix its official splits test, training, validation" in stderr
    code, stdout, _ = run(raw, out, "--split", "0.5,0.5", "--splits", "training")
    assert code == 0
    assert "2 training, 2 validation" in stdout


# The command line


def test_help_is_at_once():
    start = time.perf_counter()
    command = [sys.executable, str(ROOT / "tools/convert_isic.py"), "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "--short-edge" in shown
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "0.7,0.2"], "0.7,0.2 is not two or three fractions that sum to 1"),
        (["--split", "1"], "is not two or three fractions"),
        (["--split", "0,0,0"], "is not two or three fractions"),
        (["--split", "a,b"], "is not two or three fractions"),
        (["--validation", "1"], "1 is not a share between 0 and 1"),
        (["--validation", "0.0"], "0.0 is not a share between 0 and 1"),
        (["--validation", "0.2", "--split", "0.5,0.5"], "--split: not allowed with argument --validation"),
        (["--seed", "1"], "--seed needs --split"),
        (["--splits", "train"], "train is not a list of training,validation,test"),
        (["--short-edge", "0"], "--short-edge"),
        (["--workers", "-1"], "--workers"),
        (["--images", "x"], "--images needs --layout pairs"),
        (["--layout", "pairs", "--year", "2017"], "--year needs --layout isic"),
        (["--split", "0.5,0.5", "--group-column", "x"], "--group-column needs --group-csv"),
    ],
)
def test_wrong_usage(raw, out, run, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        run(raw, out, *arguments)
    assert message in capsys.readouterr().err


def test_a_release_without_a_validation_gets_one(tmp_path, out, run):
    raw = write_release(tmp_path / "raw", 2016)
    assert COUNTS["training"] == 4
    assert "2 training, 2 validation, 3 test (files" in run(raw, out, "--validation", "0.5")[1]


def test_splits_that_folders_tell_are_chosen_and_mixed(tmp_path, out, run):
    raw = tmp_path / "raw"
    for split, count in (("train", 4), ("test", 2)):
        for kind, content in (("images", image_bytes), ("masks", mask_bytes)):
            write_folder(raw / split / kind, {f"{number}.png": content(number) for number in range(count)})
    pairs = [raw, out, "--layout", "pairs", "--overwrite"]
    assert "4 training, 2 test (files" in run(*pairs)[1]
    assert {id for id, row in index(out).items() if row["split"] == "test"} == {"test/0", "test/1"}
    assert "Made" in run(*pairs, "--splits", "test")[1]
    assert {row["split"] for row in index(out).values()} == {"test"}
    before = tree(out)
    code, _, stderr = run(*pairs, "--splits", "validation")
    assert (code, tree(out)) == (1, before)
    assert f"{raw}: all images are in training and test, expected some in validation. Choose others" in stderr
    assert "--split would mix its official splits test, training, expected one" in run(*pairs, "--split", "0.5,0.5")[2]
    assert "3 training, 3 validation" in run(*pairs, "--split", "0.5,0.5", "--splits", "training,test")[1]


# Real data


@pytest.mark.shared_data
def test_nails(shared_data, out, run):
    code, stdout, stderr = run(shared_data / "nails", out, "--layout", "pairs")
    assert code == 0, stderr
    assert "40 training" in stdout
    rows = index(out).values()
    assert {row["id"].split("/")[0] for row in rows} == {"1", "2", "3", "4"}
    assert all(2 <= int(row["components"]) <= 10 for row in rows)


@pytest.mark.shared_data
def test_skin_types(shared_data, out, run):
    arguments = ("--layout", "pairs", "--images", "*/image", "--masks", "*/label", "--mask-suffix", "_mask")
    code, _, stderr = run(shared_data / "skin_types", out, *arguments, "--split", "0.6,0.4")
    assert code == 0, stderr
    rows = index(out).values()
    assert {(row["width"], row["height"]) for row in rows} == {("640", "480")}
    assert {row["id"].split("/")[0] for row in rows} == {"acne_test", "hemo_test", "mela_test"}
    assert sorted(row["split"] for row in rows) == ["training"] * 9 + ["validation"] * 6


@pytest.mark.shared_data
def test_odd_masks(shared_data, out, run):
    raw = shared_data / "odd_masks"
    code, stdout, stderr = run(raw, out, "--layout", "pairs", "--mask-suffix", "_segmentation")
    assert code == 0, stderr
    assert "rewritten" in stdout
    assert "1 masks are lesion all over (ISIC_0024975)" in stderr
    for path in (out / "annotations/training").iterdir():
        written = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert written.ndim == 2
        assert set(np.unique(written)) <= {0, 255}
    # Gray, as Pillow shows it, and not the indices of the palette.
    shown = np.array(Image.open(raw / "masks/ISIC_0024316_segmentation.png").convert("L"))
    assert np.array_equal(cv2.imread(str(out / "annotations/training/ISIC_0024316.png"), 0), shown)
