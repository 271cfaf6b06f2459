"""One odd image does not end a run of predictions."""

import os

import cv2
import numpy as np
import pytest
from helpers import draw_pair, load_tool
from predicted import table

from lesionseg.commands import predict as predict_files
from lesionseg.errors import DataError
from lesionseg.inference.inputs import find_inputs
from lesionseg.inference.segmenter import Segmenter

tool = load_tool("predict")
main = tool.main


def test_a_folder_of_links_to_itself_ends(photos):
    (photos / "loop").symlink_to(photos)
    assert len(find_inputs([str(photos)]).images) == 6


def test_other_names_of_a_file_are_told(photos):
    (photos / "link.png").symlink_to("ISIC_1.png")
    (note,) = [note for note in find_inputs([str(photos), str(photos / "*.png")]).notes if "same files" in note]
    assert note == f"left out 1 other names of the same files ({photos}/link.png is {photos}/ISIC_1.png)"


def test_an_output_never_replaces_an_image(model, photos, capsys):
    images = [str(photos / "ISIC_0.png"), str(photos / "ISIC_0_segmentation.png")]
    before = (photos / "ISIC_0_segmentation.png").read_bytes()
    assert main([str(model), *images, "--out", str(photos), "--overwrite"]) == 1
    assert "ISIC_0_segmentation.png: 1 images that their own outputs would replace" in capsys.readouterr().err
    assert (photos / "ISIC_0_segmentation.png").read_bytes() == before


def test_links_in_a_circle_are_told(model, photos, tmp_path, capsys):
    (tmp_path / "circle").symlink_to("circle")
    assert main([str(model), str(photos), "--out", str(tmp_path / "circle")]) == 1
    assert f"error: {tmp_path / 'circle'}: File exists, expected nothing there. " in capsys.readouterr().err


def test_all_faults_of_the_inputs_are_told(tmp_path):
    with pytest.raises(DataError) as error:
        find_inputs([str(tmp_path / "a"), str(tmp_path / "b*")])
    assert len(error.value.args) == 2


def test_pipes_and_large_images_are_told_and_the_others_are_done(model, photos, tmp_path, capsys):
    os.mkfifo(photos / "pipe.png")
    cv2.imwrite(str(photos / "large.png"), np.zeros((100, 150, 3), np.uint8))
    (photos / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    arguments = [str(model), str(photos), "--out", str(tmp_path / "out"), "--max-pixels"]
    assert main([*arguments, "14999"]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "large.png: 150x100 pixels, 15000 in all, expected at most 14999. " in errors[0]
    assert "--max-pixels 15000" in errors[0]
    assert "phone.jpg: HEIC by its content" in errors[1]
    assert "pipe.png: a pipe or a device, expected a regular file" in errors[2]
    assert len(table(tmp_path / "out")) == 6


def test_names_that_are_no_utf8_stand_in_the_table(model, tmp_path):
    image = cv2.imencode(".png", draw_pair(0)[0])[1].tobytes()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / os.fsdecode(b"l\xe9sion.png")).write_bytes(image)
    (tmp_path / "photos" / "=a.png").write_bytes(image)
    assert main([str(model), str(tmp_path / "photos"), "--out", str(tmp_path / "out")]) == 0
    assert [row["id"] for row in table(tmp_path / "out")] == ["'=a", "l%E9sion"]
    assert (tmp_path / "out" / "l%E9sion_segmentation.png").exists()


def test_scratch_folders_of_killed_runs_are_cleared(model, photos, tmp_path):
    left = tmp_path / "out" / "more" / ".ISIC_0_segmentation.png.abcd1234.part"
    left.mkdir(parents=True)
    (left / "ISIC_0_segmentation.png").write_bytes(b"half")
    assert main([str(model), str(photos), "--out", str(tmp_path / "out")]) == 0
    assert not left.exists()


def test_pictures_side_by_side_with_one_id_are_told_apart(photos):
    cv2.imwrite(str(photos / "ISIC_0.jpg"), draw_pair(0)[0])
    with pytest.raises(DataError, match="Rename one of each, or name the files that are meant"):
        find_inputs([str(photos)])


def test_an_image_that_needs_too_much_memory_is_told_and_the_others_are_done(
    model, photos, tmp_path, capsys, monkeypatch
):
    cv2.imwrite(str(photos / "large.png"), np.zeros((100, 150, 3), np.uint8))
    segmenter = Segmenter(model)
    predict_batch = segmenter.predict_batch

    def refuse(images):
        if images[0].pixels.shape[0] == 100:
            raise MemoryError
        return predict_batch(images)

    monkeypatch.setattr(segmenter, "predict_batch", refuse)
    images = find_inputs([str(photos)]).images
    predicted = predict_files.predict_files(segmenter, images, predict_files.Outputs(tmp_path / "out"))
    (fault,) = predicted.faults
    assert "large.png: too large for the memory that is free (MemoryError), expected an image that fits." in fault
    assert len(predicted.rows) == len(images) - 1
