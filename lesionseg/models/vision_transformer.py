"""Plain vision transformers as backbones, which start from what a pre-training without labels has learned."""

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader
from mmseg.models.backbones import TIMMBackbone
from torch import Tensor, nn

from lesionseg.errors import DataError
from lesionseg.models.fit import misfits


# In MMEngine's root registry, where the configs of MMSegmentation and of MMDetection both find it.
@MODELS.register_module()
class TIMMVisionTransformer(TIMMBackbone):
    """A ViT of timm, for images of any size whose edges are multiples of its patches'.

    Gives a map (N, C, H / patch, W / patch) for each of some blocks, all of the same size; `Feature2Pyramid` makes a
    pyramid of them, as ViTDet does (Li et al. 2022, arXiv 2203.16527).

    Args:
        model_name: timm's, such as `vit_small_patch16_224`.
        img_size: edge in pixels of the square images that need no resampling of the position embeddings.
        out_indices: the blocks, from 0, that give a map. What is above the last of them is left out, the last
            normalisation, too.
        init_cfg: `dict(type="Pretrained", checkpoint=FILE)` to begin a training with the weights in a file,
            `{"state_dict": by timm's names}`, such as MAE's pre-training writes. Nothing else reads the file.
        settings: timm's others, such as `drop_path_rate`.

    Raises:
        DataError: timm is not installed.
    """

    def __init__(
        self,
        model_name: str,
        img_size: int,
        out_indices: Sequence[int] = (2, 5, 8, 11),
        init_cfg: dict | None = None,
        **settings: Any,
    ) -> None:
        check_timm()
        super().__init__(
            model_name,
            pretrained=False,
            init_cfg=init_cfg,
            img_size=img_size,
            dynamic_img_size=True,
            out_indices=tuple(out_indices),
            **settings,
        )
        self._model_name = model_name

    def init_weights(self) -> None:
        """Begin with the weights that `init_cfg` names, all of them, or as timm begins.

        Raises:
            DataError: the file's are not those of this ViT.
        """
        self._is_init = True
        if self.init_cfg is None:
            return
        path, vit = self.init_cfg["checkpoint"], self.timm_model.model
        weights = CheckpointLoader.load_checkpoint(path, "cpu").get("state_dict", {})
        # It comes after the last block, and this model has none.
        weights = {name: value for name, value in weights.items() if not name.startswith("norm.")}
        if "pos_embed" in weights:
            weights["pos_embed"] = _resampled(weights["pos_embed"], vit)
        wanted = vit.state_dict()
        if faults := misfits(wanted, weights):
            raise DataError(
                f"{path}: does not fit {self._model_name}: {', '.join(faults)}, expected the {len(wanted)} weights of "
                "this ViT by timm's names. Take the file of its pre-training: tools/train.py configs/mae/CONFIG."
            )
        vit.load_state_dict(weights)


def check_timm() -> None:
    """Raise DataError where timm is not installed."""
    if find_spec("timm") is None:
        raise DataError(
            "timm: not installed, expected it for a ViT. Install the extra vit: `uv sync`, or `pip install .[vit]`."
        )


def _resampled(positions: Tensor, vit: nn.Module) -> Tensor:
    """Position embeddings for the images that a ViT is made for, from those for square images of any size."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    prefix = vit.num_prefix_tokens
    if positions.ndim != 3 or math.isqrt(patches := positions.shape[1] - prefix) ** 2 != patches:
        return positions
    return resample_abs_pos_embed(positions, list(vit.patch_embed.grid_size), num_prefix_tokens=prefix)
