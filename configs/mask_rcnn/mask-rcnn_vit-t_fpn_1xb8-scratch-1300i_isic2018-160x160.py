_base_ = "./mask-rcnn_vit-t-mae_fpn_1xb8-1300i_isic2018-160x160.py"
from lesionseg.engine.recipes import layer_decay

# Nothing was trained before: all layers learn as fast.
model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=layer_decay(depth=12, rate=1.0)))
