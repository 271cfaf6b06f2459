_base_ = "./mae_vit-b_1xb256-amp-100k_unlabelled-224x224.py"

model = dict(encoder="vit_small_patch16_224", decoder=dict(width=256, heads=8))
