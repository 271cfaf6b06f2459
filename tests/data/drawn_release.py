"""Draws releases and folders of pairs as people have them."""

import csv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import cv2
from helpers import draw_pair

from lesionseg.data.release.layouts.isic import RELEASES

SIZES = {"training": (72, 96), "validation": (60, 40), "test": (50, 70)}
COUNTS = {"training": 4, "validation": 2, "test": 3}
CLUTTER = ("LICENSE.txt", "ATTRIBUTION.txt", ".DS_Store", "Thumbs.db")


def image_bytes(number: int, size: tuple[int, int] = (72, 96), extension: str = ".jpg") -> bytes:
    return cv2.imencode(extension, draw_pair(number, *size)[0])[1].tobytes()


def mask_bytes(number: int, size: tuple[int, int] = (72, 96), extension: str = ".png") -> bytes:
    return cv2.imencode(extension, draw_pair(number, *size)[1])[1].tobytes()


def release_files(year: int) -> dict[str, dict[str, bytes]]:
    """Part -> file name -> bytes, with COUNTS pairs in each split that the year has."""
    parts: dict[str, dict[str, bytes]] = {}
    suffix = "Segmentation" if year == 2016 else "segmentation"
    number = 0
    for split, (images, masks) in RELEASES[year].items():
        parts[images] = {name: b"text" for name in CLUTTER}
        parts[masks] = {name: b"text" for name in CLUTTER}
        for _ in range(COUNTS[split]):
            name = f"ISIC_{number:07}"
            parts[images][f"{name}.jpg"] = image_bytes(number, SIZES[split])
            parts[masks][f"{name}_{suffix}.png"] = mask_bytes(number, SIZES[split])
            if year == 2017:
                parts[images][f"{name}_superpixels.png"] = mask_bytes(number, SIZES[split])
            number += 1
        if year == 2017:
            parts[images][f"{images}_metadata.csv"] = b"image_id,age_approximate,sex\n"
    return parts


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write_zip(path: Path, files: Mapping[str, bytes], inner: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"{inner}{name}", data)
            archive.writestr(f"__MACOSX/{inner}._{name}", b"fork")


def write_release(raw: Path, year: int, form: str = "folders") -> Path:
    """Write a release as "folders", "zips" with a folder inside, or "flat zips"."""
    for part, files in release_files(year).items():
        if form == "folders":
            write_folder(raw / part, files)
        else:
            write_zip(raw / f"{part}.zip", files, inner=f"{part}/" if form == "zips" else "")
    return raw


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def index(out: Path) -> dict[str, dict[str, str]]:
    with (out / "index.csv").open() as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def leftovers(out: Path) -> list[Path]:
    return list(out.parent.iterdir()) if out.parent.exists() else []


def write_pairs(raw: Path, images: dict[str, bytes], masks: dict[str, bytes]) -> Path:
    write_folder(raw / "images", images)
    write_folder(raw / "masks", masks)
    return raw


def failure(run, out, *argv) -> list[str]:
    """The lines of a failed run, which leaves nothing behind."""
    before = leftovers(out)
    code, stdout, stderr = run(*argv)
    lines = [line for line in stderr.splitlines() if line.startswith(("error: ", "warning: ", "note: "))]
    assert code == 1
    assert stdout == ""
    assert "Traceback" not in stderr
    assert leftovers(out) == before
    return [line.removeprefix("error: ") for line in lines]
