_base_ = "./mask2former_vit-t-mae_1xb8-amp-albu-2500i_isic2018-128x128.py"
from lesionseg.engine.recipes import layer_decay

# Nothing was trained before: all layers learn as fast.
model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=layer_decay(depth=12, rate=1.0)))
