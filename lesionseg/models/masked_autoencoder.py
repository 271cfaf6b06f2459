"""Self-supervised pre-training of a ViT: most patches of an image are hidden, and reconstructed from the others.

He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022 (arXiv 2111.06377).
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import nn

from lesionseg.environment import keep_hugging_face_offline
from lesionseg.errors import DataError
from lesionseg.models.vision_transformer import check_timm

# Of timm's ViTs; transformers' own default is 1e-12.
_LAYER_NORM_EPS = 1e-6
_INIT_STD = 0.02


# In MMEngine's root registry: it belongs to neither of the toolboxes.
@MODELS.register_module()
class MaskedAutoencoder(BaseModel):
    """transformers' `ViTMAEForPreTraining`, whose encoder is a ViT of timm.

    Args:
        encoder: name of a ViT of timm, such as `vit_tiny_patch16_224`.
        image_size: of the square images, in pixels; a multiple of the encoder's patch.
        decoder: its `width`, `depth` and `heads`. It is thrown away after the pre-training.
        mask_ratio: share of the patches that are hidden.
        norm_pix_loss: reconstruct every patch less its mean and divided by its standard deviation.
        data_preprocessor: normalises images as the later training does, see `mmengine.model.ImgDataPreprocessor`.

    Raises:
        DataError: timm or transformers is not installed, there is no such encoder, or it does not fit the size.

    Example:
        >>> model = MaskedAutoencoder("vit_tiny_patch16_224", image_size=128)
        >>> model(torch.zeros(2, 3, 128, 128))["loss"].shape
        torch.Size([])
    """

    def __init__(
        self,
        encoder: str,
        image_size: int,
        decoder: Mapping[str, int] = {"width": 512, "depth": 8, "heads": 16},
        mask_ratio: float = 0.75,
        norm_pix_loss: bool = True,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor)
        self.encoder, self.image_size = encoder, image_size
        vit = empty_vit(encoder, image_size)
        block, self.patch_size = vit.blocks[0], vit.patch_embed.patch_size[0]
        config, model = _import_mae()
        settings = config(
            image_size=image_size,
            patch_size=self.patch_size,
            hidden_size=vit.embed_dim,
            num_hidden_layers=len(vit.blocks),
            num_attention_heads=block.attn.num_heads,
            intermediate_size=block.mlp.fc1.out_features,
            layer_norm_eps=_LAYER_NORM_EPS,
            decoder_hidden_size=decoder["width"],
            decoder_num_hidden_layers=decoder["depth"],
            decoder_num_attention_heads=decoder["heads"],
            decoder_intermediate_size=4 * decoder["width"],
            mask_ratio=mask_ratio,
            norm_pix_loss=norm_pix_loss,
        )
        self.mae = model(settings)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Initialise as the paper's authors do.

        transformers 5.24 leaves the positions of encoder and decoder at zero: nothing would tell patches apart.
        """
        from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

        for module in self.mae.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        embeddings, decoder = self.mae.vit.embeddings, self.mae.decoder
        nn.init.xavier_uniform_(embeddings.patch_embeddings.projection.weight.flatten(1))
        nn.init.normal_(embeddings.cls_token, std=_INIT_STD)
        nn.init.normal_(decoder.mask_token, std=_INIT_STD)
        edge = self.image_size // self.patch_size
        for positions in (embeddings.position_embeddings, decoder.decoder_pos_embed):
            positions[0] = build_2d_sinusoidal_position_embedding(edge, edge, positions.shape[-1], cls_token=True)

    def forward(
        self, inputs: torch.Tensor, data_samples: Sequence[BaseDataElement] = (), mode: str = "loss"
    ) -> dict[str, torch.Tensor] | list[BaseDataElement]:
        """Reconstruct images.

        Args:
            inputs: (N, 3, H, W) float32, normalised RGB.
            data_samples: with the `image_id` of each, for `predict`.
            mode: `loss`, or `predict` for looking at what is reconstructed.

        Returns:
            for `loss` the mean squared error over all hidden patches; for `predict` the samples, to each of which are
            added `loss`, the mean of its batch; `masked`, (3, H, W) uint8 BGR, the image without its hidden patches;
            and `reconstruction`, alike, with what the decoder makes of them. What is hidden depends on the id alone.
        """
        if mode == "loss":
            return dict(loss=self.mae(pixel_values=inputs).loss)
        assert mode == "predict"
        noise = torch.stack([self._noise(sample.image_id) for sample in data_samples]).to(inputs.device)
        output = self.mae(pixel_values=inputs, noise=noise)
        patches = self.mae.patchify(inputs)
        hidden = output.mask[..., None]
        reconstructed = output.logits.float()
        if self.mae.config.norm_pix_loss:
            # Undo what the loss does to its targets, or all patches would look like noise.
            deviation = (patches.var(-1, keepdim=True) + 1e-6).sqrt()
            reconstructed = reconstructed * deviation + patches.mean(-1, keepdim=True)
        masked = self._pictures(patches.masked_fill(hidden.bool(), 0))
        pictures = self._pictures(torch.where(hidden.bool(), reconstructed, patches))
        for sample, *shown in zip(data_samples, masked, pictures, strict=True):
            sample.set_data(dict(loss=float(output.loss), masked=shown[0], reconstruction=shown[1]))
        return list(data_samples)

    def encoder_weights(self) -> dict[str, torch.Tensor]:
        """The encoder's weights by timm's names, as `timm.create_model(encoder, num_classes=0)` takes all of them."""
        weights = self.mae.vit.state_dict()
        renamed = {_timm_name(name): value for name, value in weights.items() if not name.endswith(_PARTS_OF_QKV)}
        for name in weights:
            if name.endswith((f"{_QKV[0]}.weight", f"{_QKV[0]}.bias")):
                parts = [weights[name.replace(_QKV[0], part)] for part in _QKV]
                renamed[_timm_name(name.replace(_QKV[0], "qkv"))] = torch.cat(parts)
        empty_vit(self.encoder, self.image_size).load_state_dict(renamed, assign=True)
        return {name: value.detach().cpu().clone() for name, value in renamed.items()}

    def _noise(self, image_id: str) -> torch.Tensor:
        """(patches,) float32, of which the highest hide their patch."""
        seeded = torch.Generator().manual_seed(zlib.crc32(image_id.encode()))
        return torch.rand((self.image_size // self.patch_size) ** 2, generator=seeded)

    def _pictures(self, patches: torch.Tensor) -> torch.Tensor:
        """(N, patches, values) normalised -> (N, 3, H, W) uint8 BGR."""
        preprocessor, pictures = self.data_preprocessor, self.mae.unpatchify(patches)
        if hasattr(preprocessor, "mean"):
            pictures = pictures * preprocessor.std + preprocessor.mean
        return pictures.flip(1).round().clamp(0, 255).to(torch.uint8).cpu()


_QKV = ("q_proj", "k_proj", "v_proj")
_PARTS_OF_QKV = tuple(f"{part}.{kind}" for part in _QKV for kind in ("weight", "bias"))
# From the names of transformers 5 to timm's, in this order.
_TIMM_NAMES = (
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.", ""),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("layernorm.", "norm."),
    ("layers.", "blocks."),
    ("attention.o_proj.", "attn.proj."),
    ("attention.", "attn."),
)


def _timm_name(name: str) -> str:
    for ours, timms in _TIMM_NAMES:
        name = name.replace(ours, timms)
    return name


def empty_vit(name: str, image_size: int) -> Any:
    """A ViT of timm without a head, whose weights take no memory.

    Args:
        name: timm's, such as `vit_tiny_patch16_224`.
        image_size: of square images, in pixels.

    Raises:
        DataError: timm is not installed, has no such ViT, or its patches do not fill the image.
    """
    check_timm()
    import timm

    try:
        with torch.device("meta"):
            vit = timm.create_model(name, img_size=image_size, num_classes=0)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"{name}: timm makes no ViT of it ({error}), expected a name such as vit_small_patch16_224. Correct it."
        ) from error
    if not isinstance(vit, timm.models.VisionTransformer):
        raise DataError(f"{name}: a {type(vit).__name__}, expected a ViT such as vit_small_patch16_224. Correct it.")
    patch = vit.patch_embed.patch_size[0]
    if image_size < patch or image_size % patch:
        raise DataError(f"image_size={image_size}: expected a multiple of {name}'s patches of {patch}. Correct it.")
    return vit


def _import_mae() -> tuple[Any, Any]:
    """Import transformers' classes for settings and model."""
    keep_hugging_face_offline()
    try:
        from transformers.models.vit_mae import ViTMAEConfig, ViTMAEForPreTraining
    except ImportError as error:
        raise DataError(
            f"transformers: {error}, expected its masked autoencoder. Install the extra mae: `uv sync`, or "
            "`pip install .[mae]`."
        ) from error
    return ViTMAEConfig, ViTMAEForPreTraining
