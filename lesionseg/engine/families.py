"""Whether a config is MMSegmentation's or MMDetection's, and what follows from it: the only place that asks."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lesionseg.errors import DataError

if TYPE_CHECKING:
    from mmengine.config import Config

SEMANTIC, INSTANCES, PRETRAINING = "semantic", "instances", "pre-training"


@dataclass(frozen=True)
class Family:
    """The configs of one of OpenMMLab's toolboxes.

    Attributes:
        scope: `default_scope` of its configs, the name of its package and, to MMDeploy, of its codebase.
        task: `semantic`, one class a pixel, `instances`, boxes with masks, or `pre-training`, which finds nothing.
        toolbox: its name in a message.
        purpose: what its models are for, in a message.
        image_prefix: which entry of a data set's `data_prefix` is the folder of the images.
        mask_prefix: which is that of the lesion masks.
        bfloat16: whether its models keep what they find when they train in bfloat16 on a CPU.
    """

    scope: str
    task: str
    toolbox: str
    purpose: str
    image_prefix: str
    mask_prefix: str
    bfloat16: bool

    @property
    def registry(self) -> Any:
        """The module with its registries, such as `registry.MODELS`."""
        return import_module(f"{self.scope}.registry")


FAMILIES = (
    Family("mmseg", SEMANTIC, "MMSegmentation", "semantic segmentation", "img_path", "seg_map_path", bfloat16=True),
    # MMDetection rounds regions to the precision of the features: in bfloat16 to two pixels from 256 on.
    Family("mmdet", INSTANCES, "MMDetection", "instance segmentation (Mask R-CNN)", "img", "seg", bfloat16=False),
)
# Of neither toolbox: its configs bring a backbone for those of both.
_PRETRAINING = Family("mmengine", PRETRAINING, "MMEngine", PRETRAINING, "", "", bfloat16=True)


def family_of(cfg: "Config", pretraining: bool = False) -> Family:
    """The family of a config.

    Args:
        cfg: the config.
        pretraining: whether it may be one for pre-training, which cannot be tested, exported or asked to predict.

    Raises:
        DataError: it is of none of them.
    """
    scope = cfg.get("default_scope")
    for family in FAMILIES:
        if family.scope == scope:
            return family
    if scope == _PRETRAINING.scope:
        if pretraining:
            return _PRETRAINING
        raise DataError(
            f"{cfg.filename}: is for pre-training, which finds nothing in images, expected a config of segmentation. "
            "Train one of configs/*/*-mae_* from the ssl_backbone.pth that the pre-training wrote, and use that."
        )
    known = " or ".join(f"{family.scope} ({family.toolbox})" for family in FAMILIES)
    raise DataError(f"{cfg.filename}: default_scope={scope}, expected {known}. Inherit from a config of one of them.")


def family_for(task: str) -> Family:
    """The family of the models for a task, `semantic` or `instances`."""
    return next(family for family in FAMILIES if family.task == task)
