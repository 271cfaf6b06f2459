"""MMSegmentation's models as ONNX, Mask2Former among them, which mmdeploy does not support."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from os import PathLike
from unittest import mock

import torch
from mmdet.models.dense_heads import Mask2FormerHead
from mmengine.config import Config
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor, nn
from torch.nn import functional

from lesionseg.deploy.lean_mask2former import lean_mask2former
from lesionseg.deploy.position_embeddings import traced_position_embeddings
from lesionseg.errors import DataError
from lesionseg.inference.runtimes.model import INPUT, OUTPUTS
from lesionseg.inference.runtimes.torch_model import semantic_scores

# Height never equals width, and the batch is not 1: what a trace mixes up or freezes then shows.
_TRACED = (2, 3, 192, 256)


class _Scores(nn.Module):
    """The part of a segmentor between the prepared images and the scores of the classes."""

    def __init__(self, segmentor: EncoderDecoder) -> None:
        super().__init__()
        self.segmentor = segmentor

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return semantic_scores(self.segmentor, inputs)[0]


@contextmanager
def _separate_projections() -> Iterator[None]:
    """Let attention project keys and values one after the other, in place of both at once.

    Torch joins the two where they are the same tensor, as in SegFormer, by operations in which a trace freezes the
    number of keys, and so the size of the image (torch 2.13).
    """

    def project(
        query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        biases: Sequence[Tensor | None] = [None] * 3 if bias is None else bias.chunk(3)
        inputs = zip((query, key, value), weight.chunk(3), biases, strict=True)
        return tuple(functional.linear(*each) for each in inputs)

    with mock.patch.object(functional, "_in_projection_packed", project):
        yield


def export_segmentor(segmentor: EncoderDecoder, path: str | PathLike, deploy_cfg: Config) -> None:
    """Write a segmentor as ONNX: `input` (N, 3, H, W) float32 -> `scores` (N, C, H, W) float32.

    Deformable attention becomes GridSample, so that standard operators suffice.

    Args:
        segmentor: in evaluation mode, on the CPU.
        path: of the ONNX file.
        deploy_cfg: its `onnx_config` gives `opset_version`, `dynamic_axes`, or the (width, height) of a fixed
            `input_shape`.

    Raises:
        DataError: the model tests by sliding windows, whose number depends on the image.
    """
    if segmentor.test_cfg.get("mode", "whole") != "whole":
        raise DataError(
            f"model.test_cfg.mode={segmentor.test_cfg.mode}: cannot be exported, expected whole. Export with "
            "--cfg-options model.test_cfg.mode=whole, and look at the scores that tools/test.py gives then."
        )
    settings = deploy_cfg.onnx_config
    shape = (1, 3, *settings.input_shape[::-1]) if settings.get("input_shape") else _TRACED
    lean = lean_mask2former() if isinstance(segmentor.decode_head, Mask2FormerHead) else nullcontext()
    positions = traced_position_embeddings(segmentor)
    with torch.no_grad(), lean, positions, _separate_projections(), warnings.catch_warnings():
        # Of what a trace may fix, and that there is a newer exporter. Whether the file is right is measured afterwards.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            # In training mode, the exporter would leave the segmentor in it.
            _Scores(segmentor).eval(),
            (torch.zeros(shape),),
            str(path),
            input_names=[INPUT],
            output_names=list(OUTPUTS["semantic"]),
            dynamic_axes=settings.get("dynamic_axes"),
            opset_version=settings.opset_version,
            # The exporter that traces; the newer one, default since torch 2.9, needs a package more.
            dynamo=False,
        )
