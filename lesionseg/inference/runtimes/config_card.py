"""What a config says of its model, as a card."""

import hashlib
from importlib.metadata import version
from os import PathLike
from pathlib import Path

from mmdet.models.dense_heads import MaskFormerHead
from mmengine.config import Config
from mmseg.models.segmentors import EncoderDecoder
from torch import nn

from lesionseg import __version__
from lesionseg.engine.config import config_text, evaluators, is_metric, resizing_step
from lesionseg.engine.families import INSTANCES, SEMANTIC, family_of
from lesionseg.errors import DataError
from lesionseg.files import file_sha256
from lesionseg.inference.quality import read_quality
from lesionseg.inference.runtimes.model_card import LOGITS, MASK_SCORES, MASK_THRESHOLD, SIGMOID, ModelCard
from lesionseg.models.multi_label import MultiLabelEncoderDecoder
from lesionseg.pixels.instances import BEST, UNION

BACKGROUND = "background"
_VERSIONS_OF = ("torch", "onedl-mmengine", "onedl-mmcv", "onedl-mmsegmentation", "onedl-mmdetection")


def make_card(cfg: Config, module: nn.Module, config: str, checkpoint: str | PathLike) -> ModelCard:
    """Collect what a user of the model has to know from its config.

    Raises:
        DataError: images are resized or padded, or masks thresholded, in a way that a card cannot tell; or a value is
            one that no model can have.
    """
    card = _collect(cfg, module, config, checkpoint)
    if faults := card.faults():
        raise DataError(
            *(f"{config}: {fact}, expected {expected}. Correct it in the config." for fact, expected in faults)
        )
    return card


def _collect(cfg: Config, module: nn.Module, config: str, checkpoint: str | PathLike) -> ModelCard:
    preprocessor = module.data_preprocessor
    if padding := getattr(preprocessor, "pad_val", preprocessor.pad_value):
        raise DataError(f"{config}: images are padded with {padding}, expected 0. Set it in model.data_preprocessor.")
    resize = resizing_step(cfg, config)
    sha256 = file_sha256(checkpoint)
    common = dict(
        classes=_classes(cfg),
        mean=tuple(cfg.model.data_preprocessor.mean),
        std=tuple(cfg.model.data_preprocessor.std),
        channel_order="RGB" if preprocessor._channel_conversion else "BGR",
        scale=tuple(resize.scale),
        interpolation=resize.get("interpolation", "bilinear"),
        config=Path(config).name,
        config_sha256=hashlib.sha256(config_text(cfg).encode()).hexdigest(),
        checkpoint=Path(checkpoint).name,
        checkpoint_sha256=sha256,
        quality=read_quality(checkpoint, sha256),
        versions={"lesionseg": __version__} | {name: version(name) for name in _VERSIONS_OF},
    )
    if isinstance(module, EncoderDecoder):
        score_rule = semantic_rule(module)
        if score_rule == SIGMOID:
            # Of a data set with a mask an image.
            common["classes"] = tuple(name for name in common["classes"] if name != BACKGROUND)
        return ModelCard(
            task=SEMANTIC,
            size_divisor=(preprocessor.test_cfg or {}).get("size_divisor", 1),
            score_rule=score_rule,
            **common,
        )
    threshold = module.roi_head.test_cfg.mask_thr_binary
    if threshold != MASK_THRESHOLD:
        raise DataError(
            f"{config}: mask_thr_binary={threshold}, expected {MASK_THRESHOLD}. Set it in model.test_cfg.rcnn."
        )
    metric = next((settings for settings in evaluators(cfg, "test") if is_metric(settings, "LesionMetric")), {})
    rule = metric.get("instances", UNION)
    return ModelCard(
        task=INSTANCES,
        size_divisor=preprocessor.pad_size_divisor,
        # "best" looks at the truth.
        score_rule=UNION if rule == BEST else rule,
        min_score=metric.get("min_score", 0.5),
        **common,
    )


def semantic_rule(module: EncoderDecoder) -> str:
    """What the outputs of a segmentor are; see `ModelCard`."""
    if isinstance(module, MultiLabelEncoderDecoder):
        return SIGMOID
    return MASK_SCORES if isinstance(module.decode_head, MaskFormerHead) else LOGITS


def _classes(cfg: Config) -> tuple[str, ...]:
    dataset = cfg.test_dataloader.dataset
    known = family_of(cfg).registry.DATASETS.get(dataset.type)
    if known is None:
        raise DataError(
            f"{cfg.filename}: no data set {dataset.type} is registered, expected one. Add custom_imports = "
            "dict(imports=['lesionseg.openmmlab']) to the config."
        )
    metainfo = {**known.METAINFO, **dataset.get("metainfo", {})}
    return tuple(dataset.get("findings") or metainfo["classes"])
