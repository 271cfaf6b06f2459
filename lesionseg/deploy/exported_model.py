"""An exported model in the place of a config's own, so that the same test scores it."""

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData

from lesionseg.deploy.engines import check_task, open_model
from lesionseg.deploy.found import find
from lesionseg.deploy.pipeline import prepare
from lesionseg.engine.families import SEMANTIC
from lesionseg.inference import Segmenter


# In MMEngine's root registry, where the runners of MMSegmentation and of MMDetection both find it.
@MODELS.register_module()
class ExportedModel(BaseModel):
    """Runs an exported model on images in their original size, as `tools/predict.py` does.

    Args:
        path: an ONNX file of `tools/export.py`.
        task: `semantic` or `instances`, that of the config.
        engine: one of `lesionseg.deploy.engines.ENGINES`.
        tta: average over flipped copies of each image; for semantic segmentation.

    Raises:
        DataError: the file cannot be used, or is a model for another task.
    """

    def __init__(self, path: str, task: str, engine: str = "onnxruntime", tta: bool = False) -> None:
        super().__init__()
        self._model = open_model(path, engine)
        check_task(self._model.card, task, path)
        self._segmenter = Segmenter(self._model, tta=tta)

    def forward(self, inputs: list[torch.Tensor], data_samples: list, mode: str = "predict") -> list:
        """Add to the data samples what MMSegmentation's or MMDetection's models would.

        Args:
            inputs: (3, H, W) uint8 BGR each, in the image's original size.
            data_samples: SegDataSample or DetDataSample, one for each.
            mode: only `predict`.
        """
        assert mode == "predict"
        for image, sample in zip(inputs, data_samples, strict=True):
            pixels = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
            if self._model.card.task == SEMANTIC:
                mask = self._segmenter.predict(pixels).mask
                sample.pred_sem_seg = PixelData(data=torch.from_numpy(mask.astype(np.int64))[None])
            else:
                found = find(self._model, prepare(pixels, self._model.card))
                masks = np.stack(found.masks) if found.masks else np.empty((0, *found.mask.shape), bool)
                sample.pred_instances = InstanceData(
                    bboxes=torch.from_numpy(found.boxes),
                    scores=torch.from_numpy(found.scores),
                    labels=torch.zeros(len(found.scores), dtype=torch.int64),
                    masks=torch.from_numpy(masks),
                )
        return data_samples
