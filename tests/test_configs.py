"""Holds every config to what its name and its parts promise."""

import re
import shutil
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
from helpers import ROOT
from mmdet.registry import MODELS as INSTANCE_MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import MODELS as SEMANTIC_MODELS

import lesionseg.openmmlab  # noqa: F401
from lesionseg.data.datasets.instances import LesionCocoDataset
from lesionseg.engine.families import family_of

CONFIGS = sorted(path for path in (ROOT / "configs").glob("[!_]*/*.py") if path.parent.name != "deploy")
NAME = re.compile(
    r"(?P<algorithm>[a-z0-9-]+)_(?P<backbone>[a-z0-9-]+)(_(?P<neck>fpn))?_(?P<gpus>\d+)xb(?P<batch>\d+)-"
    r"(?P<changes>([a-z]+-)*)(?P<length>\d+)(?P<unit>k|i|x)_(?P<data>[a-z0-9]+)-(?P<height>\d+)x(?P<width>\d+)"
)


@cache
def loaded(path):
    return Config.fromfile(path)


def of_scope(scope):
    return [path for path in CONFIGS if loaded(path).default_scope == scope]


def config_fixture(paths):
    @pytest.fixture(params=paths, ids=lambda path: path.stem)
    def load(request):
        return deepcopy(loaded(request.param))

    return load


semantic = config_fixture(of_scope("mmseg"))
instances = config_fixture(of_scope("mmdet"))
cfg = config_fixture(of_scope("mmseg") + of_scope("mmdet"))
pretraining = config_fixture(of_scope("mmengine"))


def test_there_are_configs():
    assert len(of_scope("mmseg")) >= 21
    assert len(of_scope("mmdet")) >= 11
    assert len(of_scope("mmengine")) >= 3
    assert len(of_scope("mmseg")) + len(of_scope("mmdet")) + len(of_scope("mmengine")) == len(CONFIGS)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_name_agrees_with_contents(path):
    cfg, name = loaded(path), NAME.fullmatch(path.stem)
    assert name, f"{path.stem} does not follow the naming rule"
    assert path.parent.name == name["algorithm"].replace("-", "_")
    assert int(name["batch"]) == cfg.train_dataloader.batch_size
    assert int(name["gpus"]) * int(name["batch"]) == cfg.auto_scale_lr.base_batch_size
    # 1x is 12 epochs.
    length = {"k": 1000, "i": 1, "x": 12 * cfg.get("epoch", 0)}[name["unit"]]
    assert int(name["length"]) * length == cfg.train_cfg.max_iters
    assert (int(name["height"]), int(name["width"])) == _size(cfg)
    backbone = cfg.model.get("backbone", {})
    assert f"depth={backbone.get('depth')}" == f"depth={_depth(name['backbone'])}"
    necks = cfg.model.get("neck") or []
    types = [neck.type.rpartition(".")[2] for neck in (necks if isinstance(necks, list) else [necks])]
    # Makes the maps of a ViT those that other backbones give; a pre-training needs none.
    assert ("Feature2Pyramid" in types) == (name["backbone"].startswith("vit-") and name["algorithm"] != "mae")
    assert [each.lower() for each in types if each != "Feature2Pyramid"] == ([name["neck"]] if name["neck"] else [])
    assert ("caffe" in name["backbone"]) == (backbone.get("style") == "caffe")
    hooks = {hook.type for hook in cfg.custom_hooks}
    steps = [step.type for step in cfg.train_pipeline]
    for change, has in {
        "ema": "EMAHook" in hooks,
        "earlystop": "EarlyStoppingHook" in hooks,
        "twostage": "TrainingStagesHook" in hooks,
        "albu": "LesionAlbu" in steps and name["algorithm"] != "mae",
        "amp": cfg.optim_wrapper.type == "AmpOptimWrapper",
    }.items():
        assert (change in name["changes"]) == has, change
    assert ("scratch" in name["changes"]) <= (cfg.load_from is None)
    # What a pre-training without labels has learned.
    begins_with = (backbone.get("init_cfg") or {}).get("checkpoint", "")
    assert name["backbone"].endswith("-mae") == begins_with.endswith("ssl_backbone.pth")


