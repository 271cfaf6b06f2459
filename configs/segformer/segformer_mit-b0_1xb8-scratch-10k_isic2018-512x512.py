_base_ = "./segformer_mit-b0_1xb8-10k_isic2018-512x512.py"

# Model
model = dict(backbone=dict(init_cfg=None))

# Schedule: nothing was trained before, and the backbone learns as fast as the rest.
optim_wrapper = dict(optimizer=dict(lr=6e-4), paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=1.0))))
