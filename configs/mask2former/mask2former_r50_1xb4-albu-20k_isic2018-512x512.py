_base_ = "./mask2former_r50_1xb4-20k_isic2018-512x512.py"
from lesionseg.engine.recipes import albumentations

globals().update(albumentations(_base_.train_pipeline))
