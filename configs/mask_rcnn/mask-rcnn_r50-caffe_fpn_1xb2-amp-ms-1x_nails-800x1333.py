# Nails, one instance each, on photographs:
#   tools/convert_isic.py NAILS data/nails --layout pairs --split 0.75,0.25
#   tools/masks2coco.py data/nails --instances components --category nail
_base_ = "./mask-rcnn_r50_fpn_1xb8-amp-10k_isic2018-512x512.py"
from lesionseg.engine.recipes import loaders, schedule

# Data
scale = (1333, 800)  # (long edge at most, short edge)
train_scales = [(1333, 640), (1333, 672), (1333, 704), (1333, 736), (1333, 768), (1333, 800)]
_seed, _load, _annotations, _resize, *_rest = _base_.train_pipeline
train_pipeline = [_seed, _load, _annotations, dict(_resize, scales=train_scales), *_rest]
_load, _annotations, _resize, *_rest = _base_.val_pipeline
_resize = dict(_resize, scale=scale)
val_pipeline = [_load, _annotations, _resize, *_rest]
test_pipeline = [_load, _resize, *_rest]
del _seed, _load, _annotations, _resize, _rest
nails = dict(data_root="data/nails", metainfo=dict(classes=("nail",), palette=[(230, 159, 0)]))
globals().update(loaders(2, (train_pipeline, val_pipeline, test_pipeline), **nails))

# Model
model = dict(
    # What the weights were trained with, Caffe's.
    data_preprocessor=dict(mean=[103.530, 116.280, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False),
    backbone=dict(style="caffe", norm_cfg=dict(requires_grad=False)),
    # Two hands have ten nails, and a photograph may show more of them.
    test_cfg=dict(rcnn=dict(max_per_img=30)),
)
load_from = "https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/mask_rcnn_r50_caffe_fpn_mstrain-poly_3x_coco/mask_rcnn_r50_caffe_fpn_mstrain-poly_3x_coco_bbox_mAP-0.408__segm_mAP-0.37_20200504_163245-42aa3d00.pth"

# Schedule: 1x is 12 epochs. For another number of images: --cfg-options max_iters=N train_cfg.val_interval=M.
epoch = 15  # x 2 images = 30
globals().update(schedule(max_iters=12 * epoch, warmup_iters=2 * epoch, val_interval=2 * epoch, start_factor=0.001))
optim_wrapper = dict(optimizer=dict(lr=0.0025))
auto_scale_lr = dict(base_batch_size=2)

# Output
default_hooks = dict(checkpoint=dict(save_best="coco/segm_mAP"))
