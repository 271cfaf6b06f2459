"""What every engine does: it runs a batch."""

from typing import Protocol

import numpy as np

from lesionseg.engine.families import INSTANCES, SEMANTIC
from lesionseg.inference.runtimes.model_card import ModelCard

# Of an exported file, and by task.
INPUT = "input"
OUTPUTS = {SEMANTIC: ("scores",), INSTANCES: ("dets", "labels", "masks")}


class Model(Protocol):
    """What runs a batch, whatever it is made of.

    Attributes:
        card: how to prepare images, and what the outputs mean.
        path: what messages call it by.
        batches: whether it takes several images at once.
    """

    card: ModelCard
    path: str
    batches: bool

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """Run a batch.

        Args:
            batch: (N, 3, H, W) float32, images as `lesionseg.inference.prepare.prepare` makes them.

        Returns:
            semantic: [(N, C, H, W) float32 scores by class]. Instances: [(N, K, 5) float32 boxes and scores,
            (N, K) int64 labels, (N, K, h, w) float32 masks], see `lesionseg.inference.decode.lesion_detections`.

        Raises:
            ModelError: the model fails, whatever the image, or takes too long.
            MemoryError: the images are too large for this machine.
        """
        ...
