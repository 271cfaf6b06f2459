"""Runs of tools/predict.py that were ended, or that meet an odd image: what was done is kept, what failed is named."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from helpers import ROOT, draw_pair, load_tool
from predicted import files, table

from lesionseg.errors import DataError, ModelError
from lesionseg.files import lock_folder
from lesionseg.inference.segmenter import Segmenter

main = load_tool("predict").main


def without_seconds(folder):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in table(folder)]


def test_a_run_that_was_ended_is_taken_up(model, photos, tmp_path, capsys, interrupted, monkeypatch):
    assert main([str(model), str(photos), "--out", str(tmp_path / "whole"), "--overlay"]) == 0
    arguments = [str(model), str(photos), "--out", str(tmp_path / "out"), "--overlay"]
    interrupted(4, folder=tmp_path / "out")
    assert main(arguments) == 130
    monkeypatch.undo()
    done = len(table(tmp_path / "out"))
    assert done == 3
    assert (tmp_path / "out" / "predictions.unfinished.json").is_file()
    # As a kill in the middle of writing leaves it.
    with (tmp_path / "out" / "predictions.csv").open("a") as file:
        file.write('ISIC_3,"half of a ro')
    (tmp_path / "out" / "more" / ".a1b2c3_4.part").mkdir(parents=True)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    capsys.readouterr()
    asked = interrupted(None)
    assert main(arguments) == 0
    assert len(asked) == 6 - done
    printed = capsys.readouterr()
    assert f"note: {done} of 6 images were predicted by an earlier run and are taken over; " in printed.err
    assert "predicted 6 images" in printed.out
    kept = [row["id"] for row in table(tmp_path / "out")][:done]
    assert all((tmp_path / "out" / f"{id}_segmentation.png") in stamps for id in kept)
    for id in kept:
        path = tmp_path / "out" / f"{id}_segmentation.png"
        assert path.stat().st_mtime_ns == stamps[path]
    assert without_seconds(tmp_path / "out") == without_seconds(tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert list((tmp_path / "out").rglob("*.part")) == []
    assert main(arguments) == 1
    assert "13 of 13 outputs are there already" in capsys.readouterr().err


def test_a_run_that_was_killed_is_taken_up(model, photos, tmp_path):
    arguments = [str(model), str(photos), "--out", str(tmp_path / "out")]
    code = f"""
import os, sys, runpy
from lesionseg.inference.segmenter import Segmenter
predict_batch, asked = Segmenter.predict_batch, []

def kill(self, images):
    asked.append(images)
    if len(asked) == 5:
        os.kill(os.getpid(), 9)
    return predict_batch(self, images)

