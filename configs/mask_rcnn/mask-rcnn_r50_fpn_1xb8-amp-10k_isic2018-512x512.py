_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/isic2018_instances.py",
]
custom_imports = dict(imports=["lesionseg.openmmlab"])

# Data
data_root = _base_.isic.data_root
scale = _base_.isic.scale
num_classes = len(_base_.isic.classes)
train_pipeline = _base_.isic.train_pipeline
val_pipeline = _base_.isic.val_pipeline
test_pipeline = _base_.isic.test_pipeline
train_dataloader = _base_.isic.train_dataloader
train_dataloader.batch_size = 8
val_dataloader = _base_.isic.val_dataloader
test_dataloader = _base_.isic.test_dataloader
val_evaluator = _base_.isic.evaluator
test_evaluator = _base_.isic.evaluator

# Model
model = dict(
    # load_from brings the backbone's weights, too.
    backbone=dict(init_cfg=None),
    roi_head=dict(bbox_head=dict(num_classes=num_classes), mask_head=dict(num_classes=num_classes)),
    # One lesion an image: ten detections are plenty, and a hundred masks of a large image fill the memory.
    test_cfg=dict(rcnn=dict(max_per_img=10)),
)
load_from = "https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/mask_rcnn_r50_fpn_1x_coco/mask_rcnn_r50_fpn_1x_coco_20200205-d4b0c5d6.pth"
# COCO has other classes.
new_parts = ["roi_head.bbox_head.fc_cls", "roi_head.bbox_head.fc_reg", "roi_head.mask_head.conv_logits"]

# Schedule
max_iters = 10000  # x 8 images / 2594 = 31 epochs
warmup_iters = 500
val_interval = 500
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=val_interval)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="AmpOptimWrapper",
    loss_scale="dynamic",
    # MMDetection's 0.02 is for 16 images.
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, begin=0, end=warmup_iters, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=0, begin=warmup_iters, end=max_iters, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=8)
randomness = dict(seed=0)

# Output
vis_backends = _base_.isic.vis_backends
visualizer = dict(vis_backends=vis_backends)
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(
        type="ValidatedCheckpointHook",
        by_epoch=False,
        interval=val_interval,
        max_keep_ckpts=2,
        save_best="lesion/jaccard",
        rule="greater",
    ),
)
custom_hooks = _base_.isic.custom_hooks
