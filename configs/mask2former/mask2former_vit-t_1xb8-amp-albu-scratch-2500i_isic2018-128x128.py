_base_ = "./mask2former_vit-t-mae_1xb8-amp-albu-2500i_isic2018-128x128.py"

model = dict(backbone=dict(init_cfg=None))
