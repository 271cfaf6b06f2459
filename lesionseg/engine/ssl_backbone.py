"""`ssl_backbone.pth`: what a pre-training leaves for the trainings that follow."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from lesionseg import __version__
from lesionseg.engine.config import config_text
from lesionseg.engine.hooks import bare_model
from lesionseg.files import write_aside

SSL_BACKBONE = "ssl_backbone.pth"


@HOOKS.register_module()
class BackboneHook(Hook):
    """Writes the encoder of a `MaskedAutoencoder` into the work_dir as `ssl_backbone.pth`, when the training has ended.

    The file holds `state_dict`, by timm's names, and `meta`, its card: `model`, timm's name; `image_size`, `mean` and
    `std` of the images that it was trained on; `images`, how many; `iterations`; `weights_sha256`; `config`; and
    `lesionseg`, the version.
    """

    @master_only
    def after_train(self, runner: Runner) -> None:
        model = bare_model(runner.model)
        weights, preprocessor = model.encoder_weights(), model.data_preprocessor
        card = dict(
            model=model.encoder,
            image_size=model.image_size,
            mean=preprocessor.mean.flatten().tolist(),
            std=preprocessor.std.flatten().tolist(),
            images=len(runner.train_dataloader.dataset),
            iterations=runner.iter,
            weights_sha256=weights_sha256(weights),
            config=config_text(runner.cfg),
            lesionseg=__version__,
        )
        path = Path(runner.work_dir) / SSL_BACKBONE
        with write_aside(path) as aside:
            torch.save(dict(state_dict=weights, meta=card), aside)
        runner.logger.info(f"{path}: {model.encoder} after {runner.iter} iterations, for the configs *-mae_*")


def weights_sha256(weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names and values, which stays the same however a file stores them."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
