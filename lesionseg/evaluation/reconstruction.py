"""How well hidden patches are reconstructed: the loss on held-out images, and a picture to judge it by."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mmengine.dist import master_only
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, METRICS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from lesionseg.cli import one_line
from lesionseg.evaluation.pictures import encode_figure
from lesionseg.files import write_bytes

RECONSTRUCTIONS = "reconstructions.jpg"
_LOSS = "loss"
_MOST_SHOWN = 8


# In MMEngine's root registry: pre-training belongs to neither of the toolboxes.
@METRICS.register_module()
class ReconstructionMetric(BaseMetric):
    """The mean of `lesionseg.models.masked_autoencoder.MaskedAutoencoder`'s loss, as `loss`, lower is better."""

    score_names = (_LOSS,)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        self.results += [sample[_LOSS] for sample in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {_LOSS: float(np.mean(results))}


@HOOKS.register_module()
class ReconstructionSheetHook(Hook):
    """Draws held-out images, what the encoder sees of them, and what is made of that, at every validation.

    The newest sheet is `reconstructions.jpg` in the work_dir; all of them are in the visualiser's folder and in
    TensorBoard.
    """

    @master_only
    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        if batch_idx or not outputs or data_batch is None:
            return
        lines: dict[str, list[np.ndarray]] = {"image": [], "seen": [], "reconstructed": []}
        for image, sample in zip(data_batch["inputs"][:_MOST_SHOWN], outputs, strict=False):
            for line, picture in zip(lines.values(), (image, sample.masked, sample.reconstruction), strict=True):
                line.append(picture.permute(1, 2, 0).flip(-1).cpu().numpy())
        names = [sample.image_id for sample in outputs[:_MOST_SHOWN]]
        write_bytes(Path(runner.work_dir) / RECONSTRUCTIONS, _sheet(lines, names))
        grid = np.concatenate([np.concatenate(line, axis=1) for line in lines.values()])
        runner.visualizer.add_image("reconstructions", grid, step=runner.iter)


def _sheet(lines: dict[str, list[np.ndarray]], names: Sequence[str]) -> bytes:
    """Set pictures, (H, W, 3) uint8 RGB, in named lines, a column an image; a JPEG file."""
    figure = Figure(figsize=(1.6 * len(names) + 0.4, 1.6 * len(lines) + 0.4), layout="constrained")
    axes = figure.subplots(len(lines), len(names), squeeze=False)
    for line, (label, pictures) in zip(axes, lines.items(), strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[], frame_on=False)
        line[0].set_ylabel(label, fontsize=12)
    for axis, name in zip(axes[-1], names, strict=True):
        axis.set_xlabel(one_line(name), fontsize=8, parse_math=False)
    return encode_figure(figure, "jpeg", dpi=130)
