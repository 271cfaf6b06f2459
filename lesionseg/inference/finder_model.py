"""Any method in the place of a config's own network, so that the same test scores it."""

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData

from lesionseg.inference.finder import Image, Prediction
from lesionseg.inference.opening import check_task, open_finder


# In MMEngine's root registry, where the runners of MMSegmentation and of MMDetection both find it.
@MODELS.register_module()
class FinderModel(BaseModel):
    """Runs a method on images in their original size, as `tools/predict.py` does.

    Args:
        path: what `lesionseg.inference.opening.open_finder` opens.
        task: `semantic` or `instances`, that of the config.
        tta: average over flipped copies of each image.

    Raises:
        DataError: it cannot be opened, or is for another task.
    """

    def __init__(self, path: str, task: str, tta: bool = False) -> None:
        super().__init__()
        self._finder = open_finder(path, tta=tta)
        check_task(self._finder.task, task, path)

    def forward(self, inputs: list[torch.Tensor], data_samples: list, mode: str = "predict") -> list:
        """Add to the data samples what MMSegmentation's or MMDetection's models would.

        Args:
            inputs: (3, H, W) uint8 BGR each, in the image's original size.
            data_samples: SegDataSample or DetDataSample, one for each.
            mode: only `predict`.
        """
        assert mode == "predict"
        for tensor, sample in zip(inputs, data_samples, strict=True):
            pixels = np.ascontiguousarray(tensor.permute(1, 2, 0).cpu().numpy())
            (found,) = self._finder.find([Image(pixels, sample.metainfo.get("image_id", ""))])
            if found.instances is None:
                sample.pred_sem_seg = PixelData(data=torch.from_numpy(found.mask.astype(np.int64))[None])
            else:
                sample.pred_instances = _instance_data(found)
        return data_samples


def _instance_data(found: Prediction) -> InstanceData:
    instances = found.instances
    assert instances is not None
    masks = [instances.draw(number) for number in range(len(instances))]
    return InstanceData(
        bboxes=torch.from_numpy(instances.boxes),
        scores=torch.from_numpy(instances.scores),
        labels=torch.zeros(len(instances), dtype=torch.int64),
        masks=torch.from_numpy(np.stack(masks) if masks else np.empty((0, *found.mask.shape), bool)),
    )
