# For a large GPU: five minutes on an H200, from scratch. Convert with --short-edge 512: then nothing has to be resized.
_base_ = "./mask2former_r50_1xb4-scratch-20k_isic2018-512x512.py"
from lesionseg.engine.recipes import schedule, small_images

# Data
globals().update(small_images(_base_, 512, batch_size=16, num_workers=10))

# Schedule: 2,500 x 16 images / 2594 = 15 epochs
globals().update(schedule(max_iters=2500, warmup_iters=250, val_interval=2500))
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",
    # A second moment of 0.999 is slower than this schedule.
    optimizer=dict(lr=3e-4, betas=(0.9, 0.98)),
)
auto_scale_lr = dict(base_batch_size=16)
