_base_ = ["mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py", "../_base_/isic2018.py"]
custom_imports = dict(imports=["lesionseg.openmmlab"])

# Data
dataset_type = "ISICDataset"
data_root = _base_.isic.data_root
crop_size = _base_.isic.crop_size
num_classes = len(_base_.isic.classes)
train_pipeline = _base_.isic.train_pipeline
test_pipeline = _base_.isic.test_pipeline
tta_pipeline = _base_.isic.tta_pipeline
tta_model = _base_.isic.tta_model
train_dataloader = _base_.isic.train_dataloader
train_dataloader.batch_size = 4
val_dataloader = _base_.isic.val_dataloader
test_dataloader = _base_.isic.test_dataloader
val_evaluator = _base_.isic.evaluator
test_evaluator = _base_.isic.evaluator

# Model
data_preprocessor = dict(size=crop_size)
model = dict(
    data_preprocessor=data_preprocessor,
    # load_from brings the backbone's weights, too.
    backbone=dict(init_cfg=None),
    decode_head=dict(
        type="LesionMask2FormerHead",
        num_classes=num_classes,
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
    ),
)
load_from = "https://mmassets.onedl.ai/mmsegmentation/v0.5/mask2former/mask2former_r50_8xb2-160k_ade20k-512x512/mask2former_r50_8xb2-160k_ade20k-512x512_20221204_000055-2d1f55f1.pth"
# ADE20K has other classes.
new_parts = ["decode_head.cls_embed"]

# Schedule
max_iters = 20000  # x 4 images / 2594 = 31 epochs
warmup_iters = 500
val_interval = 1000
train_cfg = dict(max_iters=max_iters, val_interval=val_interval)
optim_wrapper = dict(constructor="GroupedOptimWrapperConstructor")
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, begin=0, end=warmup_iters, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=0, begin=warmup_iters, end=max_iters, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=4)
randomness = dict(seed=0)

# Output
vis_backends = _base_.isic.vis_backends
visualizer = dict(vis_backends=vis_backends)
default_hooks = dict(
    checkpoint=dict(
        type="ValidatedCheckpointHook",
        interval=val_interval,
        max_keep_ckpts=2,
        save_best="lesion/jaccard",
        rule="greater",
    )
)
custom_hooks = _base_.isic.custom_hooks
