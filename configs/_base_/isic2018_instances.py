# ISIC 2018 Task 1 with the COCO files of tools/masks2coco.py, and how trainings on it are scored. Everything stands
# under one key, so that it combines with any config of MMDetection, which then binds it: globals().update(_base_.isic)
_base_ = "./output.py"

_classes = ("lesion",)
_data_root = "data/ISIC"
_scale = (2048, 512)  # (long edge at most, short edge)
# Around the size of the test; lesions stay whole.
_train_scales = [(2048, short_edge) for short_edge in range(416, 609, 32)]

_load = dict(type="LoadLesionImage")
_annotations = dict(type="LoadAnnotations", with_bbox=True, with_mask=True)
_train_pipeline = [
    dict(type="SeedSample"),
    _load,
    _annotations,
    dict(type="RandomChoiceResize", scales=_train_scales, keep_ratio=True),
    # A lesion has no up.
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackDetInputs"),
]
# Area interpolation, as in the training copies that the converter makes.
_test_resize = dict(type="Resize", scale=_scale, keep_ratio=True, interpolation="area")
_score = [
    # After Resize, so that scores are on the pixels of the file.
    dict(type="LoadLesionMask"),
    dict(
        type="PackDetInputs",
        meta_keys=("image_id", "img_id", "img_path", "seg_map_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
_test_pipeline = [_load, _test_resize, *_score]
# The validation's loss needs the instances, too.
_val_pipeline = [_load, _annotations, _test_resize, *_score]

_one_by_one = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
)

# The COCO file of each evaluation is that of its data set.
_evaluator = [dict(type="LesionCocoMetric", metric=["bbox", "segm"]), dict(type="LesionMetric", instances="union")]

isic = dict(
    **_base_.output,
    num_classes=len(_classes),
    data_root=_data_root,
    scale=_scale,
    train_pipeline=_train_pipeline,
    val_pipeline=_val_pipeline,
    test_pipeline=_test_pipeline,
    train_dataloader=dict(
        num_workers=4,
        persistent_workers=True,
        sampler=dict(type="SeededInfiniteSampler"),
        dataset=dict(
            type="LesionCocoDataset",
            data_root=_data_root,
            ann_file="annotations/instances_training.json",
            data_prefix=dict(img="images/training"),
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=_train_pipeline,
        ),
    ),
    val_dataloader=dict(
        **_one_by_one,
        dataset=dict(
            type="LesionCocoDataset",
            data_root=_data_root,
            ann_file="annotations/instances_validation.json",
            data_prefix=dict(img="images/validation", seg="annotations/validation"),
            test_mode=True,
            pipeline=_val_pipeline,
        ),
    ),
    test_dataloader=dict(
        **_one_by_one,
        dataset=dict(
            type="LesionCocoDataset",
            data_root=_data_root,
            ann_file="annotations/instances_test.json",
            data_prefix=dict(img="images/test", seg="annotations/test"),
            test_mode=True,
            pipeline=_test_pipeline,
        ),
    ),
    val_evaluator=_evaluator,
    test_evaluator=_evaluator,
)
