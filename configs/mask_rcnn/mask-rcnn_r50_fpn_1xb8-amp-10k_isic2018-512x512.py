_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/isic2018_instances.py",
]
from lesionseg.engine.recipes import schedule

# Data and output
globals().update(_base_.isic)
train_dataloader = dict(_base_.isic.train_dataloader, batch_size=8)
num_classes = _base_.isic.num_classes

# Model
model = dict(
    type="LesionMaskRCNN",
    data_preprocessor=dict(type="BatchDetDataPreprocessor"),
    # load_from brings the backbone's weights, too.
    backbone=dict(init_cfg=None),
    roi_head=dict(bbox_head=dict(num_classes=num_classes), mask_head=dict(num_classes=num_classes)),
    # One lesion an image: ten detections are plenty, and a hundred masks of a large image fill the memory.
    test_cfg=dict(rcnn=dict(max_per_img=10)),
)
load_from = "https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/mask_rcnn_r50_fpn_1x_coco/mask_rcnn_r50_fpn_1x_coco_20200205-d4b0c5d6.pth"
# COCO has other classes.
new_parts = ["roi_head.bbox_head.fc_cls", "roi_head.bbox_head.fc_reg", "roi_head.mask_head.conv_logits"]

# Schedule: 10,000 x 8 images / 2594 = 31 epochs
globals().update(schedule(max_iters=10000, warmup_iters=500, val_interval=500, start_factor=0.001))
optim_wrapper = dict(
    type="AmpOptimWrapper",
    loss_scale="dynamic",
    # MMDetection's 0.02 is for 16 images.
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35, norm_type=2),
)
auto_scale_lr = dict(base_batch_size=8)