def _size(cfg):
    """What a name says of the size: the crop's, or how short and how long an image's edges are at most."""
    if "crop_size" in cfg:
        return tuple(cfg.crop_size)
    width, height = cfg.scale
    # Such a wide limit only keeps odd pictures from filling the memory.
    return (height, height) if width >= 4 * height else (height, width)


def _depth(backbone):
    found = re.match(r"r(\d+)", backbone)
    return int(found[1]) if found else None


def test_schedule_and_pipelines_agree_everywhere(cfg):
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters == cfg.max_iters
    assert all(a.end == b.begin for a, b in zip(cfg.param_scheduler, cfg.param_scheduler[1:], strict=False))
    assert cfg.train_cfg.max_iters % cfg.train_cfg.val_interval == 0
    # As often as the training validates.
    assert cfg.default_hooks.checkpoint.interval is None
    assert cfg.train_pipeline == cfg.train_dataloader.dataset.pipeline
    assert cfg.test_pipeline == cfg.test_dataloader.dataset.pipeline
    # The validation's loss of a detector needs its instances, too.
    validation = cfg.val_dataloader.dataset.pipeline
    assert cfg.get("val_pipeline", cfg.test_pipeline) == validation
    assert [step for step in validation if step.type != "LoadAnnotations"] == cfg.test_pipeline


def test_sizes_agree_everywhere(semantic):
    cfg = semantic
    crops = [step.crop_size for step in cfg.train_dataloader.dataset.pipeline if step.type == "RandomScaleCrop"]
    assert [tuple(crop) for crop in crops] == [tuple(cfg.crop_size)]
    assert tuple(cfg.model.data_preprocessor.size) == tuple(cfg.crop_size)
    assert tuple(cfg.data_preprocessor.size) == tuple(cfg.crop_size)
    resize = next(step for step in cfg.test_pipeline if step.type == "Resize")
    assert min(resize.scale) == min(cfg.crop_size)
    assert resize in cfg.tta_pipeline[1].transforms[0]


def test_copies_are_flipped_as_in_training(semantic):
    flips = [step for step in semantic.tta_pipeline[1].transforms[1] if step.prob]
    trained = next(step for step in semantic.train_pipeline if step.type == "RandomFlip")
    assert [flip.direction for flip in flips] == trained.direction
    # MMSegmentation's own cannot take back a diagonal one.
    assert semantic.tta_model.type == "FlipTTAModel"


def test_images_are_decoded_no_smaller_than_they_are_used(semantic):
    load = next(step for step in semantic.train_pipeline if step.type == "LoadLesionImage")
    crop = next(step for step in semantic.train_pipeline if step.type == "RandomScaleCrop")
    assert load.min_short_edge == max(crop.scales)
    assert min(crop.scales) >= min(semantic.crop_size)


def test_scores_are_on_original_pixels(cfg):
    steps = [step.type for step in cfg.test_pipeline]
    assert steps.index("LoadLesionMask") > steps.index("Resize")
    assert "min_short_edge" not in cfg.test_pipeline[0]
    # What is scored against is read from its file.
    assert dict(type="LoadLesionMask") in cfg.test_pipeline
    assert cfg.val_evaluator == cfg.test_evaluator


def test_masks_are_scored(semantic):
    assert semantic.val_evaluator == [dict(type="LesionMetric")]
    assert dict(type="LoadLesionMask", cached=True) in semantic.train_pipeline


def test_splits_are_three(cfg):
    datasets = [cfg[f"{split}_dataloader"].dataset for split in ("train", "val", "test")]
    assert {dataset.data_root for dataset in datasets} == {cfg.data_root}
    for dataset, split in zip(datasets, ("training", "validation", "test"), strict=True):
        expected = (f"images/{split}", f"annotations/{split}")
        if cfg.default_scope == "mmseg":
            assert (dataset.data_prefix.img_path, dataset.data_prefix.seg_map_path) == expected
        else:
            assert dataset.ann_file == f"annotations/instances_{split}.json"
            assert dataset.data_prefix.img == expected[0]
            assert dataset.data_prefix.get("seg") == (None if split == "training" else expected[1])


