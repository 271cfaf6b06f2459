"""What makes a training fast on a CPU."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from lesionseg.engine.families import family_of

# As malloc.h numbers them.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


# In MMEngine's root registry, where the configs of MMSegmentation and of MMDetection both find it.
@OPTIM_WRAPPERS.register_module()
class Bfloat16OptimWrapper(OptimWrapper):
    """Runs the forward pass in bfloat16 on the CPU; MMEngine's AmpOptimWrapper is for GPUs only.

    bfloat16 has the range of float32, so that no loss has to be scaled. Weights, gradients and the optimizer's state
    stay float32.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast("cpu", torch.bfloat16):
            yield


def use_precision(cfg: Config) -> str:
    """Put the mixed precision that the machine is good at in the place of MMEngine's; changes the config in place.

    On a GPU that computes in bfloat16 it is that, which has the range of float32, so that no loss is scaled and no step
    left out, unless the config's models or its `dtype` ask for float16. Without a GPU it is what the CPU can do.

    Returns:
        what the precision is then, for the user; nothing where it is as the config says.
    """
    if cfg.optim_wrapper.type != "AmpOptimWrapper":
        return ""
    in_bfloat16 = family_of(cfg, pretraining=True).bfloat16
    if torch.cuda.is_available():
        if cfg.optim_wrapper.get("dtype") in (None, "bfloat16") and in_bfloat16 and gpu_computes_in_bfloat16():
            cfg.optim_wrapper.update(dtype="bfloat16", loss_scale=dict(enabled=False))
            return "mixed, bfloat16 and float32"
        return ""
    use_float32(cfg)
    if in_bfloat16 and computes_in_bfloat16():
        cfg.optim_wrapper.type = "Bfloat16OptimWrapper"
        return "mixed, bfloat16 and float32 (no GPU)"
    return "float32, not mixed (no GPU)"


def use_float32(cfg: Config) -> None:
    """Turn mixed precision off, where the config has it on; changes the config in place."""
    settings = {key: value for key, value in cfg.optim_wrapper.items() if key not in ("loss_scale", "dtype")}
    cfg.optim_wrapper = dict(settings, type="OptimWrapper")


def gpu_computes_in_bfloat16() -> bool:
    """Whether the GPU has instructions for bfloat16."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def computes_in_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16; elsewhere torch emulates it, far slower than float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def use_channels_last(model: nn.Module, cfg: Config) -> None:
    """Lay the weights of convolutions out as a CPU reads them, and a GPU in mixed precision, so that none does it anew.

    Features take over the layout. Models that are wrapped for several processes stay as they are: their gradients
    are gathered in the layout that the weights had then.
    """
    mixed = cfg.optim_wrapper.type == "AmpOptimWrapper"
    if not is_model_wrapper(model) and (mixed or next(model.parameters()).device.type == "cpu"):
        model.to(memory_format=torch.channels_last)


def keep_freed_memory() -> None:
    """Have glibc keep the memory that tensors free, for the tensors of the next step.

    It would give much of it back, and every step would wait for the kernel to clear the same pages again. Processes
    forked later, such as loaders, inherit it. Without glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # The highest that glibc allows.
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
