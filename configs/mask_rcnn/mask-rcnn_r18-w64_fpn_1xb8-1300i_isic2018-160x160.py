# For a CPU: 20 minutes on two cores, from scratch. Convert with --short-edge 160: then nothing has to be resized.
_base_ = "./mask-rcnn_r50_fpn_1xb8-amp-10k_isic2018-512x512.py"
from lesionseg.engine.recipes import schedule

# Data
scale = (640, 160)  # (long edge at most, short edge)
_seed, _load, _annotations, _resize, _flip, _photometric, _pack = _base_.train_pipeline
train_pipeline = [
    _seed,
    _load,
    _annotations,
    dict(_resize, scales=[scale]),
    _flip,
    # Few epochs do not overfit, and strong augmentation slows the start.
    dict(_photometric, brightness_delta=16, contrast_range=(0.8, 1.2), saturation_range=(0.8, 1.2), hue_delta=6),
    _pack,
]
_load, _annotations, _resize, *_score = _base_.val_pipeline
_resize = dict(_resize, scale=scale)
val_pipeline = [_load, _annotations, _resize, *_score]
test_pipeline = [_load, _resize, *_score]
del _seed, _load, _annotations, _resize, _flip, _photometric, _pack, _score
train_dataloader = dict(num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))

# Model
width = 64
model = dict(
    backbone=dict(depth=18, frozen_stages=-1, norm_eval=False),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=width),
    rpn_head=dict(in_channels=width, feat_channels=width),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width),
        bbox_head=dict(in_channels=width, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=width),
        mask_head=dict(in_channels=width, conv_out_channels=width),
    ),
    # One lesion an image: a few dozen regions hold all there is to learn.
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100)),
)
load_from = None

# Schedule: 1,300 x 8 images / 2594 = 4 epochs, and one validation, at the end
globals().update(schedule(max_iters=1300, warmup_iters=100, val_interval=1300))
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    # On the CPU, unfused AdamW takes much of every step.
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=35, norm_type=2),
)
