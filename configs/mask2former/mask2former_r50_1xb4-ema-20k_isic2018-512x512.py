_base_ = "./mask2former_r50_1xb4-20k_isic2018-512x512.py"

# Validation, and the weights that are saved for testing, are the moving average.
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=0.001, update_buffers=True),
]
