"""What configs have in common, as functions that they import: what a config sets by them, it sets everywhere.

In MMEngine the variables of a config are not links: a config that changes a length or a data set has to say so in each
place that repeats it. A config with a `_base_` may import these and bind what they give:

    from lesionseg.engine.recipes import schedule

    globals().update(schedule(max_iters=20000, warmup_iters=500, val_interval=1000))
"""

from collections.abc import Sequence
from typing import Any

_SPLITS = ("train", "val", "test")


def schedule(max_iters: int, warmup_iters: int, val_interval: int, start_factor: float = 0.01) -> dict[str, Any]:
    """Train for a number of iterations: linear warm-up, then polynomial decay (power 0.9) to zero.

    Args:
        max_iters: length of the training.
        warmup_iters: of these, how many the learning rate takes to rise to its full height.
        val_interval: iterations between validations; checkpoints are saved as often.
        start_factor: share of the full learning rate that the warm-up begins with.

    Returns:
        top-level settings of a config by name.
    """
    return dict(
        max_iters=max_iters,
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=val_interval),
        val_cfg=dict(type="ValLoop"),
        test_cfg=dict(type="TestLoop"),
        param_scheduler=[
            dict(type="LinearLR", start_factor=start_factor, begin=0, end=warmup_iters, by_epoch=False),
            dict(type="PolyLR", power=0.9, eta_min=0, begin=warmup_iters, end=max_iters, by_epoch=False),
        ],
    )


def loaders(
    batch_size: int | None = None, pipelines: Sequence[Sequence[dict]] | None = None, **dataset: Any
) -> dict[str, Any]:
    """Give the loaders of training, validation and test other data.

    Args:
        batch_size: images in a training step; by default that of the parent.
        pipelines: of training, validation and test; by default those of the parent.
        dataset: settings that the three data sets share, such as `data_root`.

    Returns:
        top-level settings of a config by name; those of `dataset` among them.
    """
    found: dict[str, dict[str, Any]] = {f"{split}_dataloader": dict(dataset=dict(dataset)) for split in _SPLITS}
    if batch_size is not None:
        found["train_dataloader"]["batch_size"] = batch_size
    for split, pipeline in zip(_SPLITS, pipelines or (), strict=False):
        found[f"{split}_dataloader"]["dataset"]["pipeline"] = pipeline
    return dict(dataset, **found)


def small_images(base: Any, edge: int, batch_size: int = 8, num_workers: int = 1) -> dict[str, Any]:
    """Give pipelines and loaders for a short training from scratch, on images of few pixels where there is no GPU.

    Whole lesions and mild colours, but in every direction and at many sizes: few epochs learn no more.

    Args:
        base: the config to change, whose pipelines are those of `configs/_base_/isic2018.py`.
        edge: of the square that is cut out, in pixels; as long as the shorter edge of the images.
        batch_size: of the training.
        num_workers: processes that load what is trained on.

    Returns:
        top-level settings of a config by name.
    """
    crop_size, scale = (edge, edge), (4 * edge, edge)  # (long edge at most, short edge)
    seed, load, load_mask, scale_crop, flip, photometric, pack = base.train_pipeline
    # 4: the border reflects the picture (cv2.BORDER_REFLECT_101).
    affine = dict(type="Affine", scale=(0.75, 1.25), rotate=(-180, 180), border_mode=4, p=0.75)
    train_pipeline = [
        seed,
        dict(load, min_short_edge=edge),
        load_mask,
        dict(scale_crop, scales=[edge], max_size=scale[0], crop_size=crop_size),
        flip,
        dict(type="LesionAlbu", transforms=[affine]),
        dict(photometric, brightness_delta=16, contrast_range=(0.8, 1.2), saturation_range=(0.8, 1.2), hue_delta=6),
        pack,
    ]
    load, resize, *pack = base.test_pipeline
    test_resize = dict(resize, scale=scale)
    test_pipeline = [load, test_resize, *pack]
    load, flips = base.tta_pipeline
    return dict(
        crop_size=crop_size,
        train_pipeline=train_pipeline,
        test_pipeline=test_pipeline,
        tta_pipeline=[load, dict(flips, transforms=[[test_resize], *flips.transforms[1:]])],
        train_dataloader=dict(batch_size=batch_size, num_workers=num_workers, dataset=dict(pipeline=train_pipeline)),
        val_dataloader=dict(num_workers=1, dataset=dict(pipeline=test_pipeline)),
        test_dataloader=dict(num_workers=1, dataset=dict(pipeline=test_pipeline)),
    )


