import os
import signal
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
from drawn_models import instance_model, without_card
from helpers import MASK2FORMER, ROOT, draw_pair, load_tool
from predicted import files, table

from lesionseg import files as files_module
from lesionseg.commands import predict as predict_files
from lesionseg.inference.inputs import find_inputs
from lesionseg.inference.opening import ENGINES
from lesionseg.inference.segmenter import Segmenter
from lesionseg.pixels.masks import encode_probability, lesion_pixels, read_mask

tool = load_tool("predict")
main = tool.main


def test_a_folder_is_predicted(model, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(model), str(photos), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith(
        f"Look at them all: {out}/report.html\n"
        f"predicted 6 images, 0 without a lesion; masks and predictions.csv are in {out}\n"
    )
    assert "left out 4 files that are masks or no images (" in printed.err
    ids = [f"ISIC_{number}" for number in range(5)] + ["more/ISIC_0"]
    assert [row["id"] for row in table(out)] == ids
    assert files(out) == sorted([*(f"{id}_segmentation.png" for id in ids), "predictions.csv"])
    for row, number in zip(table(out), [0, 1, 2, 3, 4, 9], strict=True):
        gray = read_mask(out / f"{row['id']}_segmentation.png")
        truth = draw_pair(number, *gray.shape)[1]
        assert set(np.unique(gray)) == {0, 255}
        # The image in the sub-folder is a JPEG of another shape than the model's input.
        assert np.count_nonzero(gray != truth) <= (60 if gray.shape != (72, 96) else 0)
        assert float(row["lesion_share"]) == pytest.approx(np.mean(gray == 255), abs=1e-6)
        box = [int(row[f"box_{name}"]) for name in ("x", "y", "width", "height")]
        assert tuple(box) == cv2.boundingRect(gray)
        assert 0.5 < float(row["score"]) <= 1
        assert float(row["seconds"]) > 0
    assert table(out)[0]["components"] == "1"
    assert (table(out)[0]["width"], table(out)[0]["height"]) == ("96", "72")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_results_do_not_depend_on_the_batch(model, photos, tmp_path, engine):
    for size in ("1", "2", "5"):
        arguments = ["--batch-size", size, "--engine", engine, "--probability"]
        assert main([str(model), str(photos), "--out", str(tmp_path / size), *arguments]) == 0
    names = [name for name in files(tmp_path / "1") if name.endswith(".png")]
    assert len(names) == 12
    for name in names:
        one, two, five = ((tmp_path / size / name).read_bytes() for size in ("1", "2", "5"))
        assert one == two == five


def test_images_of_one_size_that_follow_one_another_share_a_run(model, photos, tmp_path):
    segmenter = Segmenter(model)
    sizes = []
    run = segmenter.finder.model.run
    segmenter.finder.model.run = lambda batch: sizes.append(len(batch)) or run(batch)
    outputs = predict_files.Outputs(tmp_path / "out")
    predict_files.predict_files(segmenter, find_inputs([str(photos)]).images, outputs, batch_size=3)
    assert sizes == [2, 1, 1, 1, 1]


def test_outline_and_soft_mask(model, photos, tmp_path):
    out = tmp_path / "out"
    assert (
        main([str(model), str(photos / "ISIC_1.png"), "--out", str(out), "--overlay", "--probability", "--heatmap"])
        == 0
    )
    assert files(out) == [
        *(f"ISIC_1_{kind}" for kind in ("heatmap.jpg", "overlay.jpg", "probability.png", "segmentation.png")),
        "predictions.csv",
    ]
    assert cv2.imread(str(out / "ISIC_1_heatmap.jpg")).shape[1] == 96
    gray = cv2.imread(str(out / "ISIC_1_probability.png"), cv2.IMREAD_UNCHANGED)
    assert (gray.shape, gray.dtype) == ((72, 96), np.uint8)
    assert np.array_equal(lesion_pixels(gray), lesion_pixels(read_mask(out / "ISIC_1_segmentation.png")))
    expected = 255 * Segmenter(model).predict(photos / "ISIC_1.png").probability
    assert np.abs(gray - expected).max() <= 1.5
    image, overlay = (cv2.imread(str(path)) for path in (photos / "ISIC_1.png", out / "ISIC_1_overlay.jpg"))
    changed = np.abs(overlay.astype(int) - image).max(2) > 60
    edge = cv2.morphologyEx(read_mask(out / "ISIC_1_segmentation.png"), cv2.MORPH_GRADIENT, np.ones((7, 7))) > 0
    assert changed.any()
    assert not (changed & ~edge).any()


def test_gray_levels_of_a_soft_mask():
    just_above = np.nextafter(np.float32(0.5), np.float32(1))
    probability = np.float32([[0, 0.25, 0.5, just_above, 0.504, 0.51, 0.75, 1]])
    gray = cv2.imdecode(np.frombuffer(encode_probability(probability), np.uint8), cv2.IMREAD_UNCHANGED)
    assert gray.tolist() == [[0, 64, 128, 129, 129, 130, 191, 255]]


def test_masks_are_processed_where_asked(tmp_path):
    boxes = [((10, 10, 40, 50), 0.9, 0), ((60, 20, 70, 30), 0.7, 0)]
    model = str(instance_model(tmp_path / "model.onnx", boxes))
    cv2.imwrite(str(tmp_path / "a.png"), draw_pair(0)[0])
    areas = {}
    for flag in ([], ["--largest"], ["--min-area", "100.5"], ["--min-area", "0.015"], ["--top1"], ["--min-score=0.8"]):
        out = tmp_path / ("out" + "".join(flag))
        assert main([model, str(tmp_path / "a.png"), "--out", str(out), *flag]) == 0
        areas[" ".join(flag)] = np.count_nonzero(read_mask(out / "a_segmentation.png"))
        assert table(out)[0]["score"] == "0.900000"
    assert areas.pop("") == 1200 + 100
    assert set(areas.values()) == {1200}


def test_choosing_instances_of_a_semantic_model_is_an_error(model, photos, tmp_path, capsys):
    for flag in (["--top1"], ["--min-score", "0.3"]):
        assert main([str(model), str(photos), "--out", str(tmp_path / "out"), *flag]) == 1
        assert "has no instances to choose from" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_image_without_a_lesion_has_an_empty_mask_and_empty_cells(model, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 70, 3), 200, np.uint8))
    assert main([str(model), str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]) == 0
    assert "predicted 1 images, 1 without a lesion" in capsys.readouterr().out
    assert not read_mask(tmp_path / "out" / "a_segmentation.png").any()
    row = table(tmp_path / "out")[0]
    assert [row[name] for name in ("lesion_share", "box_x", "box_width", "score", "components")] == [
        "0.000000", "", "", "", "0"
    ]  # fmt: skip


