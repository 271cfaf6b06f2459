# For a CPU: 10 minutes on two cores, from scratch. Convert with --short-edge 128: then nothing has to be resized.
_base_ = "./segformer_mit-b0_1xb8-scratch-10k_isic2018-512x512.py"
from lesionseg.engine.recipes import schedule, small_images

# Data
globals().update(small_images(_base_, 128))

# Model
data_preprocessor = dict(size=(128, 128))
model = dict(data_preprocessor=data_preprocessor)

# Schedule: 2,500 x 8 images / 2594 = 8 epochs
globals().update(schedule(max_iters=2500, warmup_iters=100, val_interval=1250))
optim_wrapper = dict(
    # Without a GPU the CPU's own mixed precision stands in, where it has instructions for it.
    type="AmpOptimWrapper",
    dtype="bfloat16",
    # A second moment of 0.999 is slower than this schedule.
    optimizer=dict(lr=1e-3, betas=(0.9, 0.98)),
)
