"""What configs have in common, as functions that they import: what a config sets by them, it sets everywhere.

In MMEngine the variables of a config are not links: a config that changes a length or a data set has to say so in each
place that repeats it. A config with a `_base_` may import these and bind what they give:

    from lesionseg.engine.recipes import schedule

    globals().update(schedule(max_iters=20000, warmup_iters=500, val_interval=1000))
"""

from collections.abc import Sequence
from typing import Any

_SPLITS = ("train", "val", "test")


def schedule(max_iters: int, warmup_iters: int, val_interval: int, start_factor: float = 0.01) -> dict[str, Any]:
    """Train for a number of iterations: linear warm-up, then polynomial decay (power 0.9) to zero.

    Args:
        max_iters: length of the training.
        warmup_iters: of these, how many the learning rate takes to rise to its full height.
        val_interval: iterations between validations; checkpoints are saved as often.
        start_factor: share of the full learning rate that the warm-up begins with.

    Returns:
        top-level settings of a config by name.
    """
    return dict(
        max_iters=max_iters,
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=val_interval),
        val_cfg=dict(type="ValLoop"),
        test_cfg=dict(type="TestLoop"),
        param_scheduler=[
            dict(type="LinearLR", start_factor=start_factor, begin=0, end=warmup_iters, by_epoch=False),
            dict(type="PolyLR", power=0.9, eta_min=0, begin=warmup_iters, end=max_iters, by_epoch=False),
        ],
    )


def loaders(
    batch_size: int | None = None, pipelines: Sequence[Sequence[dict]] | None = None, **dataset: Any
) -> dict[str, Any]:
    """Give the loaders of training, validation and test other data.

    Args:
        batch_size: images in a training step; by default that of the parent.
        pipelines: of training, validation and test; by default those of the parent.
        dataset: settings that the three data sets share, such as `data_root`.

    Returns:
        top-level settings of a config by name; those of `dataset` among them.
    """
    found: dict[str, dict[str, Any]] = {f"{split}_dataloader": dict(dataset=dict(dataset)) for split in _SPLITS}
    if batch_size is not None:
        found["train_dataloader"]["batch_size"] = batch_size
    for split, pipeline in zip(_SPLITS, pipelines or (), strict=False):
        found[f"{split}_dataloader"]["dataset"]["pipeline"] = pipeline
    return dict(dataset, **found)
