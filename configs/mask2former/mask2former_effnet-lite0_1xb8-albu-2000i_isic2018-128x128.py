# For a CPU: 7 minutes on two cores, from ImageNet weights that come with the extra pretrained.
_base_ = "./mask2former_r18c4-w64_1xb8-amp-albu-2500i_isic2018-128x128.py"
from lesionseg.engine.recipes import schedule

# Model
data_preprocessor = dict(
    # As the ImageNet weights were trained.
    mean=[127.5] * 3,
    std=[127.5] * 3,
    # Where all edges are multiples of the strides, an export pads as the training does.
    test_cfg=dict(size_divisor=32),
)
model = dict(
    data_preprocessor=data_preprocessor,
    # Up to stride 16, as with ResNet-18: the last stages have three quarters of the weights, for a map of 4x4.
    backbone=dict(_delete_=True, type="EfficientNetLite0", out_indices=(2, 3, 4), imagenet_weights=True),
    decode_head=dict(in_channels=[24, 40, 112]),
)

# Schedule: 2,000 x 8 images / 2594 = 6 epochs
globals().update(schedule(max_iters=2000, warmup_iters=100, val_interval=1000))
# Without a GPU, bfloat16 makes the gradients of depthwise convolutions slower, not faster.
optim_wrapper = dict(_base_.optim_wrapper, _delete_=True, type="OptimWrapper")
del optim_wrapper["dtype"]
# The backbone knows pictures already.
optim_wrapper["paramwise_cfg"]["custom_keys"]["backbone"]["lr_mult"] = 0.3
