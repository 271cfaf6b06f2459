"""A training step as a CUDA graph, which the host starts at once and not kernel by kernel.

A step of a small batch is so many small kernels that the GPU waits for the host to start them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from lesionseg.engine.families import PRETRAINING, SEMANTIC, family_of
from lesionseg.errors import DataError, is_out_of_memory
from lesionseg.models.batch_preprocessor import labelled

# Those of other shapes are trained on without one.
MOST_GRAPHS = 8
# Of the configs with these heads, or of this type, it is known: their steps depend neither on the iteration nor on
# Python's random numbers, which a graph would not see.
_HEADS, _MODEL = ("LesionMask2FormerHead", "MultiLabelSegformerHead"), "LesionMaskRCNN"

# Makes a batch again of its tensors.
_Restore = Callable[[Sequence[Tensor]], dict]


def check_step_graph(cfg: Config) -> None:
    """Raise DataError where a config asks for graphs of steps that are not always the same, by `cuda_graph=True`."""
    if cfg.get("cuda_graph") and (hindrance := _hindrance(cfg)):
        raise DataError(
            f"{cfg.filename}: cuda_graph=True, but {hindrance}, expected steps that are always the same. Leave it out."
        )


def uses_step_graph(cfg: Config) -> bool:
    """Whether steps are taken by graphs: on a GPU, those of this project's models, and others for `cuda_graph=True`."""
    asked = cfg.get("cuda_graph")
    return (_is_own(cfg) if asked is None else asked) and not _hindrance(cfg) and torch.cuda.is_available()


def _hindrance(cfg: Config) -> str | None:
    """Why steps are not always the same."""
    task = family_of(cfg, pretraining=True).task
    if task == PRETRAINING:
        return "it is a pre-training"
    if task != SEMANTIC and cfg.model.type != _MODEL:
        return "the shapes in its steps depend on what is found"
    if cfg.optim_wrapper.get("accumulative_counts", 1) != 1:
        return "with accumulative_counts some steps differ from others"
    if cfg.get("compile") not in (None, False):
        return "compile makes graphs, too"
    if cfg.get("activation_checkpointing"):
        return "activation_checkpointing looks at the random state within a step"
    if cfg.get("launcher", "none") != "none":
        return "several processes gather their gradients while a step runs"
    return None


def _is_own(cfg: Config) -> bool:
    head = cfg.model.get("decode_head")
    return cfg.model.type == _MODEL or (isinstance(head, dict) and head.get("type") in _HEADS)


def train_step_of(model: BaseModel, cfg: Config) -> Callable[[dict, OptimWrapper], dict[str, Tensor]]:
    """What takes a model's training steps: graphs, or its own `train_step`."""
    if uses_step_graph(cfg) and type(model).train_step is BaseModel.train_step:
        return StepGraphs(model)
    return model.train_step


