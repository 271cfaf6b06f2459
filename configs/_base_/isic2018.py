# ISIC 2018 Task 1 as tools/convert_isic.py writes it, and how trainings on it are scored. Everything stands under one
# key, so that it combines with any config of MMSegmentation, which then binds it: globals().update(_base_.isic)
_base_ = "./output.py"

_classes = ("background", "lesion")
_data_root = "data/ISIC"
_crop_size = (512, 512)
_scale = (2048, 512)  # (long edge at most, short edge)
_train_scales = [512, 576, 640, 704, 768]

# MMSegmentation's own, and image_id, by which all tables name an image; those of the second line are of samples with
# several findings.
_pack = dict(
    type="PackSegInputs",
    meta_keys=(
        *("image_id", "img_path", "seg_map_path", "ori_shape", "img_shape", "pad_shape", "scale_factor"),
        *("findings", "mask_paths", "labels"),
        *("flip", "flip_direction"),
    ),
)
_train_pipeline = [
    dict(type="SeedSample"),
    dict(type="LoadLesionImage", min_short_edge=max(_train_scales)),
    dict(type="LoadLesionMask", cached=True),
    dict(type="RandomScaleCrop", scales=_train_scales, max_size=_scale[0], crop_size=_crop_size),
    # A lesion has no up.
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PhotoMetricDistortion"),
    _pack,
]
# Area interpolation, as in the training copies that the converter makes.
_test_resize = dict(type="Resize", scale=_scale, keep_ratio=True, interpolation="area")
_test_pipeline = [
    dict(type="LoadLesionImage"),
    _test_resize,
    # After Resize, so that scores are on the pixels of the file.
    dict(type="LoadLesionMask"),
    _pack,
]
_tta_pipeline = [
    dict(type="LoadLesionImage"),
    dict(
        type="TestTimeAug",
        transforms=[
            [_test_resize],
            [
                dict(type="RandomFlip", prob=0.0, direction="horizontal"),
                dict(type="RandomFlip", prob=1.0, direction="horizontal"),
                dict(type="RandomFlip", prob=1.0, direction="vertical"),
                dict(type="RandomFlip", prob=1.0, direction="diagonal"),
            ],
            [dict(type="LoadLesionMask")],
            [_pack],
        ],
    ),
]

isic = dict(
    **_base_.output,
    dataset_type="ISICDataset",
    num_classes=len(_classes),
    data_root=_data_root,
    crop_size=_crop_size,
    train_pipeline=_train_pipeline,
    test_pipeline=_test_pipeline,
    tta_pipeline=_tta_pipeline,
    tta_model=dict(type="FlipTTAModel"),
    train_dataloader=dict(
        sampler=dict(type="SeededInfiniteSampler"),
        dataset=dict(
            type="ISICDataset",
            data_root=_data_root,
            data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
            pipeline=_train_pipeline,
        ),
    ),
    val_dataloader=dict(
        dataset=dict(
            type="ISICDataset",
            data_root=_data_root,
            data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
            pipeline=_test_pipeline,
        ),
    ),
    test_dataloader=dict(
        dataset=dict(
            type="ISICDataset",
            data_root=_data_root,
            data_prefix=dict(img_path="images/test", seg_map_path="annotations/test"),
            pipeline=_test_pipeline,
        ),
    ),
    val_evaluator=[dict(type="LesionMetric")],
    test_evaluator=[dict(type="LesionMetric")],
)
