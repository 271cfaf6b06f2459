"""A training that takes a second: a tiny network, by the runner and the hooks that tools/train.py uses."""

import os
from contextlib import suppress
from itertools import count

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch import nn

import lesionseg.openmmlab  # noqa: F401
from lesionseg.engine.resuming import ResumableRunner

experiments = count()


@MODELS.register_module()
class NoisyNet(BaseModel):
    """Its loss draws, as that of Mask2Former does."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))

    def forward(self, image, mode="loss"):
        logits = self.layers(torch.stack(image))
        return list(logits) if mode == "predict" else dict(loss=(logits - torch.rand_like(logits)).square().mean())


@DATASETS.register_module()
class DrawnImages(torch.utils.data.Dataset):
    def __init__(self, images=6):
        self.images = images

    def __len__(self):
        return self.images

    def __getitem__(self, index):
        return dict(image=torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(int(index))))

    def get_data_info(self, index):
        return {}


@METRICS.register_module()
class GivenScores(BaseMetric):
    """Gives the scores it was made with, by the iteration, every second."""

    default_prefix = "tiny"

    def __init__(self, scores, **kwargs):
        super().__init__(**kwargs)
        self.scores = scores

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        # Of the iteration that runs, or that was resumed.
        done = MessageHub.get_current_instance().get_info("iter")
        return dict(score=self.scores[done + done % 2])


class Killed(BaseException):
    pass


class PoisonHook(Hook):
    """Makes the image of an iteration infinite, and so the weights that are learned from it."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            data_batch["image"][0][:] = float("inf")


class KillHook(Hook):
    """Ends a training as a kill would, where a hook is called in an iteration."""

    def __init__(self, where, done):
        def kill(runner, *args, **kwargs):
            if runner.iter == done:
                raise Killed

        setattr(self, where, kill)


def settings(work_dir, length=6, interval=2, scores=None, workers=0, **saving) -> Config:
    """A config that validates and saves every `interval` iterations."""
    in_order = dict(type="DefaultSampler", shuffle=False)
    cfg = Config(
        dict(
            default_scope="mmengine",
            work_dir=str(work_dir),
            model=dict(type="NoisyNet"),
            train_dataloader=dict(
                dataset=dict(type="DrawnImages"),
                sampler=dict(type="SeededInfiniteSampler"),
                batch_size=2,
                num_workers=0,
            ),
            train_cfg=dict(type="IterBasedTrainLoop", max_iters=length, val_interval=interval),
            val_dataloader=dict(
                dataset=dict(type="DrawnImages", images=2),
                sampler=in_order,
                num_workers=workers,
                persistent_workers=workers > 0,
            ),
            val_cfg=dict(type="ValLoop"),
            val_evaluator=[dict(type="GivenScores", scores=scores or {done: 1 / 7 for done in range(2, 14, 2)})],
            optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.1)),
            param_scheduler=[
                dict(type="LinearLR", start_factor=0.1, begin=0, end=2, by_epoch=False),
                dict(type="PolyLR", power=0.9, begin=2, end=length, by_epoch=False),
            ],
            default_hooks=dict(
                checkpoint=dict(
                    **dict(type="ValidatedCheckpointHook", interval=interval, save_best="tiny/score", rule="greater"),
                    **saving,
                ),
                logger=dict(type="LoggerHook", interval=100),
            ),
            custom_hooks=[dict(type="RandomStateHook"), dict(type="ResumeHook"), dict(type="FiniteHook")],
            randomness=dict(seed=3),
        )
    )
    # As lesionseg.engine.config.load_config does: laying it out takes longer than such a training.
    object.__setattr__(cfg, "_format_python_code", False)
    return cfg


def run(cfg, hook=None, resume_from=None) -> ResumableRunner:
    """Train, from the start or from a checkpoint; `hook` may end it."""
    cfg.experiment_name = f"tiny_{os.getpid()}_{next(experiments)}"
    cfg.resume, cfg.load_from = resume_from is not None, resume_from and str(resume_from)
    runner = ResumableRunner.from_cfg(cfg)
    if hook is not None:
        runner.register_hook(hook)
    with suppress(Killed):
        runner.train()
    return runner
