"""What is wrong with an input, with what is made of it, and with the disk."""

import errno
import os

import cv2
import numpy as np
from drawn_release import (
    failure,
    image_bytes,
    index,
    mask_bytes,
    write_pairs,
    write_release,
)

from lesionseg.data.release import convert as convert_module
from lesionseg.data.release import convert_image as image_module
from lesionseg.data.release.layouts.isic import RELEASES

IMAGES, MASKS = RELEASES[2018]["training"]


def test_all_kinds_of_faults_are_told_together(raw, out, run):
    (raw / MASKS / "ISIC_0000000_segmentation.png").unlink()
    cut = raw / IMAGES / "ISIC_0000001.jpg"
    cut.write_bytes(cut.read_bytes()[:-300])
    (raw / MASKS / "ISIC_0000002_segmentation.png").write_bytes(mask_bytes(2, (70, 96)))
    test_images, test_masks = RELEASES[2018]["test"]
    (raw / test_images / "ISIC_0000006.jpg").write_bytes(b"<html>")
    for number in (7, 8):
        (raw / test_masks / f"ISIC_{number:07}_segmentation.png").write_bytes(image_bytes(number, extension=".png"))
    assert failure(run, out, raw, out) == [
        f"{raw / MASKS}: 1 of 4 images have no mask (ISIC_0000000), expected <id>_segmentation.png. "
        "Extract the archive again.",
        f"{raw / IMAGES}: 1 of 3 files: the file breaks off before its end (ISIC_0000001.jpg), "
        "expected a whole picture. Copy or extract it again.",
        f"{raw / MASKS}: 1 of 3 files: the mask has another size than its image (ISIC_0000002: 96x70, image 96x72), "
        "expected the same width and height. Check that they belong together.",
        f"{raw / test_images}: 1 of 3 files: a web page by its content (ISIC_0000006.jpg), "
        "expected a picture such as JPEG or PNG. Download the picture again.",
        f"{raw / test_masks}: 2 of 3 files: a coloured mask "
        "(ISIC_0000007_segmentation.png, ISIC_0000008_segmentation.png), "
        "expected gray 0 = skin and 255 = lesion. Save it with the lesion white and all else black.",
    ]


def test_five_of_many_are_named(tmp_path, out, run):
    raw = write_pairs(
        tmp_path / "raw",
        {f"{number}.jpg": image_bytes(number) for number in range(7)},
        {f"{number}.png": b"" for number in range(7)},
    )
    (line,) = failure(run, out, raw, out, "--layout", "pairs")
    assert "7 of 7 files: not a readable picture (0.png, 1.png, 2.png, 3.png, 4.png and 2 more)" in line


def test_a_mask_of_the_image_before_it_was_turned(tmp_path, out, run):
    raw = write_pairs(tmp_path / "raw", {"a.jpg": image_bytes(0, (72, 96))}, {"a.png": mask_bytes(0, (96, 72))})
    (line,) = failure(run, out, raw, out, "--layout", "pairs")
    assert "width and height are the other way round than in the image (a: 72x96, image 96x72)" in line
    assert "EXIF orientation" in line


def test_damage_inside_an_archive(tmp_path, out, run):
    raw = write_release(tmp_path / "raw", 2018, "zips")
    path = raw / f"{MASKS}.zip"
    data = bytearray(path.read_bytes())
    start = data.index(b"ISIC_0000003_segmentation.png") + 60
    data[start : start + 8] = bytes(8)
    path.write_bytes(data)
    (line,) = failure(run, out, raw, out)
    assert line.startswith(f"{path}: 1 of 4 files: damaged inside the archive ({MASKS}/ISIC_0000003_segmentation.png)")


def test_a_file_that_cannot_be_read(raw, out, run):
    path = raw / IMAGES / "ISIC_0000001.jpg"
    path.unlink()
    path.symlink_to("gone")
    (line,) = failure(run, out, raw, out)
    assert "1 of 4 files: No such file or directory (ISIC_0000001.jpg), expected a readable file" in line


def test_odd_masks_are_warned_about(raw, out, run):
    even = np.zeros((72, 96), np.uint8)
    for number, value in ((0, 0), (1, 255), (2, 255)):
        path = raw / MASKS / f"ISIC_{number:07}_segmentation.png"
        path.write_bytes(cv2.imencode(".png", even + np.uint8(value))[1].tobytes())
    code, _, stderr = run(raw, out)
    assert code == 0
    assert [line for line in stderr.splitlines() if line.startswith("warning")] == [
        f"warning: {out}: 1 masks hold no lesion (ISIC_0000000)",
        f"warning: {out}: 2 masks are lesion all over (ISIC_0000001, ISIC_0000002)",
    ]
    assert index(out)["ISIC_0000000"]["components"] == "0"
    assert index(out)["ISIC_0000001"]["lesion_share"] == "1.000000"


def test_faults_of_the_listing(tmp_path, out, run):
    (line,) = failure(run, out, tmp_path, out)
    assert "no release of ISIC 2016, 2017 or 2018 found" in line
    raw = write_release(tmp_path / "raw", 2018)
    (raw / MASKS).rename(tmp_path / "away")
    (line,) = failure(run, out, raw, out)
    assert line.endswith("or convert the rest with --splits validation,test.")
    assert run(raw, out, "--splits", "validation,test")[0] == 0


def test_output_and_input_lie_apart(raw, run):
    for out in (raw, raw / "out", raw.parent, raw / IMAGES / ".." / "out"):
        (line,) = failure(run, raw / "x", raw, out)
        assert "expected a folder apart" in line
    assert sorted(path.name for path in raw.iterdir()) == sorted(
        name for pair in RELEASES[2018].values() for name in pair
    )


def test_a_full_disk_is_foreseen(raw, out, run, monkeypatch):
    usage = convert_module.shutil.disk_usage(raw)
    monkeypatch.setattr(convert_module.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert run(raw, out, "--link")[0] == 0, "links need no space"
    other = out.with_name("other")
    monkeypatch.setattr(convert_module, "clone_file", lambda *_: False)
    for shrunk in ([], ["--short-edge", 40]):
        (line,) = failure(run, other, raw, other, *shrunk)
        assert "0 MB are free on its disk, expected about" in line


def test_a_disk_that_fills_up(raw, out, run, monkeypatch):
    write_really, sizes = image_module.write, []

    def write(path, data):
        sizes.append(len(data))
        if len(sizes) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_really(path, data)

    monkeypatch.setattr(image_module, "write", write)
    (line,) = failure(run, out, raw, out, "--short-edge", 40)
    assert "No space left on device" in line


def test_a_folder_that_may_not_be_written(raw, tmp_path, run):
    (tmp_path / "file").write_text("")
    (line,) = failure(run, raw / "x", raw, tmp_path / "file" / "out")
    assert str(tmp_path / "file") in line