def test_classes_are_those_of_the_data_with_their_weights(semantic):
    head = semantic.model.decode_head
    if semantic.model.type == "MultiLabelEncoderDecoder":
        assert head.num_classes == semantic.num_classes == len(semantic.train_dataloader.dataset.get("findings", [1]))
        assert [loss.type for loss in head.loss_decode] == ["MultiLabelFocalLoss", "MultiLabelDiceLoss"]
        return
    assert head.num_classes == 2
    if "loss_cls" in head:
        # The last weight is that of queries that match nothing.
        assert head.loss_cls.class_weight == [1.0, 1.0, 0.1]


def test_nothing_is_left_of_other_data_sets(cfg):
    text = re.sub(r"load_from = .*|\w*Coco\w*|coco/segm_mAP", "", cfg.pretty_text)
    assert not re.search(r"cityscapes|coco|ade20k|2048, 1024|reduce_zero_label", text, re.IGNORECASE)


def test_instances_are_of_one_class_with_exact_masks(instances):
    class_name = "nail" if "nails" in instances.data_root else "lesion"
    for split in ("train", "val", "test"):
        dataset = instances[f"{split}_dataloader"].dataset
        # What the data set says of itself, unless the config says otherwise.
        assert dataset.get("metainfo", LesionCocoDataset.METAINFO)["classes"] == (class_name,)
        # RLE needs poly2mask, which is its default; some of MMDetection's bases switch it off.
        annotations = [step for step in dataset.pipeline if step.type == "LoadAnnotations"]
        expected = [dict(type="LoadAnnotations", with_bbox=True, with_mask=True)]
        assert annotations == ([] if split == "test" else expected)
    assert instances.model.roi_head.bbox_head.num_classes == instances.model.roi_head.mask_head.num_classes == 1
    # A hundred masks of the largest image, MMDetection's default, take a gigabyte.
    assert instances.model.test_cfg.rcnn.max_per_img <= 30
    coco, lesion = instances.val_evaluator
    assert coco == dict(type="LesionCocoMetric", metric=["bbox", "segm"])
    assert lesion == dict(type="LesionMetric", instances="union")


def test_preprocessors_are_one_and_that_of_the_weights(cfg):
    preprocessor = cfg.model.data_preprocessor
    named = cfg.get("data_preprocessor", preprocessor)
    assert (named.mean, named.std) == (preprocessor.mean, preprocessor.std)
    if cfg.model.get("backbone", {}).get("imagenet_weights"):
        assert preprocessor.mean == preprocessor.std == [127.5] * 3
        assert preprocessor.get("pad_size_divisor", 32) == preprocessor.get("test_cfg", {}).get("size_divisor", 32)


def test_frozen_layers_keep_their_statistics(instances):
    backbone = instances.model.backbone
    if instances.load_from is None and backbone.type == "ResNet":
        assert (backbone.frozen_stages, backbone.norm_eval) == (-1, False)


def _batches(cfg, folder):
    """Build the three loaders on drawn data, and take a batch of each."""
    for split in ("train", "val", "test"):
        settings = cfg[f"{split}_dataloader"]
        settings.dataset.data_root = str(folder)
        settings.update(num_workers=0, persistent_workers=False)
        yield split, settings.batch_size, next(iter(Runner.build_dataloader(settings, seed=0)))


@pytest.fixture(scope="module")
def skin_types(isic_folder, tmp_path_factory):
    """A folder with three findings, of which each image has a mask of one."""
    root = tmp_path_factory.mktemp("data") / "skin_types"
    shutil.copytree(isic_folder / "images", root / "images")
    for path in (isic_folder / "annotations").glob("*/*.png"):
        for number, finding in enumerate(("acne", "hemo", "mela")):
            folder = root / "annotations" / path.parent.name / finding
            folder.mkdir(parents=True, exist_ok=True)
            if int(path.stem[-1]) % 3 == number:
                shutil.copy(path, folder)
    return root


