"""Masks in other forms than the challenges', pictures that are too large, and files that are none."""

import os
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_release import image_bytes, mask_bytes, write_folder, write_release
from helpers import draw_pair, load_tool

from lesionseg.data.release import convert_image as convert_module
from lesionseg.data.release.layouts.isic import RELEASES


@pytest.fixture
def run(capsys):
    """Run the tool on pairs; gives exit code, and the lines of stderr."""
    tool = load_tool("convert_isic")

    def run(raw, out, *argv):
        code = tool.main([str(arg) for arg in (raw, out, "--layout", "pairs", *argv)])
        return code, [line for line in capsys.readouterr().err.splitlines() if ": " in line]

    return run


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


def write_masks(raw: Path, masks: list[bytes]) -> Path:
    write_folder(raw / "images", {f"{number}.jpg": image_bytes(number) for number in range(len(masks))})
    write_folder(raw / "masks", {f"{number}.png": mask for number, mask in enumerate(masks)})
    return raw


def made(out: Path, number: int) -> np.ndarray:
    return cv2.imread(str(out / f"annotations/training/{number}.png"), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("low", [1, 2, 38, 128])
def test_masks_of_two_low_values_are_refused_and_mended_by_the_advice(tmp_path, out, run, low):
    raw = write_masks(tmp_path / "raw", [png(draw_pair(number)[1] // 255 * np.uint8(low)) for number in range(2)])
    code, (line,) = run(raw, out)
    assert code == 1
    assert not out.exists()
    assert f"2 of 2 files: a mask of the values 0 and {low}, none above 128 (0.png, 1.png)" in line
    assert line.endswith(f"convert with tools/convert_isic.py --foreground {low}.")
    code, _ = run(raw, out, "--foreground", low)
    assert code == 0
    for number in range(2):
        assert np.array_equal(made(out, number), draw_pair(number)[1])


def test_masks_of_several_kinds_need_all_their_values(tmp_path, out, run):
    lows = (255, 128, 38, 2)
    raw = write_masks(tmp_path / "raw", [png(draw_pair(n)[1] // 255 * np.uint8(low)) for n, low in enumerate(lows)])
    code, lines = run(raw, out)
    assert code == 1
    assert len(lines) == 3
    code, lines = run(raw, out, "--foreground", 38)
    assert code == 1
    assert any("0 and 255 (0.png), expected 38 or only background (0,#000000)" in line for line in lines)
    assert run(raw, out, "--foreground", "2,38,128,255")[0] == 0
    for number in range(4):
        assert np.array_equal(made(out, number), draw_pair(number)[1])


def test_coloured_masks_are_mended_by_the_advice(tmp_path, out, run):
    none = np.zeros((72, 96), np.uint8)
    raw = write_masks(tmp_path / "raw", [png(np.dstack([none, none, draw_pair(n)[1] // 255 * 128])) for n in range(2)])
    code, (line,) = run(raw, out)
    assert code == 1
    assert line.endswith("If #800000 is lesion, convert with tools/convert_isic.py --foreground '#800000'.")
    assert run(raw, out, "--foreground", "#800000")[0] == 0
    assert np.array_equal(made(out, 1), draw_pair(1)[1])


def test_a_foreground_that_no_mask_has_is_an_error(tmp_path, out, run):
    raw = write_masks(tmp_path / "raw", [png(np.zeros((72, 96), np.uint8))] * 2)
    code, (line,) = run(raw, out, "--foreground", 3)
    assert code == 1
    assert "none of the 2 masks holds 3, expected a lesion in most. Choose another --foreground." in line


def test_inverted_masks_are_asked_about(tmp_path, out, run):
    masks = [255 - draw_pair(number)[1] for number in range(3)]
    raw = write_masks(tmp_path / "raw", [png(mask) for mask in (*masks, np.full((72, 96), 255, np.uint8))])
    code, (line,) = run(raw, out)
    assert code == 1
    assert "3 of 4 masks are lesion along most of their border (0, 1, 2)" in line
    assert "pass --inverted" in line
    _, (line,) = run(raw, out, "--foreground", "255")
    assert "if that is right, pass --no-inverted; if not, choose another --foreground" in line
    assert run(raw, out, "--inverted")[0] == 0
    assert np.array_equal(made(out, 1), 255 - masks[1])
    assert not made(out, 3).any()
    assert run(raw, out, "--no-inverted", "--overwrite")[0] == 0
    assert np.array_equal(made(out, 1), masks[1])


def test_one_lesion_at_the_border_is_not_asked_about(tmp_path, out, run):
    raw = write_masks(tmp_path / "raw", [png(255 - draw_pair(0)[1]), mask_bytes(1), mask_bytes(2)])
    assert run(raw, out)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--foreground", "lesion"], "'lesion', expected a value such as 1, a colour such as #ff0000 or red, or alpha"),
        (["--background", "1"], "--background needs --foreground"),
        (["--max-pixels", "0"], "--max-pixels"),
        (["--foreground", "1,alpha"], "'1,alpha', expected alpha alone"),
        (["--foreground", "alpha", "--background", "0"], "--background: 0, expected none where alpha tells the lesion"),
        (["--foreground", "1-3", "--background", "3"], "--background: 3, expected nothing of what is lesion, 1,2,3"),
        (["--split", "1e999999999,1"], "1e999999999,1 is not two or three fractions"),
        (["--seed", "1"], "--seed needs --split"),
        (["--mask-suffix", "_lesion"], "--mask-suffix needs --layout pairs"),
        (["--layout", "pairs", "--images", ""], "--images: it is blank, expected a name"),
    ],
)
def test_wrong_usage(tmp_path, out, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        load_tool("convert_isic").main([str(tmp_path), str(out), *arguments])
    assert message in capsys.readouterr().err


def test_pictures_larger_than_allowed_are_told(tmp_path, out, run):
    raw = write_masks(tmp_path / "raw", [mask_bytes(0)])
    image = raw / "images/0.jpg"
    # Most of some files are previews and the like.
    image.write_bytes(image.read_bytes() + bytes(8 * 6911))
    code, lines = run(raw, out, "--max-pixels", 6911)
    assert code == 1
    assert len(lines) == 2
    assert "96x72 pixels, 6912 in all (0.jpg), expected at most 6911. Shrink the picture, or allow it with" in lines[0]
    assert not out.exists()
    assert run(raw, out, "--max-pixels", 6912)[0] == 0


def test_a_zip_bomb_is_not_unpacked(tmp_path, out, capsys):
    raw = write_release(tmp_path / "raw", 2018, "zips")
    with zipfile.ZipFile(raw / f"{RELEASES[2018]['training'][0]}.zip", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ISIC_0000009.jpg", bytes(8 * 10**7))
    with zipfile.ZipFile(raw / f"{RELEASES[2018]['training'][1]}.zip", "a") as archive:
        archive.writestr("ISIC_0000009_segmentation.png", mask_bytes(9))
    assert load_tool("convert_isic").main([str(raw), str(out), "--max-pixels", "1000000"]) == 1
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert "1 of 5 files: a file of 80 MB (ISIC_0000009.jpg), expected a picture of at most 75 MB" in line


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_archive_of_another_packing_is_named(tmp_path, out, capsys, kind):
    raw = write_release(tmp_path / "raw", 2018)
    part = RELEASES[2018]["training"][1]
    path = raw / f"{part}.zip"
    with zipfile.ZipFile(path, "w", kind) as archive:
        for file in sorted((raw / part).glob("*.png")):
            archive.write(file, file.name)
            file.unlink()
    for file in (raw / part).iterdir():
        file.unlink()
    (raw / part).rmdir()
    data = bytearray(path.read_bytes())
    start = data.index(b"ISIC_0000001_segmentation.png") + 45
    data[start : start + 30] = bytes(30)
    path.write_bytes(data)
    assert load_tool("convert_isic").main([str(raw), str(out)]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert "(ISIC_0000001_segmentation.png), expected" in line
    assert "None" not in line


def test_pipes_are_no_pictures(tmp_path, out, run):
    raw = write_masks(tmp_path / "raw", [mask_bytes(0), mask_bytes(1)])
    for path in (raw / "images/0.jpg", raw / "masks/1.png"):
        path.unlink()
        os.mkfifo(path)
    code, lines = run(raw, out)
    assert code == 1
    assert [line.split("files: ")[1].split(",")[0] for line in lines] == [
        "a pipe or a device (0.jpg)",
        "a pipe or a device (1.png)",
    ]
    assert not out.exists()


def test_pictures_that_need_too_much_memory_are_told(tmp_path, out, run, monkeypatch):
    def refuse(_):
        raise MemoryError

    monkeypatch.setattr(convert_module, "count_components", refuse)
    code, (line,) = run(write_masks(tmp_path / "raw", [mask_bytes(0)]), out)
    assert code == 1
    assert "1 of 1 files: more than the free memory holds (0.jpg), expected fewer pixels" in line
    assert not out.exists()


def test_a_pipe_is_no_archive(tmp_path, out, capsys):
    raw = write_release(tmp_path / "raw", 2018, "zips")
    path = raw / f"{RELEASES[2018]['test'][0]}.zip"
    path.unlink()
    os.mkfifo(path)
    assert load_tool("convert_isic").main([str(raw), str(out)]) == 1
    assert f"{path}: a pipe or a device, expected a regular file" in capsys.readouterr().err
