"""How fast images come in, as ratios to MMSegmentation's own loading and to the bare decoder."""

import copy
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, init_default_scope

import lesionseg.openmmlab  # noqa: F401
from lesionseg.cli import progress
from lesionseg.data.datasets.preflight import check_masks
from lesionseg.data.datasets.transforms import LoadLesionImage
from lesionseg.errors import DataError
from lesionseg.pixels.pictures import read_image
from lesionseg.tables import Grid, terminal_table


@dataclass(frozen=True)
class Row:
    """One way of reading the images.

    Attributes:
        name: what it does.
        images_per_second: on one core, the median of the rounds.
        times_stock: how many times as fast as MMSegmentation's own loading of the same extent.
    """

    name: str
    images_per_second: float
    times_stock: float


def input_rows(cfg: Config, originals: str | None, images: int, rounds: int) -> list[Row]:
    """Time one process on one thread, all ways on the same files, in interleaved rounds.

    The masks are checked before, as at the start of a training, and so are in the cache.

    Args:
        cfg: whose training pipeline and training set are timed.
        originals: the data set folder that the stock ways read, such as the one without `--short-edge`;
            None reads the same files.
        images: how many of the training set to take, the first in order of names.
        rounds: how often to repeat.

    Returns:
        loading and resizing, with the crop where the config does both in one, by stock, by the config and by the
        config with all masks from their files; the whole pipeline of the three; and the bare decoder.

    Raises:
        DataError: the config is not one of semantic segmentation, or its training set cannot be used.
    """
    _check_kind(cfg)
    init_default_scope(cfg.default_scope)
    own = _samples(cfg, cfg.train_dataloader.dataset.data_root, images)
    stock = _samples(cfg, originals, images) if originals else own
    check_masks([(sample["img_path"], sample["seg_map_path"]) for sample in own], "training")
    pipeline = cfg.train_dataloader.dataset.pipeline
    resize = next(number for number, step in enumerate(pipeline) if "Resize" in step.type or "Scale" in step.type)
    ways: dict[str, tuple[Callable, Sequence[dict]]] = {}
    for extent, steps in (("loading and resizing", pipeline[: resize + 1]), ("whole pipeline", pipeline)):
        ways[f"stock {extent}"] = Compose(_stock(steps)), stock
        ways[f"this config's {extent}"] = Compose(steps), own
        ways[f"this config's {extent}, masks not cached"] = Compose(_uncached(steps)), own
    ways["bare decoding of the images it reads"] = _decode, own
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with _one_thread():
        for number in progress(range(rounds), rounds, "timing"):
            for name, (way, samples) in ways.items():
                np.random.seed(number)
                random.seed(number)
                seconds[name].append(_time(way, samples))
    medians = {name: median(times) for name, times in seconds.items()}
    rows = []
    for name, time_taken in medians.items():
        compared = "stock whole pipeline" if "whole pipeline" in name else "stock loading and resizing"
        rows.append(Row(name, len(own) / time_taken, medians[compared] / time_taken))
    return rows


def input_table(rows: Sequence[Row]) -> str:
    """Set the rows in a table."""
    cells = [[row.name, f"{row.images_per_second:.1f}", f"{row.times_stock:.2f}"] for row in rows]
    return terminal_table(Grid(["way", "images/s a core", "x stock"], cells))


def decode_difference(cfg: Config, images: int) -> tuple[int, float]:
    """How far decoding at a reduced scale changes the pixels that reach the model.

    Both ways are brought to the pipeline's largest short edge by area interpolation.

    Returns:
        the largest and the mean absolute difference in gray levels of 256; (0, 0) where no image is reduced.
    """
    settings = next(step for step in cfg.train_dataloader.dataset.pipeline if step.type == "LoadLesionImage")
    load, full = LoadLesionImage(settings.get("min_short_edge")), LoadLesionImage()
    largest, means = 0, [0.0]
    for sample in _samples(cfg, cfg.train_dataloader.dataset.data_root, images):
        results = load.transform(dict(sample))
        if results["decode_reduction"] == 1:
            continue
        height, width = results["ori_shape"]
        scale = settings.min_short_edge / min(height, width)
        size = round(width * scale), round(height * scale)
        reduced, exact = (
            cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.int16)
            for image in (results["img"], full.transform(dict(sample))["img"])
        )
        difference = np.abs(reduced - exact)
        largest = max(largest, int(difference.max()))
        means.append(float(difference.mean()))
    return largest, sum(means) / max(1, len(means) - 1)


def _check_kind(cfg: Config) -> None:
    types = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    if absent := [name for name in ("LoadLesionImage", "LoadLesionMask") if name not in types]:
        raise DataError(
            f"{cfg.filename}: no {' and no '.join(absent)} in its training pipeline, expected a config of semantic "
            "segmentation, whose masks are pictures; one of instances reads a COCO file. Choose one of "
            "configs/mask2former."
        )


def _samples(cfg: Config, data_root: str, images: int) -> list[dict]:
    settings = dict(copy.deepcopy(cfg.train_dataloader.dataset), data_root=data_root, pipeline=[], serialize_data=False)
    dataset = DATASETS.build(settings)
    if not len(dataset):
        raise DataError(f"{data_root}: no training images, expected some to time. Check data_root.")
    return [dataset.get_data_info(number) for number in range(min(images, len(dataset)))]


def _stock(pipeline: Sequence[dict]) -> list[dict]:
    """Do what a pipeline does with the transforms of MMCV and MMSegmentation."""
    steps = []
    for step in pipeline:
        if step["type"] == "LoadLesionImage":
            steps.append(dict(type="LoadImageFromFile"))
        elif step["type"] == "LoadLesionMask":
            steps.append(dict(type="LoadAnnotations"))
        elif step["type"] == "RandomScaleCrop":
            settings = dict(scales=step["scales"], max_size=step["max_size"])
            steps.append(dict(type="RandomChoiceResize", resize_type="ResizeShortestEdge", **settings))
            steps.append(dict(type="RandomCrop", crop_size=step["crop_size"]))
        else:
            steps.append(step)
    return steps


def _uncached(pipeline: Sequence[dict]) -> list[dict]:
    return [dict(step, cached=False) if step["type"] == "LoadLesionMask" else step for step in pipeline]


def _decode(sample: dict) -> np.ndarray:
    return read_image(sample["img_path"])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Work as a loader process does."""
    threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])


def _time(way: Callable, samples: Sequence[dict]) -> float:
    copies = copy.deepcopy(list(samples))
    start = time.perf_counter()
    for sample in copies:
        way(sample)
    return time.perf_counter() - start
