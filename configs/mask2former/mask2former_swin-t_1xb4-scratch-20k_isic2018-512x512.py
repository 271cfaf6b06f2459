_base_ = "./mask2former_swin-t_1xb4-20k_isic2018-512x512.py"

load_from = None
# Nothing was trained before: the backbone learns as fast as the rest.
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(backbone=dict(lr_mult=1.0), **{key: dict(lr_mult=1.0) for key in _base_.undecayed})
    )
)
