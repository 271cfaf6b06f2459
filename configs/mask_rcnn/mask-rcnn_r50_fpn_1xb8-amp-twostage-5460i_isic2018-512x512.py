# Heads first, then the upper backbone as well, on three quarters of three quarters of ISIC 2018:
#   tools/convert_isic.py RELEASE data/ISIC_resplit --split 0.5625,0.1875,0.25 --splits training
#   tools/masks2coco.py data/ISIC_resplit
_base_ = "./mask-rcnn_r50_fpn_1xb8-amp-10k_isic2018-512x512.py"
from lesionseg.engine.recipes import loaders, schedule

# Data
globals().update(loaders(data_root="data/ISIC_resplit"))

# Model
# The norm layers of the stages that learn do so, too.
model = dict(backbone=dict(norm_eval=False))

# Schedule
epoch = 182  # x 8 images = 1459, which is 0.75 x 0.75 of 2594
globals().update(schedule(max_iters=30 * epoch, warmup_iters=500, val_interval=2 * epoch, start_factor=0.001))
heads = r"^(neck|rpn_head|roi_head)\."
training_stages = dict(
    type="TrainingStagesHook",
    by_epoch=False,
    stages=[
        dict(begin=0, trains=[heads]),
        # Stage 3 where the stem is stage 1: layer2 and all above it.
        dict(begin=5 * epoch, trains=[heads, r"^backbone\.layer[234]\."]),
    ],
)
# Which parameters get gradients changes during the training.
find_unused_parameters = True

# Output
custom_hooks = [*_base_.custom_hooks, training_stages]
