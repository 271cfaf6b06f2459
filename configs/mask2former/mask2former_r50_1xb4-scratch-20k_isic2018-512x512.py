_base_ = "./mask2former_r50_1xb4-20k_isic2018-512x512.py"

load_from = None
# Nothing was trained before: normalisation learns, and the backbone as fast as the rest.
model = dict(backbone=dict(norm_cfg=dict(requires_grad=True)))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.0))))
