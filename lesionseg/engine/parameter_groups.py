"""Optimizers that hold their parameters in few groups."""

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


# In MMEngine's root registry, where the configs of MMSegmentation and of MMDetection both find it.
@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Puts all parameters that have the same settings into one group.

    MMEngine's own makes a group for each parameter of a model with `paramwise_cfg`, and optimizers go through their
    groups one by one: fused and "foreach" implementations, which update a whole group at once, then gain nothing.

    Adam and AdamW are fused here, unless the config says how else they go through a group: on the CPU, others take a
    seventh of a small model's step.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        if self.optimizer_cfg.get("type") in ("Adam", "AdamW") and not self.optimizer_cfg.get("foreach"):
            self.optimizer_cfg.setdefault("fused", True)

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = "", is_dcn_module: int | float | None = None
    ) -> None:
        super().add_params(params, module, prefix, is_dcn_module)
        # Upstream calls this for each part of the model, by its name; the model itself has none.
        if not prefix:
            params[:] = _merged(params)


def _merged(groups: list[dict]) -> list[dict]:
    merged: dict[tuple, dict] = {}
    for group in groups:
        settings = tuple(sorted((key, value) for key, value in group.items() if key != "params"))
        merged.setdefault(settings, dict(group, params=[]))["params"].extend(group["params"])
    return list(merged.values())
