"""How fast images come in, as ratios to MMSegmentation's own loading and to the bare decoder."""

import copy
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from lesionseg.cli import progress
from lesionseg.data.images import read_image
from lesionseg.data.transforms import LoadLesionImage
from lesionseg.errors import DataError

STOCK = {"LoadLesionImage": dict(type="LoadImageFromFile"), "LoadLesionMask": dict(type="LoadAnnotations")}


@dataclass(frozen=True)
class Row:
    """One way of reading the images.

    Attributes:
        name: what it does.
        images_per_second: on one core, the median of the rounds.
    """

    name: str
    images_per_second: float


def input_rows(cfg: Config, originals: str | None, images: int, rounds: int) -> list[Row]:
    """Time one process on one thread, all ways on the same files, in interleaved rounds.

    Args:
        cfg: whose training pipeline and training set are timed.
        originals: the data set folder that the stock ways read, such as the one without `--short-edge`;
            None reads the same files.
        images: how many of the training set to take, the first in order of names.
        rounds: how often to repeat.

    Returns:
        stock loading and resizing, the config's, the stock pipeline, the config's, and the bare decoder.
    """
    init_default_scope("mmseg")
    cv2.setNumThreads(1)
    own = _samples(cfg, cfg.train_dataloader.dataset.data_root, images)
    stock = _samples(cfg, originals, images) if originals else own
    pipeline = cfg.train_dataloader.dataset.pipeline
    resize = next(number for number, step in enumerate(pipeline) if "Resize" in step.type)
    ways: dict[str, tuple[Callable, Sequence[dict]]] = {
        "stock loading and resizing": (Compose(_stock(pipeline[: resize + 1])), stock),
        "this config's loading and resizing": (Compose(pipeline[: resize + 1]), own),
        "stock loading in the whole pipeline": (Compose(_stock(pipeline)), stock),
        "this config's whole pipeline": (Compose(pipeline), own),
        "bare decoding of the images it reads": (_decode, own),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in progress(range(rounds), rounds, "timing"):
        for name, (way, samples) in ways.items():
            np.random.seed(number)
            random.seed(number)
            seconds[name].append(_time(way, samples))
    return [Row(name, len(own) / median(times)) for name, times in seconds.items()]


def input_table(rows: Sequence[Row]) -> str:
    """Set the rows and their ratios to the stock way of the same extent in a table."""
    stock_loading, loading, stock_pipeline, pipeline, decoding = rows
    compared = {loading.name: stock_loading, pipeline.name: stock_pipeline, decoding.name: stock_loading}
    lines = [f"{'':38}{'images/s a core':>16}{'x stock':>10}"]
    for row in rows:
        ratio = row.images_per_second / compared.get(row.name, row).images_per_second
        lines.append(f"{row.name:38}{row.images_per_second:16.1f}{ratio:10.2f}")
    return "\n".join(lines)


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


def _samples(cfg: Config, data_root: str, images: int) -> list[dict]:
    settings = dict(copy.deepcopy(cfg.train_dataloader.dataset), data_root=data_root, pipeline=[], serialize_data=False)
    dataset = DATASETS.build(settings)
    if not len(dataset):
        raise DataError(f"{data_root}: no training images, expected some to time. Check data_root.")
    return [dataset.get_data_info(number) for number in range(min(images, len(dataset)))]


def _stock(pipeline: Sequence[dict]) -> list[dict]:
    return [STOCK.get(step["type"], step) for step in pipeline]


def _decode(sample: dict) -> np.ndarray:
    return read_image(sample["img_path"])


def _time(way: Callable, samples: Sequence[dict]) -> float:
    copies = copy.deepcopy(list(samples))
    start = time.perf_counter()
    for sample in copies:
        way(sample)
    return time.perf_counter() - start
