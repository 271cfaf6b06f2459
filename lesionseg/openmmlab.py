"""Joins this project to OpenMMLab; every config imports it.

Afterwards `_base_ = 'mmseg::...'` works, the heads of MMDetection that Mask2Former is made of are
registered, so are this project's data sets, transforms, metrics and hooks, and checkpoints load as data.
"""

from lesionseg.engine.screen import screen
from lesionseg.late_imports import late_imports

# On import they print, and warn of, what a user cannot act on, and load what few need.
with screen.held_back(), late_imports():
    import mmdet.models  # noqa: F401  MMSegmentation's Mask2Former is built from MMDetection's parts.

    import lesionseg.data.datasets.instances
    import lesionseg.data.datasets.multi_label
    import lesionseg.data.datasets.sampling
    import lesionseg.data.datasets.semantic
    import lesionseg.data.datasets.transforms
    import lesionseg.data.datasets.unlabelled
    import lesionseg.engine.cpu_speed
    import lesionseg.engine.finite
    import lesionseg.engine.hooks
    import lesionseg.engine.late_values
    import lesionseg.engine.parameter_groups
    import lesionseg.engine.resuming
    import lesionseg.engine.saving
    import lesionseg.engine.ssl_backbone
    import lesionseg.engine.stages
    import lesionseg.evaluation.coco_metric
    import lesionseg.evaluation.lesion_metric
    import lesionseg.evaluation.reconstruction
    import lesionseg.models.batch_preprocessor
    import lesionseg.models.efficientnet_lite
    import lesionseg.models.flip_tta
    import lesionseg.models.losses
    import lesionseg.models.mask2former_head
    import lesionseg.models.mask_rcnn
    import lesionseg.models.masked_autoencoder
    import lesionseg.models.pixel_decoder
    import lesionseg.models.vision_transformer  # noqa: F401
    from lesionseg.engine.checkpoint import secure_loading
    from lesionseg.engine.config import find_mmseg

find_mmseg()
secure_loading()
