"""The examples in the docstrings of the Python interface are true."""

import shutil
from doctest import DocTestFinder, DocTestRunner
from importlib import import_module

import cv2
import pytest
from drawn_models import semantic_model
from helpers import ROOT, draw_pair

# Upstream prints when it is imported first.
import lesionseg.openmmlab  # noqa: F401
from lesionseg.data.coco.convert import masks_to_coco
from lesionseg.evaluation.report import write_report
from lesionseg.evaluation.results import ImageResult
from lesionseg.evaluation.scores import Confusion

EXAMPLES = (
    "data.coco.convert.coco_to_masks",
    "data.coco.convert.masks_to_coco",
    "data.phantoms.phantom.draw_phantom",
    "data.release.convert.convert",
    "data.release.layouts.isic.find_release",
    "data.release.layouts.marked.find_marked",
    "data.release.layouts.pairs.find_pairs",
    "engine.config.Options",
    "engine.config.load_config",
    "evaluation.compare.compare",
    "evaluation.compare.read_tests",
    "evaluation.scores.Confusion",
    "evaluation.scores.lesion_scores",
    "evaluation.scores.per_image_scores",
    "inference.opening.open_finder",
    "inference.postprocess.PostProcessing",
    "inference.segmenter.Segmenter",
    "pixels.marking.difference",
)
# They take a training.
NOT_RUN = ("commands.test.evaluate", "commands.train.train")


def find(name):
    module, _, item = name.rpartition(".")
    module = import_module(f"lesionseg.{module}")
    (example,) = DocTestFinder(recurse=False).find(getattr(module, item), name, module=module)
    return example


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder that examples run in."""
    trees = {
        "data/raw/mine": ("photos", "a.jpg", "b.jpg", "outlines", "a_lesion.png", "b_lesion.png"),
        "data/raw/isic": (
            "ISIC2018_Task1-2_Training_Input",
            "ISIC_0000000.jpg",
            "ISIC_0000001.jpg",
            "ISIC2018_Task1_Training_GroundTruth",
            "ISIC_0000000_segmentation.png",
            "ISIC_0000001_segmentation.png",
        ),
        "data/MINE": ("images/training", "a.jpg", "b.jpg", "annotations/training", "a.png", "b.png"),
    }
    for root, (images, *image_names, masks, first_mask, second_mask) in trees.items():
        for kind, names in ((images, image_names), (masks, (first_mask, second_mask))):
            (tmp_path / root / kind).mkdir(parents=True)
            for number, name in enumerate(names):
                cv2.imwrite(str(tmp_path / root / kind / name), draw_pair(number)[kind == masks])
    (tmp_path / "data/raw/marked").mkdir()
    for name in ("0001_org_acne.jpg", "0001_39_acne.jpg"):
        (tmp_path / "data/raw/marked" / name).touch()
    masks_to_coco(tmp_path / "data/MINE")
    shutil.move(tmp_path / "data/MINE/annotations/instances_training.json", tmp_path / "annotated.json")
    shutil.copy(tmp_path / "data/MINE/images/training/a.jpg", tmp_path)
    semantic_model(tmp_path / "model.onnx")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for name in ("contact_sheet", "jaccard_plot"):
        monkeypatch.setattr(f"lesionseg.evaluation.report.{name}", lambda table: b"")
    facts = dict(config="m.py", checkpoint="m.pth", checkpoint_sha256="0" * 64, dataset_sha256="1" * 64)
    for name, found in (("first", 4), ("second", 5)):  # Jaccard 4/8 and 5/8
        counts = Confusion(tp=found, tn=12, fp=0, fn=8 - found)
        write_report(tmp_path / "work_dirs" / name, [ImageResult("a", "a.jpg", "a.png", counts, {})], facts)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_is_true(name):
    example = find(name)
    assert example.examples
    assert DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize("name", NOT_RUN)
def test_there_is_an_example(name):
    assert find(name).examples
