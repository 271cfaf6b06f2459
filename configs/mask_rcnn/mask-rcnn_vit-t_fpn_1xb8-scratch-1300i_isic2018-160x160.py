_base_ = "./mask-rcnn_vit-t-mae_fpn_1xb8-1300i_isic2018-160x160.py"

model = dict(backbone=dict(init_cfg=None))
