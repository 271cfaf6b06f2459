import pytest
from helpers import ROOT
from mmengine.config import Config

from lesionseg.engine.recipes import loaders, schedule


def test_a_schedule_ends_with_its_training():
    found = schedule(max_iters=120, warmup_iters=20, val_interval=40, start_factor=0.1)
    warm_up, decay = found["param_scheduler"]
    assert (warm_up["begin"], warm_up["end"], warm_up["start_factor"]) == (0, 20, 0.1)
    assert (decay["begin"], decay["end"]) == (20, 120)
    assert found["train_cfg"] == dict(type="IterBasedTrainLoop", max_iters=120, val_interval=40)


def test_loaders_share_a_data_set_and_keep_what_is_not_named():
    found = loaders(data_root="data/mine")
    assert found["data_root"] == "data/mine"
    for split in ("train", "val", "test"):
        assert found[f"{split}_dataloader"] == dict(dataset=dict(data_root="data/mine"))
    found = loaders(4, ([1], [2], [3]))
    assert found["train_dataloader"] == dict(batch_size=4, dataset=dict(pipeline=[1]))
    assert found["test_dataloader"] == dict(dataset=dict(pipeline=[3]))


@pytest.mark.parametrize(
    ("family", "leaf"),
    [
        ("isic2018", "mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py"),
        ("isic2018", "mmseg::unet/unet-s5-d16_fcn_4xb4-160k_cityscapes-512x1024.py"),
        ("isic2018_instances", "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"),
    ],
)
def test_any_config_of_upstream_takes_the_data_in_a_few_lines(family, leaf, tmp_path):
    (tmp_path / "new.py").write_text(
        f"_base_ = ['{leaf}', '{ROOT}/configs/_base_/{family}.py']\n"
        "from lesionseg.engine.recipes import schedule\n"
        "globals().update(_base_.isic)\n"
        "globals().update(schedule(max_iters=100, warmup_iters=10, val_interval=50))\n"
    )
    cfg = Config.fromfile(tmp_path / "new.py")
    assert cfg.train_dataloader.dataset.data_root == cfg.test_dataloader.dataset.data_root == "data/ISIC"
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters == 100
    assert cfg.default_hooks.checkpoint.type == "ValidatedCheckpointHook"
    assert [metric.type for metric in cfg.test_evaluator][-1] == "LesionMetric"
