"""What is meant where only the work_dir of a training, or a split, is named."""

import pytest
from helpers import MASK2FORMER, ROOT, load_tool
from mmengine.config import Config

from lesionseg.engine.config import Options, load_config
from lesionseg.engine.work_dir import chosen_checkpoint, config_path
from lesionseg.errors import DataError

MASK_RCNN = ROOT / "configs/mask_rcnn/mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160.py"


def work_dir(folder, *names):
    for name in names:
        (folder / name).touch()
    return folder


def test_a_work_dir_means_its_config_and_results_go_there(tmp_path):
    folder = work_dir(tmp_path, "mine.py", "iter_2.pth")
    options = Options(str(folder))
    assert (options.config, options.work_dir) == (str(folder / "mine.py"), str(folder))
    assert Options(str(folder), work_dir="elsewhere").work_dir == "elsewhere"


@pytest.mark.parametrize(("configs", "held"), [((), "no config"), (("a.py", "b.py"), r"2 configs \(a\.py, b\.py\)")])
def test_a_folder_that_is_no_work_dir_is_told(tmp_path, configs, held):
    folder = work_dir(tmp_path, *configs)
    assert config_path(str(folder)) == str(folder)
    with pytest.raises(DataError, match=f"a folder with {held}, expected the work_dir of a training"):
        Options(str(folder)).check_path()


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        (("iter_9.pth", "iter_10.pth"), "iter_10.pth"),
        (("iter_10.pth", "best_lesion_jaccard_iter_5.pth"), "best_lesion_jaccard_iter_5.pth"),
        (("best_coco_segm_mAP_iter_5.pth", "best_coco_segm_mAP_iter_20.pth"), "best_coco_segm_mAP_iter_20.pth"),
    ],
)
def test_the_best_checkpoint_is_meant_or_else_the_last(tmp_path, names, meant):
    assert chosen_checkpoint(work_dir(tmp_path, *names)) == str(tmp_path / meant)


def test_a_work_dir_without_checkpoints_is_told(tmp_path):
    folder = work_dir(tmp_path, "mine.py", "last_checkpoint")
    with pytest.raises(DataError, match=r"no checkpoint, expected best_<score>_iter_<number>\.pth"):
        chosen_checkpoint(folder)


@pytest.mark.parametrize("tool", ["test", "export"])
def test_a_config_alone_is_wrong_usage(tool, capsys):
    with pytest.raises(SystemExit) as ending:
        load_tool(tool).main([MASK2FORMER, *(["--out", "out"] if tool == "export" else [])])
    assert ending.value.code == 2
    assert "a config is followed by" in capsys.readouterr().err


def test_another_split_is_tested():
    dataset = load_config(Options(MASK2FORMER, split="validation")).test_dataloader.dataset
    assert dataset.data_prefix == dict(img_path="images/validation", seg_map_path="annotations/validation")
    cfg = load_config(Options(str(MASK_RCNN), split="validation"))
    assert cfg.test_dataloader.dataset.data_prefix == dict(img="images/validation", seg="annotations/validation")
    assert cfg.test_dataloader.dataset.ann_file == "annotations/instances_validation.json"
    assert cfg.test_evaluator[0].ann_file.endswith("annotations/instances_validation.json")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(), "data/ISIC/annotations/instances_test.json"),
        (dict(split="validation"), "data/ISIC/annotations/instances_validation.json"),
        (dict(cfg_options=["data_root=data/OTHER"]), "data/OTHER/annotations/instances_test.json"),
        (dict(cfg_options=["test_dataloader.dataset.ann_file=mine.json"]), "data/ISIC/mine.json"),
        (dict(cfg_options=["test_evaluator.0.ann_file=mine.json"]), "mine.json"),
    ],
)
def test_the_config_of_a_work_dir_is_scored_by_the_file_that_is_tested(tmp_path, options, expected):
    # Where the file was filled in when the training began.
    path = tmp_path / "config.py"
    path.write_text(load_config(Options(str(MASK_RCNN))).pretty_text)
    assert "instances_test.json" in Config.fromfile(str(path)).test_evaluator[0].ann_file
    assert load_config(Options(str(path), **options)).test_evaluator[0].ann_file == expected


def test_a_split_needs_folders_that_are_named_after_it():
    options = Options(MASK2FORMER, cfg_options=["test_dataloader.dataset.data_prefix.img_path="], split="validation")
    with pytest.raises(DataError, match="expected images/<split>"):
        load_config(options)