Segmenter.predict_batch = kill
sys.argv = ["predict.py", *{arguments}]
runpy.run_path({str(ROOT / "tools/predict.py")!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ, PYTHONPATH=str(ROOT)), check=False)
    assert done.returncode == -9
    assert main(arguments) == 0
    assert len(table(tmp_path / "out")) == 6
    assert len(files(tmp_path / "out")) == 7
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("images", "flags", "message"),
    [
        (
            "",
            ["--tta"],
            "holds a run that was ended before its end, with other settings (tta), expected those of now. G",
        ),
        ("", ["--smooth", "2"], "with other settings (masks), expected those of now. Give the same again, choose an"),
        ("", ["--overlay"], "with other settings (overlay), expected"),
        (
            "ISIC_[12].png",
            [],
            "of 2 other images (ISIC_0, ISIC_3), expected those of now. Give the same INPUT again, ch",
        ),
    ],
)
def test_another_run_than_the_one_that_was_ended_is_refused(model, photos, tmp_path, capsys, images, flags, message):
    (photos / "ISIC_4.png").write_text("odd")
    (photos / "more" / "ISIC_0.JPG").unlink()
    assert main([str(model), str(photos), "--out", str(tmp_path / "out")]) == 1
    before = files(tmp_path / "out")
    assert before[-1] == "predictions.unfinished.json"
    capsys.readouterr()
    (photos / "ISIC_4.png").unlink()
    arguments = [str(model), str(photos / images), "--out", str(tmp_path / "out"), *flags]
    assert main(arguments) == 1
    assert message in capsys.readouterr().err
    assert files(tmp_path / "out") == before
    assert main([*arguments, "--overwrite"]) == 0
    assert "predictions.unfinished.json" not in files(tmp_path / "out")
    assert len(table(tmp_path / "out")) == (2 if images else 4)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": 1}', "[" * 100_000])
def test_an_earlier_run_that_cannot_be_read_is_refused(model, photos, tmp_path, capsys, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.unfinished.json").write_text(text)
    assert main([str(model), str(photos), "--out", str(tmp_path / "out")]) == 1
    assert "with other settings (" in capsys.readouterr().err
    assert main([str(model), str(photos), "--out", str(tmp_path / "out"), "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (
            MemoryError("Unable to allocate 9 GiB"),
            "too large for the memory that is free (Unable to allocate 9 GiB), exp",
        ),
        (
            RuntimeError("CUDA out of memory. Tried"),
            "too large for the memory that is free (CUDA out of memory. Tried), ",
        ),
        (cv2.error("Insufficient memory"), "too large for the memory that is free ("),
        (DataError("500x1 pixels: odd, expected even. Crop it."), "500x1 pixels: odd, expected even. Crop it."),
        (ModelError("m.onnx: odd, expected even. Export."), "m.onnx: odd, expected even. Export."),
        (
            ZeroDivisionError("odd"),
            "ended by ZeroDivisionError: odd, expected a result. Try other input, and report th",
        ),
        (RecursionError("odd"), "ended by RecursionError: odd"),
    ],
)
@pytest.mark.parametrize("batch_size", ["1", "3"])
def test_one_odd_image_does_not_end_a_run(
    model, photos, tmp_path, capsys, monkeypatch, interrupted, error, fault, batch_size
):
    predict_batch = Segmenter.predict_batch
    odd = cv2.imread(str(photos / "ISIC_1.png"))

    def stumble(self, images):
        if any(np.array_equal(image.pixels, odd) for image in images):
            raise error
        return predict_batch(self, images)

    monkeypatch.setattr(Segmenter, "predict_batch", stumble)
    if isinstance(error, ModelError):
        # The first is predicted: what fails later is the image.
        batch_size = "1"
    arguments = [str(model), str(photos), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--batch-size", batch_size]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert lines[0].startswith(f"error: {photos / 'ISIC_1.png'}: {fault}")
    assert lines[1:] == [
        "error: 1 of 6 images were not predicted, see above. Mend them, and run it again without --overwrite: only "
        "they are predicted then."
    ]
    assert [row["id"] for row in table(tmp_path / "out")] == ["ISIC_0", "ISIC_2", "ISIC_3", "ISIC_4", "more/ISIC_0"]
    monkeypatch.undo()
    asked = interrupted(None)
    assert main(arguments) == 0
    assert len(asked) == 1
    assert [row["id"] for row in table(tmp_path / "out")][:2] == ["ISIC_0", "ISIC_1"]
    assert len(files(tmp_path / "out")) == 7


def test_one_image_whose_outputs_cannot_be_written_does_not_end_a_run(model, photos, tmp_path, capsys):
    (photos / "ISIC_2.png").rename(photos / ("x" * 240 + ".png"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "more").touch()
    assert main([str(model), str(photos), "--out", str(tmp_path / "out"), "--overwrite"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    # Those of a folder come before those of its sub-folders.
    assert f"/more/ISIC_0.JPG: cannot be written: {tmp_path / 'out' / 'more'}: " in lines[0]
    assert "xxx_segmentation.png: File name too long, expected a name of at most 255 bytes. Give it a short" in lines[1]
    assert lines[2].startswith("error: 2 of 6 images were not predicted")
    assert [row["id"] for row in table(tmp_path / "out")] == ["ISIC_0", "ISIC_1", "ISIC_3", "ISIC_4"]


def test_folders_where_masks_are_to_be_are_told_before_anything_is_written(model, photos, tmp_path, capsys):
    (tmp_path / "out" / "ISIC_1_segmentation.png").mkdir(parents=True)
    for flags in ([], ["--overwrite"]):
        assert main([str(model), str(photos), "--out", str(tmp_path / "out"), *flags]) == 1
        assert (
            "1_segmentation.png: 1 folders where files are to be, expected nothing there. Move"
            in capsys.readouterr().err
        )
    assert os.listdir(tmp_path / "out") == ["ISIC_1_segmentation.png"]


def test_an_image_that_was_changed_since_is_predicted_again(model, photos, tmp_path, interrupted, monkeypatch):
    interrupted(3)
    arguments = [str(model), str(photos), "--out", str(tmp_path / "out")]
    assert main(arguments) == 130
    monkeypatch.undo()
    cv2.imwrite(str(photos / "ISIC_0.png"), draw_pair(0, 50, 66)[0])
    assert main(arguments) == 0
    assert cv2.imread(str(tmp_path / "out" / "ISIC_0_segmentation.png")).shape == (50, 66, 3)
    assert table(tmp_path / "out")[0]["width"] == "66"


def test_names_that_are_no_text_are_escaped_in_the_table(model, photos, tmp_path, capsys, interrupted, monkeypatch):
    os.rename(os.fsencode(photos / "ISIC_0.png"), os.fsencode(photos) + b"/A l\xe9sion.png")
    interrupted(3)
    arguments = [str(model), str(photos), "--out", str(tmp_path / "out")]
    assert main(arguments) == 130
    monkeypatch.undo()
    assert main(arguments) == 0
    assert "are taken over" in capsys.readouterr().err
    assert table(tmp_path / "out")[0]["id"] == "A l%E9sion"
    assert "A l%E9sion_segmentation.png" in os.listdir(tmp_path / "out")


def test_two_runs_into_one_folder_at_once_do_not_mix(model, photos, tmp_path, capsys):
    with lock_folder(tmp_path / "out", "predict"):
        (tmp_path / "out" / "predictions.unfinished.json").touch()
        assert main([str(model), str(photos), "--out", str(tmp_path / "out")]) == 1
        assert f"error: {tmp_path / 'out'}: another run is writing it, expected one at" in capsys.readouterr().err


def test_pipes_and_devices_are_no_images(model, photos, tmp_path, capsys):
    os.mkfifo(photos / "pipe.png")
    assert main([str(model), str(photos / "pipe.png"), "/dev/zero", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        f"error: {photos / 'pipe.png'}: no regular file, expected an image. Copy what comes out of it into a file, and "
        "name that.\n"
        "error: /dev/zero: no regular file, expected an image. Copy what comes out of it into a file, and name that.\n"
    )
    # Among images it is told, and the others are done.
    assert main([str(model), str(photos), "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "pipe.png: a pipe or a device, expected a regular file" in printed.err
    assert "predicted 6 images" in printed.out
