_base_ = "./mask-rcnn_vit-s-mae_fpn_1xb4-amp-ms-10k_isic2018-512x512.py"
from lesionseg.engine.recipes import layer_decay

# Nothing was trained before: all layers learn as fast.
model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=layer_decay(depth=12, rate=1.0)))