def test_what_cannot_be_read_is_told_and_the_others_are_done(model, photos, tmp_path, capsys):
    (photos / "ISIC_1.png").write_bytes((photos / "ISIC_1.png").read_bytes()[:2000])
    (photos / "text.jpg").write_text("not an image")
    (photos / "gone.png").symlink_to(tmp_path / "nowhere")
    cv2.imwrite(str(photos / "thin.png"), np.full((1, 500, 3), 200, np.uint8))
    assert main([str(model), str(photos), "--out", str(tmp_path / "out"), "--batch-size", "4"]) == 1
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert [line.split(": ")[1].rsplit("/", 1)[-1] for line in lines[:-1]] == [
        "ISIC_1.png", "gone.png", "text.jpg", "thin.png"
    ]  # fmt: skip
    assert "500x1 pixels: nothing is left of the shorter edge" in lines[3]
    assert lines[-1] == (
        "error: 4 of 9 images were not predicted, see above. Mend them, and run it again without --overwrite: only "
        "they are predicted then."
    )
    assert [row["id"] for row in table(tmp_path / "out")] == ["ISIC_0", "ISIC_2", "ISIC_3", "ISIC_4", "more/ISIC_0"]
    assert "predicted 5 images" in printed.out


def test_earlier_outputs_are_replaced_only_when_asked(model, photos, tmp_path, capsys):
    arguments = [str(model), str(photos), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    stamp = (tmp_path / "out" / "ISIC_0_segmentation.png").stat().st_mtime_ns
    assert main(arguments) == 1
    assert "out: 7 of 7 outputs are there already (ISIC_0_segmentation.png, " in capsys.readouterr().err
    assert (tmp_path / "out" / "ISIC_0_segmentation.png").stat().st_mtime_ns == stamp
    assert main([*arguments, "--overwrite"]) == 0
    assert (tmp_path / "out" / "ISIC_0_segmentation.png").stat().st_mtime_ns > stamp


def test_own_outputs_are_no_images(model, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(model), str(photos / "ISIC_0.png"), "--out", str(out), "--overlay", "--probability"]) == 0
    assert main([str(model), str(out), "--out", str(tmp_path / "again")]) == 1
    assert "out: only 5 masks or other files (ISIC_0_overlay.jpg, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["none.png"], "none.png: no such file or folder, expected images. Check the path."),
        (["*.gif"], "*.gif: no images in it, expected files such as <id>.jpg (bmp, "),
        (["empty"], "empty: no images in it, expected"),
        (["ISIC_0.png", "more"], "2 images"),
        (["ISIC_0.png", "more/ISIC_0.JPG"], "more/ISIC_0.JPG: 1 images would have the same outputs as another"),
    ],
)
def test_inputs_that_do_not_do(model, photos, tmp_path, capsys, names, message):
    (photos / "empty").mkdir()
    if message == "2 images":
        cv2.imwrite(str(photos / "more" / "isic_0.png"), draw_pair(0)[0])
    assert main([str(model), *(str(photos / name) for name in names), "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_of_images_is_no_place_for_outputs(model, photos, capsys):
    for out in (photos, photos / "more" / "masks"):
        assert main([str(model), str(photos), "--out", str(out)]) == 1
        assert f"{out}: lies in {photos}, which is searched for images" in capsys.readouterr().err
    assert not (photos / "more" / "masks").exists()
    assert main([str(model), str(photos / "ISIC_0.png"), "--out", str(photos), "--overwrite"]) == 0


def test_outputs_that_cannot_be_written(model, photos, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    assert main([str(model), str(photos), "--out", str(tmp_path / "file")]) == 1
    assert "file: a file, expected a folder" in capsys.readouterr().err

    def refuse(path, *arguments):
        raise PermissionError(13, "Permission denied", str(path.parent))

    monkeypatch.setattr(files_module.os, "open", refuse)
    assert main([str(model), str(photos), "--out", str(tmp_path / "out")]) == 1
    assert "out: Permission denied, expected a path that you may write to. Choose a folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_full_disk_ends_the_run_without_half_a_file(model, photos, tmp_path, capsys, monkeypatch):
    def refuse(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(predict_files, "write_bytes", refuse)
    assert main([str(model), str(photos), "--out", str(tmp_path / "out")]) == 1
    assert "No space left on device, expected free space. Free some space" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_models_that_do_not_do(photos, tmp_path, capsys):
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "weights.pth").touch()
    for model, message in [
        (tmp_path / "none.onnx", "none.onnx: no such model, expected an ONNX file"),
        (tmp_path / "text.onnx", "text.onnx: not a readable ONNX file"),
        (tmp_path / "weights.pth", "weights.pth: a checkpoint alone, expected its config, too. Give CONFIG CHECKPOINT"),
        (
            photos,
            "photos: PNG files and no model.onnx, expected a model. Give an ONNX file, or the folder that tools/ex",
        ),
        (photos, f"; masks are scored by tools/evaluate.py TRUTH {photos}."),
        (without_card(tmp_path / "foreign.onnx"), "foreign.onnx: an ONNX file without this project's metadata"),
    ]:
        assert main([str(model), str(photos), "--out", str(tmp_path / "out")]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["model.onnx", "a.png"],
        ["model.onnx", "--out", "out"],
        ["config.py", "weights.pth", "--out", "out"],
        ["config.py", "a.png", "b.png", "--out", "out"],
        ["config.py", "weights.pth", "a.png", "--out", "out", "--engine", "openvino"],
        ["model.onnx", "a.png", "--out", "out", "--device", "cpu"],
        ["otsu-blue", "a.png", "--out", "out", "--engine", "openvino"],
        ["otsu-blue", "a.png", "--out", "out", "--threads", "2"],
        ["model.onnx", "a.png", "--out", "out", "--batch-size", "0"],
        ["model.onnx", "a.png", "--out", "out", "--min-score", "2"],
    ],
)
def test_wrong_usage(arguments):
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    assert ending.value.code == 2


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small Mask2Former that has learned nothing."""
    import torch

    from lesionseg.engine.config import Options, load_config
    from lesionseg.inference.runtimes.torch_model import build_module

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("torch") / "random.pth"
    torch.save(dict(state_dict=build_module(load_config(Options(MASK2FORMER)), MASK2FORMER).state_dict()), path)
    return path


def test_a_checkpoint_predicts_as_well(checkpoint, photos, tmp_path):
    image = photos / "ISIC_2.png"
    assert main([MASK2FORMER, str(checkpoint), str(image), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    expected = Segmenter(MASK2FORMER, checkpoint, device="cpu").predict(image)
    assert np.array_equal(lesion_pixels(read_mask(tmp_path / "out" / "ISIC_2_segmentation.png")), expected.mask)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there(checkpoint, photos, tmp_path, capsys, device):
    assert main([MASK2FORMER, str(checkpoint), str(photos), "--out", str(tmp_path / "out"), "--device", device]) == 1
    assert f"error: {device}: no such device here (" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_inputs_may_stand_on_both_sides_of_flags(model, photos, tmp_path):
    first, second = str(photos / "ISIC_0.png"), str(photos / "ISIC_1.png")
    assert main([str(model), first, "--out", str(tmp_path / "out"), second]) == 0
    assert len(table(tmp_path / "out")) == 2


BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {names} or top.startswith("mm"):
            if top != "mmap":
                raise ModuleNotFoundError(f"blocked: {{name}}", name=name)

sys.meta_path.insert(0, Block())
sys.argv = ["predict.py", *{arguments}]
import runpy
runpy.run_path({tool!r}, run_name="__main__")
"""


@pytest.mark.parametrize("learned", [True, False])
def test_an_exported_model_needs_numpy_opencv_and_onnxruntime_only(model, photos, tmp_path, learned):
    names = {"torch", "torchvision", "PIL", "matplotlib", "rich", "albumentations", "pycocotools", "scipy", "pandas"}
    names |= {"onnx", "openvino", "tensorboard", "skimage", "sklearn", "tqdm", "yaml"}
    flags = ["--overlay", "--probability", "--heatmap", "--fill-holes", "--largest", "--min-area", "5", "--smooth", "1"]
    if learned:
        flags.append("--tta")
    else:
        names |= {"onnxruntime"}
    arguments = [str(model.parent) if learned else "otsu-blue", str(photos), "--out", str(tmp_path / "out"), *flags]
    code = BLOCKED.format(names=names, arguments=arguments, tool=str(ROOT / "tools/predict.py"))
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(files(tmp_path / "out")) == 25
    assert "predicted 6 images" in done.stdout


def test_ctrl_c_leaves_whole_files_only(model, photos, tmp_path, monkeypatch, capsys):
    segmenter_class = Segmenter.predict_batch
    done = []

    def interrupted(self, images):
        if len(done) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(5)
        done.append(1)
        return segmenter_class(self, images)

    monkeypatch.setattr(Segmenter, "predict_batch", interrupted)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main([str(model), str(photos), "--out", str(tmp_path / "out")]) == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    written = [name for name in files(tmp_path / "out") if not name.startswith("predictions.")]
    assert len(written) == len(table(tmp_path / "out")) <= 3
    assert all(name.endswith("_segmentation.png") for name in written)
    for name in written:
        read_mask(tmp_path / "out" / name)
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []


def test_every_engine_can_be_chosen():
    assert tool.ENGINES == ENGINES


def test_no_negative_numbers(model, photos, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([str(model), str(photos), "--out", str(tmp_path / "out"), "--min-area=-1"])
    assert "argument --min-area: '-1', expected a number from 0" in capsys.readouterr().err
