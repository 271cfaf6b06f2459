# For tools/quickstart.py: two minutes on two cores, from scratch.
_base_ = "./mask2former_r18c4-w64_1xb8-amp-albu-2500i_isic2018-128x128.py"
from lesionseg.engine.recipes import loaders, schedule

globals().update(loaders(data_root="data/phantom"))
# 300 x 8 images / 400 = 6 epochs
globals().update(schedule(max_iters=300, warmup_iters=30, val_interval=150))