def test_semantic_model_and_loaders_build_and_take_a_batch(semantic, isic_folder, skin_types):
    init_default_scope("mmseg")
    model = revert_sync_batchnorm(SEMANTIC_MODELS.build(semantic.model))
    findings = semantic.train_dataloader.dataset.get("findings", ["lesion"])
    for split, size, batch in _batches(semantic, isic_folder if len(findings) == 1 else skin_types):
        data = model.data_preprocessor(batch, training=split == "train")
        assert data["inputs"].shape[0] == size
        if split == "train":
            assert tuple(data["inputs"].shape[2:]) == tuple(semantic.crop_size)
            labels = torch.cat([sample.gt_sem_seg.data.flatten() for sample in data["data_samples"]])
            assert set(labels.unique().tolist()) == {0, *(2**number for number in range(len(findings)))}


def test_instance_model_and_loaders_build_and_take_a_batch(instances, coco_folder):
    init_default_scope("mmdet")
    model = INSTANCE_MODELS.build(instances.model)
    for split in ("train", "val", "test"):
        instances[f"{split}_dataloader"].dataset.pop("metainfo", None)
    for split, size, batch in _batches(instances, coco_folder):
        data = model.data_preprocessor(batch, training=split == "train")
        assert data["inputs"].shape[0] == size
        if split == "test":
            continue
        for image, sample in zip(data["inputs"], data["data_samples"], strict=True):
            truth = sample.gt_instances
            assert truth.labels.tolist() == [0]
            # Masks are padded together with their batch for training only.
            assert truth.masks.masks.shape == (1, *(image.shape[1:] if split == "train" else sample.img_shape))
            rows, columns = np.nonzero(truth.masks.masks[0])
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            # Box and mask are resized apart.
            np.testing.assert_allclose(truth.bboxes.numpy()[0], box, atol=max(image.shape) / 60)


@pytest.mark.parametrize("name", ["segformer_mit-b0_1xb8-10k_isic2018", "mask2former_vit-s-mae"])
def test_a_new_family_takes_few_lines_and_predicts(name, coco_folder):
    (path,) = (path for path in CONFIGS if path.stem.startswith(name))
    assert len([line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]) <= 15
    cfg = deepcopy(loaded(path))
    init_default_scope(cfg.default_scope)
    model = revert_sync_batchnorm(family_of(cfg).registry.MODELS.build(cfg.model)).eval()
    *_, (_, _, batch) = _batches(cfg, coco_folder)
    with torch.no_grad():
        (found,) = model.test_step(batch)
    # On original pixels, whatever the model worked on.
    masks = found.pred_sem_seg.data if "pred_sem_seg" in found else found.pred_instances.masks
    assert masks.shape[1:] == found.ori_shape == (72, 96)


def test_a_pretraining_sees_what_its_model_takes(pretraining, isic_folder):
    cfg = pretraining
    edge = cfg.model.image_size
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters == cfg.max_iters
    assert cfg.train_cfg.max_iters % cfg.train_cfg.val_interval == 0
    assert cfg.default_hooks.checkpoint.interval is None
    assert cfg.model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    init_default_scope("mmengine")
    names = []
    for split in ("train", "val"):
        settings = cfg[f"{split}_dataloader"]
        settings.dataset.update(data_root=str(isic_folder / "images"), held_out_share=0.3)
        settings.update(num_workers=0, persistent_workers=False, batch_size=2)
        loader = Runner.build_dataloader(settings, seed=0)
        assert next(iter(loader))["inputs"][0].shape == (3, edge, edge)
        names.append({sample["image_id"] for sample in map(loader.dataset.get_data_info, range(len(loader.dataset)))})
    assert [len(part) for part in names] == [10, 4]
    assert not names[0] & names[1]
