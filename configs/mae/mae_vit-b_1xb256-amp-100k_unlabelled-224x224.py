# ViT-B/16 with the decoder and the learning rate of He et al. 2022 (arXiv 2111.06377). Needs the extra mae.
_base_ = "../_base_/output.py"
from lesionseg.engine.recipes import pretraining

globals().update(_base_.output)
default_scope = "mmengine"

batch_size = 256
globals().update(pretraining(edge=224, batch_size=batch_size, max_iters=100000, warmup_iters=5000, val_interval=5000))

model = dict(
    type="MaskedAutoencoder",
    encoder="vit_base_patch16_224",
    image_size=224,
    decoder=dict(width=512, depth=8, heads=16),
    # Of ImageNet, as in the trainings that follow.
    data_preprocessor=dict(
        type="ImgDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
)
load_from = None

optim_wrapper = dict(
    type="AmpOptimWrapper",
    constructor="GroupedOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=1.5e-4 * batch_size / 256, betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)

visualizer = dict(_base_.output.visualizer, type="Visualizer")
val_evaluator = [dict(type="ReconstructionMetric")]
default_hooks = dict(
    logger=dict(_base_.output.default_hooks.logger, type="LoggerHook", interval=50),
    checkpoint=dict(_base_.output.default_hooks.checkpoint, save_best="loss", rule="less"),
)
custom_hooks = [
    dict(type="RandomStateHook"),
    dict(type="LearningCurveHook"),
    dict(type="ReconstructionSheetHook"),
    dict(type="BackboneHook"),
]
