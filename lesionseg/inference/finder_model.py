"""Any method in the place of a config's own network, so that the same test scores it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData

from lesionseg.engine.config import Options
from lesionseg.errors import DataError, first_names
from lesionseg.inference.finder import Image, Prediction
from lesionseg.inference.network import Network
from lesionseg.inference.opening import check_task, open_finder
from lesionseg.inference.quality import QualityMap
from lesionseg.inference.runtimes.torch_model import TorchModel
from lesionseg.pixels.findings import join_findings


# In MMEngine's root registry, where the runners of MMSegmentation and of MMDetection both find it.
@MODELS.register_module()
class FinderModel(BaseModel):
    """Runs a method on images in their original size, as `tools/predict.py` does.

    Args:
        path: what `lesionseg.inference.opening.open_finder` opens, or a checkpoint.
        task: `semantic` or `instances`, that of the config.
        tta: average over flipped copies of each image.
        findings: those that the config's data set tells apart, see `lesionseg.data.datasets.multi_label`.
        options: of a checkpoint, what `lesionseg.engine.config.Options` takes to find its config.

    Raises:
        DataError: it cannot be opened, or is for another task or other findings.
    """

    def __init__(
        self,
        path: str,
        task: str,
        tta: bool = False,
        findings: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if options is None:
            self._finder = open_finder(path, tta=tta, findings=findings)
        else:
            self._finder = Network(TorchModel(Options(**options), path), tta=tta)
        check_task(self._finder.task, task, path)
        self._path, self._findings, self._tta = path, tuple(findings), tta

    @property
    def quality(self) -> QualityMap | None:
        """What the method's numbers let expect of its masks; None where nothing was fitted."""
        return getattr(self._finder, "quality", None)

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
            sample.set_metainfo(dict(numbers=_numbers(found)))
            if found.instances is None:
                sample.pred_sem_seg = PixelData(data=torch.from_numpy(self._codes(found, sample.metainfo))[None])
            else:
                sample.pred_instances = _instance_data(found)
                if self._tta:
                    # The average over the copies is no longer made up of these.
                    sample.pred_sem_seg = PixelData(data=torch.from_numpy(found.mask.astype(np.int64))[None])
        return data_samples

    def _codes(self, found: Prediction, sample: Mapping) -> np.ndarray:
        """(H, W) int64, what a segmentor of the config would give."""
        if len(self._findings) < 2 and not found.findings:
            return found.mask.astype(np.int64)
        if missing := [name for name in self._findings if name in sample["mask_paths"] and name not in found.findings]:
            raise DataError(
                f"{self._path}: gives no mask of {first_names(missing)} for {sample['image_id']}, expected one of each "
                f"finding that the config's data set tells apart ({', '.join(self._findings)}). Add it, or use the "
                "config that belongs to it."
            )
        nowhere = np.zeros_like(found.mask)
        masks = [found.findings[name].mask if name in found.findings else nowhere for name in self._findings]
        return join_findings(masks).astype(np.int64)


def _numbers(found: Prediction) -> dict[str, Mapping[str, float]]:
    """How sure the method is, by finding; see `lesionseg.inference.sample_numbers`."""
    return {name: part.numbers for name, part in (found.findings or {"": found}).items()}


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
