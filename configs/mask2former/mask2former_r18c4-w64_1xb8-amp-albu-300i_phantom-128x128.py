# For tools/quickstart.py: two minutes on two cores, from scratch.
_base_ = "./mask2former_r18c4-w64_1xb8-amp-albu-2500i_isic2018-128x128.py"

data_root = "data/phantom"
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))

max_iters = 300  # x 8 images / 400 = 6 epochs
warmup_iters = 30
val_interval = 150
train_cfg = dict(max_iters=max_iters, val_interval=val_interval)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, begin=0, end=warmup_iters, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=0, begin=warmup_iters, end=max_iters, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=val_interval))
