# For a CPU: the small model of ISIC on nails, best started from its weights: --cfg-options load_from=FILE.
_base_ = "./mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160.py"
from lesionseg.engine.recipes import loaders, schedule

# Data
scale = (427, 256)  # (long edge at most, short edge)
train_scales = [(427, short_edge) for short_edge in range(192, 289, 32)]
_seed, _load, _annotations, _resize, *_rest = _base_.train_pipeline
train_pipeline = [_seed, _load, _annotations, dict(_resize, scales=train_scales), *_rest]
_load, _annotations, _resize, *_rest = _base_.val_pipeline
_resize = dict(_resize, scale=scale)
val_pipeline = [_load, _annotations, _resize, *_rest]
test_pipeline = [_load, _resize, *_rest]
del _seed, _load, _annotations, _resize, _rest
nails = dict(data_root="data/nails", metainfo=dict(classes=("nail",), palette=[(230, 159, 0)]))
globals().update(loaders(4, (train_pipeline, val_pipeline, test_pipeline), **nails))

# Model
model = dict(
    # Nails are a tenth the size of lesions: eight to a photograph, each needs its regions.
    rpn_head=dict(anchor_generator=dict(scales=[4])),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=96)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200), rcnn=dict(max_per_img=30)),
)

# Schedule: 300 x 4 images / 30 = 40 epochs
globals().update(schedule(max_iters=300, warmup_iters=30, val_interval=300))
auto_scale_lr = dict(base_batch_size=4)

# Output
default_hooks = dict(checkpoint=dict(save_best="coco/segm_mAP"))