def albumentations(train_pipeline: Sequence[dict]) -> dict[str, Any]:
    """Put stronger augmentation, of Albumentations, in the place of MMSegmentation's or MMDetection's colours.

    Quarter turns, shift, scale and rotation, brightness and contrast, hue and saturation, elastic deformation and
    holes. The flips before it stay. What a hole hides is lesion still.

    Args:
        train_pipeline: one of `configs/_base_`, which ends with flips, colours and packing.

    Returns:
        top-level settings of a config by name.
    """
    *to_flip, _, pack = train_pipeline
    transforms = [
        dict(type="RandomRotate90", p=0.5),
        # Albumentations' ShiftScaleRotate is this one, since its version 2.
        dict(type="Affine", scale=(0.9, 1.1), translate_percent=(-0.0625, 0.0625), rotate=(-45, 45), p=0.5),
        dict(type="RandomBrightnessContrast", brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        dict(type="HueSaturationValue", hue_shift_limit=10, sat_shift_limit=20, val_shift_limit=10, p=0.5),
        dict(type="ElasticTransform", alpha=40, sigma=8, p=0.3),
        # Shares of the image's edges.
        dict(
            type="CoarseDropout",
            num_holes_range=(1, 4),
            hole_height_range=(0.05, 0.15),
            hole_width_range=(0.05, 0.15),
            p=0.3,
        ),
    ]
    pipeline = [*to_flip, dict(type="LesionAlbu", transforms=transforms), pack]
    return dict(train_pipeline=pipeline, train_dataloader=dict(dataset=dict(pipeline=pipeline)))


def mae_backbone(model_name: str, img_size: int, pretraining: str) -> dict[str, Any]:
    """Give a ViT that begins with what a pre-training has learned, in the place of another backbone.

    Args:
        model_name: timm's, such as `vit_small_patch16_224`.
        img_size: see `lesionseg.models.vision_transformer.TIMMVisionTransformer`.
        pretraining: name of a config in `configs/mae`, whose work_dir holds the weights.

    Returns:
        what `model.backbone` takes.
    """
    return dict(
        _delete_=True,
        type="TIMMVisionTransformer",
        model_name=model_name,
        img_size=img_size,
        drop_path_rate=0.1,
        init_cfg=dict(type="Pretrained", checkpoint=f"work_dirs/{pretraining}/ssl_backbone.pth"),
    )


def layer_decay(depth: int, rate: float) -> dict[str, dict[str, float]]:
    """Let each block of a `TIMMVisionTransformer` learn slower than the one above it, and the patches slowest.

    So lower layers keep what a pre-training has taught them, as in BEiT (Bao et al. 2021, arXiv 2106.08254), which has
    the formula, MAE and ViTDet. Normalisation, position embeddings and the class token have no weight decay.

    Args:
        depth: number of blocks.
        rate: what the learning rate is multiplied by from a block to the one below; 1 where nothing was trained before.

    Returns:
        what `paramwise_cfg.custom_keys` takes.
    """
    vit = "backbone.timm_model.model."
    lowest = rate ** (depth + 1)
    keys = {f"{vit}{name}": dict(lr_mult=lowest, decay_mult=0.0) for name in ("cls_token", "pos_embed")}
    keys[f"{vit}patch_embed"] = dict(lr_mult=lowest)
    for block in range(depth):
        # With the full stop, or block 1 would be 10 and 11, too.
        name, lr_mult = f"{vit}blocks.{block}.", rate ** (depth - block)
        keys[name] = dict(lr_mult=lr_mult)
        # The longest key that fits goes first.
        keys[f"{name}norm"] = dict(lr_mult=lr_mult, decay_mult=0.0)
    return keys


def focal_dice(focal_weight: float = 10.0, dice_weight: float = 1.0) -> list[dict[str, Any]]:
    """Give the losses of a head of `lesionseg.models.multi_label`.

    Args:
        focal_weight: of the focal loss. As a mean over pixels most of which are easy, it is some ten times smaller than
            the other.
        dice_weight: of the Dice loss.

    Returns:
        what `loss_decode` takes.
    """
    return [
        dict(type="MultiLabelFocalLoss", loss_weight=focal_weight),
        dict(type="MultiLabelDiceLoss", loss_weight=dice_weight),
    ]


def multi_label(findings: Sequence[str], **dataset: Any) -> dict[str, Any]:
    """Give the loaders of training, validation and test a data set that tells several findings apart.

    Args:
        findings: their names, see `lesionseg.data.datasets.multi_label`.
        dataset: other settings of the data set, such as `data_root`.

    Returns:
        top-level settings of a config by name.
    """
    settings = loaders(type="MultiLabelDataset", findings=tuple(findings), **dataset)
    dataset_type = settings.pop("type")
    return dict(settings, dataset_type=dataset_type)


def pretraining(
    edge: int,
    batch_size: int,
    max_iters: int,
    warmup_iters: int,
    val_interval: int,
    num_workers: int = 4,
    data_root: str = "data/unlabelled",
) -> dict[str, Any]:
    """Pre-train on images without masks: crops of any size and place, turned and flipped; warm-up and cosine decay.

    Args:
        edge: of the square images that the model sees, in pixels.
        batch_size: images in a step.
        max_iters: length of the training.
        warmup_iters: of these, how many the learning rate takes to rise from nothing to its full height.
        val_interval: iterations between validations on held-out images; checkpoints are saved as often.
        num_workers: processes that load images.
        data_root: any folder tree of images.

    Returns:
        top-level settings of a config by name.
    """
    smallest = 0.2  # share of the image; He et al. 2022, appendix A.1
    load = dict(type="LoadLesionImage", min_short_edge=round(edge / smallest**0.5))
    crop = dict(type="RandomResizedCrop", size=(edge, edge), scale=(smallest, 1.0), p=1.0)
    pack = dict(type="mmseg.PackSegInputs", meta_keys=("image_id", "img_path"))
    # A lesion has no up.
    augment = dict(type="LesionAlbu", transforms=[crop, dict(type="SquareSymmetry", p=1.0)])
    train_pipeline = [dict(type="SeedSample"), load, augment, pack]
    resize = dict(type="Resize", scale=(4 * edge, edge), keep_ratio=True, interpolation="area")
    val_pipeline = [load, resize, dict(type="CenterCrop", crop_size=(edge, edge)), pack]
    dataset = dict(type="UnlabelledDataset", data_root=data_root)
    common = dict(batch_size=batch_size, num_workers=num_workers, persistent_workers=True)
    settings = schedule(max_iters, warmup_iters, val_interval, start_factor=1e-6)
    decay = dict(type="CosineAnnealingLR", eta_min=0, begin=warmup_iters, end=max_iters, by_epoch=False)
    settings["param_scheduler"][-1] = decay
    # It finds nothing in images that could be tested.
    del settings["test_cfg"]
    return dict(
        settings,
        data_root=data_root,
        crop_size=(edge, edge),
        train_pipeline=train_pipeline,
        val_pipeline=val_pipeline,
        train_dataloader=dict(
            common,
            sampler=dict(type="SeededInfiniteSampler"),
            dataset=dict(dataset, pipeline=train_pipeline),
        ),
        val_dataloader=dict(
            common,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dict(dataset, held_out=True, pipeline=val_pipeline),
        ),
        auto_scale_lr=dict(base_batch_size=batch_size),
    )
