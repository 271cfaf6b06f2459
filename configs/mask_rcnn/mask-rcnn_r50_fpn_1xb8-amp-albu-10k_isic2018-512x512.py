_base_ = "./mask-rcnn_r50_fpn_1xb8-amp-10k_isic2018-512x512.py"
from lesionseg.engine.recipes import albumentations

globals().update(albumentations(_base_.train_pipeline))
