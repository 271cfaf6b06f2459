# For a CPU: half an hour on two cores. Needs the extra mae.
_base_ = "./mae_vit-b_1xb256-amp-100k_unlabelled-224x224.py"
from lesionseg.engine.recipes import pretraining

# 3,000 x 64 images / 9,765 = 20 epochs
globals().update(
    pretraining(edge=128, batch_size=64, max_iters=3000, warmup_iters=150, val_interval=500, num_workers=1)
)
model = dict(encoder="vit_tiny_patch16_224", image_size=128, decoder=dict(width=128, depth=4, heads=4))
# The paper's rate is for trainings of a thousand times as many images: here the loss hardly moved.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(lr=1.5e-3))