class StepGraphs:
    """Takes a model's training steps, `train_step`, by a graph for each shape of its batches.

    A graph repeats the forward pass, the losses and the backward pass; the optimizer's step follows it, so that
    learning rates may change and gradients be clipped. Where a step waits for the GPU, of which there can be no graph,
    where samples differ in more than a graph is told of them, and beyond `MOST_GRAPHS` shapes, steps are taken without.

    Args:
        model: on a GPU.
    """

    def __init__(self, model: BaseModel) -> None:
        self._model = model
        self._graphs: dict[tuple[tuple[int, ...], ...], _StepGraph | None] = {}
        self._modes: object = None

    def __call__(self, data: dict, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Train on a batch; see `mmengine.model.BaseModel.train_step`.

        Raises:
            DataError: a step that does not wait for the GPU cannot be made a graph all the same.
        """
        batch = self._model.data_preprocessor(data, True)
        if told := _stack(self._model, batch):
            tensors, restore = told
            if graph := self._graph_for(tensors, restore, optim_wrapper):
                logged = graph(tensors)
                optim_wrapper.step()
                return logged
            batch = restore(tensors)
        optim_wrapper.zero_grad()
        loss, logged = _losses(self._model, batch, optim_wrapper)
        optim_wrapper.update_params(loss)
        return logged

    def _graph_for(
        self, tensors: Sequence[Tensor], restore: _Restore, optim_wrapper: OptimWrapper
    ) -> "_StepGraph | None":
        model = self._model
        # What is frozen has no gradients, and what is in evaluation keeps its statistics: by other kernels.
        modes = [each.requires_grad for each in model.parameters()], [each.training for each in model.modules()]
        if modes != self._modes:
            self._modes = modes
            self._graphs.clear()
        shape = tuple(tuple(each.shape) for each in tensors)
        if shape not in self._graphs and len(self._graphs) < MOST_GRAPHS:
            logger = MMLogger.get_current_instance()
            pools = [graph.pool for graph in self._graphs.values() if graph]
            try:
                self._graphs[shape] = _StepGraph(model, tensors, restore, optim_wrapper, pools[0] if pools else None)
                images, _, height, width = shape[0]
                logger.info(f"training steps of {images} images of {width}x{height} pixels are a CUDA graph")
            except _WaitsForGpuError as error:
                self._graphs[shape] = None
                logger.warning(f"training steps are no CUDA graph: {type(model).__name__} waits for the GPU ({error})")
        return self._graphs.get(shape)


class _WaitsForGpuError(Exception):
    """There can be no graph of a step in which the host waits for the GPU."""


class _StepGraph:
    """Forward pass, losses and backward pass for batches of one shape."""

    def __init__(
        self,
        model: BaseModel,
        tensors: Sequence[Tensor],
        restore: _Restore,
        optim_wrapper: OptimWrapper,
        pool: Any = None,
    ) -> None:
        self._parameters = list(model.parameters())
        self._tensors = [each.clone() for each in tensors]
        self._batch = restore(self._tensors)
        # A graph's first replay is the training's first step: what happens before it does not count.
        random_state = torch.cuda.get_rng_state()
        try:
            self._warm_up(model, optim_wrapper)
        finally:
            torch.cuda.set_rng_state(random_state)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may go on with what concerns them. No two graphs are in use at once: they share memory.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                self._names, self._values = self._take(model, optim_wrapper)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            # What a capture that broke off has left of the GPU's state is not known.
            raise DataError(
                f"{type(model).__name__}: a training step cannot be made a CUDA graph "
                f"({str(error).strip().splitlines()[0]}), expected one that can. Add --cfg-options cuda_graph=False."
            ) from error
        torch.cuda.set_rng_state(random_state)
        self.pool = graph.pool()
        self._graph = graph
        self._gradients = [each.grad for each in self._parameters]

    def _warm_up(self, model: BaseModel, optim_wrapper: OptimWrapper) -> None:
        """Let kernels be compiled and chosen, and what is kept from step to step be made; statistics stay.

        Raises:
            _WaitsForGpuError: the step does.
        """
        buffers = [each.clone() for each in model.buffers()]
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        before = torch.cuda.get_sync_debug_mode()
        try:
            with torch.cuda.stream(beside):
                self._take(model, optim_wrapper)
                torch.cuda.set_sync_debug_mode("error")
                try:
                    self._take(model, optim_wrapper)
                except RuntimeError as error:
                    if is_out_of_memory(error):
                        raise
                    raise _WaitsForGpuError(str(error).strip().splitlines()[0]) from error
        finally:
            torch.cuda.set_sync_debug_mode(before)
            torch.cuda.current_stream().wait_stream(beside)
            optim_wrapper.zero_grad()
            with torch.no_grad():
                for buffer, earlier in zip(model.buffers(), buffers, strict=True):
                    buffer.copy_(earlier)

    def _take(self, model: BaseModel, optim_wrapper: OptimWrapper) -> tuple[list[str], Tensor]:
        # Made anew by the backward pass, in memory of the graph.
        optim_wrapper.zero_grad()
        loss, logged = _losses(model, self._batch, optim_wrapper)
        optim_wrapper.backward(optim_wrapper.scale_loss(loss))
        return list(logged), torch.stack([each.detach().float() for each in logged.values()])

    def __call__(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """Compute the gradients for a batch, and what is to be logged."""
        for ours, given in zip(self._tensors, tensors, strict=True):
            ours.copy_(given)
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return dict(zip(self._names, self._values.clone().unbind(), strict=True))


def _losses(model: nn.Module, batch: dict, optim_wrapper: OptimWrapper) -> tuple[Tensor, dict[str, Tensor]]:
    """What a model does in `train_step` before its backward pass."""
    with optim_wrapper.optim_context(model):
        losses = model(**batch, mode="loss")
    loss, logged = model.parse_losses(losses)
    return loss, logged


def _stack(model: BaseModel, batch: dict) -> tuple[Sequence[Tensor], _Restore] | None:
    """The tensors in which batches differ, and what makes a batch of them; None where batches differ in more."""
    samples = batch["data_samples"]
    if hasattr(model, "stack_truth"):
        truth = model.stack_truth(samples)
        if truth is None:
            return None
        return [batch["inputs"], *truth], lambda told: dict(inputs=told[0], data_samples=truth._make(told[1:]))
    if not all(_tells_all_by_labels(sample) for sample in samples):
        return None
    labels = torch.stack([sample.gt_sem_seg.data for sample in samples])
    return [batch["inputs"], labels], lambda told: dict(inputs=told[0], data_samples=labelled(samples, told[1]))


def _tells_all_by_labels(sample: SegDataSample) -> bool:
    """Whether it differs from others in its pixels alone: not in which findings were looked for."""
    return sample.keys() == ["gt_sem_seg"] and all(
        finding in sample.mask_paths for finding in sample.metainfo.get("findings", ())
    )
