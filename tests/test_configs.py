"""Holds every config to what its name and its parts promise."""

import re

import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import MODELS

import lesionseg.openmmlab  # noqa: F401

CONFIGS = sorted((ROOT / "configs").glob("[!_]*/*.py"))
NAME = re.compile(
    r"(?P<algorithm>[a-z0-9-]+)_(?P<backbone>[a-z0-9-]+)_(?P<gpus>\d+)xb(?P<batch>\d+)-"
    r"(?P<changes>([a-z]+-)*)(?P<length>\d+)(?P<unit>k|i)_(?P<data>[a-z0-9]+)-(?P<height>\d+)x(?P<width>\d+)"
)


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def cfg(path):
    return Config.fromfile(path)


def test_there_are_configs():
    assert len(CONFIGS) >= 9


def test_name_agrees_with_contents(path, cfg):
    name = NAME.fullmatch(path.stem)
    assert name, f"{path.stem} does not follow the naming rule"
    assert path.parent.name == name["algorithm"]
    assert int(name["batch"]) == cfg.train_dataloader.batch_size
    assert int(name["gpus"]) * int(name["batch"]) == cfg.auto_scale_lr.base_batch_size
    assert int(name["length"]) * {"k": 1000, "i": 1}[name["unit"]] == cfg.train_cfg.max_iters
    assert (int(name["height"]), int(name["width"])) == tuple(cfg.crop_size)
    assert f"depth={cfg.model.backbone.get('depth')}" == f"depth={_depth(name['backbone'])}"
    assert ("scratch" in name["changes"]) <= (cfg.load_from is None)
    assert ("ema" in name["changes"]) == any(hook.type == "EMAHook" for hook in cfg.custom_hooks)
    assert ("earlystop" in name["changes"]) == any(hook.type == "EarlyStoppingHook" for hook in cfg.custom_hooks)
    assert ("albu" in name["changes"]) == any(step.type == "LesionAlbu" for step in cfg.train_pipeline)


def _depth(backbone):
    found = re.match(r"r(\d+)", backbone)
    return int(found[1]) if found else None


def test_sizes_and_schedule_agree_everywhere(cfg):
    crops = [step.crop_size for step in cfg.train_dataloader.dataset.pipeline if step.type == "RandomCrop"]
    assert [tuple(crop) for crop in crops] == [tuple(cfg.crop_size)]
    assert tuple(cfg.model.data_preprocessor.size) == tuple(cfg.crop_size)
    assert tuple(cfg.data_preprocessor.size) == tuple(cfg.crop_size)
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters == cfg.max_iters
    assert all(a.end == b.begin for a, b in zip(cfg.param_scheduler, cfg.param_scheduler[1:], strict=False))
    assert cfg.train_cfg.max_iters % cfg.train_cfg.val_interval == 0
    assert cfg.default_hooks.checkpoint.interval == cfg.train_cfg.val_interval
    assert cfg.train_pipeline == cfg.train_dataloader.dataset.pipeline
    assert cfg.test_pipeline == cfg.val_dataloader.dataset.pipeline == cfg.test_dataloader.dataset.pipeline
    resize = next(step for step in cfg.test_pipeline if step.type == "Resize")
    assert min(resize.scale) == min(cfg.crop_size)
    assert resize in cfg.tta_pipeline[1].transforms[0]


def test_images_are_decoded_no_smaller_than_they_are_used(cfg):
    load = next(step for step in cfg.train_pipeline if step.type == "LoadLesionImage")
    resize = next(step for step in cfg.train_pipeline if step.type == "RandomChoiceResize")
    assert load.min_short_edge == max(resize.scales)
    assert min(resize.scales) >= min(cfg.crop_size)


def test_scores_are_on_original_pixels(cfg):
    steps = [step.type for step in cfg.test_pipeline]
    assert steps.index("LoadLesionMask") > steps.index("Resize")
    assert "min_short_edge" not in cfg.test_pipeline[0]
    assert cfg.val_evaluator == cfg.test_evaluator == [dict(type="LesionMetric")]


def test_splits_are_three(cfg):
    prefixes = [cfg[f"{split}_dataloader"].dataset.data_prefix for split in ("train", "val", "test")]
    assert [prefix.img_path for prefix in prefixes] == ["images/training", "images/validation", "images/test"]
    assert [p.seg_map_path for p in prefixes] == [p.img_path.replace("images", "annotations") for p in prefixes]
    roots = {cfg[f"{split}_dataloader"].dataset.data_root for split in ("train", "val", "test")}
    assert roots == {cfg.data_root}


def test_two_classes_with_their_weights(cfg):
    head = cfg.model.decode_head
    assert head.num_classes == 2
    # The last weight is that of queries that match nothing.
    assert head.loss_cls.class_weight == [1.0, 1.0, 0.1]


def test_nothing_is_left_of_other_data_sets(cfg):
    text = re.sub(r"load_from = .*", "", cfg.pretty_text)
    assert not re.search(r"cityscapes|coco|ade20k|2048, 1024|reduce_zero_label", text, re.IGNORECASE)


def test_model_and_loaders_build_and_take_a_batch(cfg, isic_folder):
    init_default_scope("mmseg")
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    for split in ("train", "val", "test"):
        settings = cfg[f"{split}_dataloader"]
        settings.dataset.data_root = str(isic_folder)
        settings.update(num_workers=0, persistent_workers=False)
        loader = Runner.build_dataloader(settings, seed=0)
        batch = next(iter(loader))
        data = model.data_preprocessor(batch, training=split == "train")
        assert data["inputs"].shape[0] == settings.batch_size
        if split == "train":
            assert tuple(data["inputs"].shape[2:]) == tuple(cfg.crop_size)
            labels = torch.cat([sample.gt_sem_seg.data.flatten() for sample in data["data_samples"]])
            assert set(labels.unique().tolist()) == {0, 1}
