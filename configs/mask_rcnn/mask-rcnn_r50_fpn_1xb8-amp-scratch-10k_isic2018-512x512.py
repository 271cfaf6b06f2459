_base_ = "./mask-rcnn_r50_fpn_1xb8-amp-10k_isic2018-512x512.py"

load_from = None
# Nothing was trained before: all layers learn, normalisation too.
model = dict(backbone=dict(frozen_stages=-1, norm_eval=False))
# From scratch SGD takes several times as long.
optim_wrapper = dict(optimizer=dict(_delete_=True, type="AdamW", lr=2e-4, weight_decay=0.05))
