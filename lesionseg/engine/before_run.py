"""What has to be there before a training or a test begins: its processes, its data, its starting weights."""

import copy
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from urllib.error import URLError

import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_main_process
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, init_default_scope
from mmengine.visualization import Visualizer

from lesionseg.data.datasets.edited_masks import note_edited_masks
from lesionseg.data.datasets.instances import LesionCocoDataset
from lesionseg.data.datasets.preflight import check_images, check_masks
from lesionseg.data.datasets.unlabelled import UnlabelledDataset
from lesionseg.engine.checkpoint import fetch_weights
from lesionseg.engine.processes import ended_by_signals, join_by_gloo, name_process, share_of_cores
from lesionseg.engine.screen import screen
from lesionseg.errors import DataError
from lesionseg.files import lock_folder, real_path
from lesionseg.models.imagenet import imagenet_weights


def start_processes(cfg: Config, local_rank: int | None = None) -> None:
    """Join the other processes of a distributed run, before the first of them does anything alone.

    MMEngine's own start calls `torch.cuda.set_device`, so that without a GPU it cannot be used. With GPUs all is
    started as by torchrun: its start by Slurm gives all runs on a machine one port, and looks for the GPU of a
    process's number where Slurm shows each process but one.

    Args:
        cfg: its `launcher` says how the processes were started; without a GPU it is changed in place.
        local_rank: as `torch.distributed.launch` passes it; torchrun sets LOCAL_RANK, which MMEngine reads, instead.

    Raises:
        DataError: not started as `launcher` says, or it is not known where the first process is.
    """
    if local_rank is not None:
        os.environ.setdefault("LOCAL_RANK", str(local_rank))
    if cfg.launcher == "none" or torch.distributed.is_initialized():
        return
    if torch.cuda.is_available():
        name_process(cfg.launcher)
        with ended_by_signals():
            init_dist("pytorch", **cfg.env_cfg.get("dist_cfg", {"backend": "nccl"}))
        return
    join_by_gloo(cfg.launcher)
    # Fewer, where OMP_NUM_THREADS says so: torchrun sets it.
    torch.set_num_threads(min(torch.get_num_threads(), share_of_cores()))
    cfg.model_wrapper_cfg = dict(
        type="MMDistributedDataParallel",
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    _replace_sync_bn(cfg.model)


def check_own_gpu(launcher: str) -> None:
    """Find out whether torchrun has started more processes than there are GPUs, before anything else of MMEngine.

    Its logger would end with an IndexError there, and NCCL refuses two processes on one GPU. Slurm may show each
    process but one GPU, so that of its processes nothing can be said.

    Args:
        launcher: how the processes were started; there may be no GPU at all.

    Raises:
        DataError: this process has none.
    """
    number, gpus = os.environ.get("LOCAL_RANK", ""), torch.cuda.device_count()
    # What is no number is told by `name_process`.
    if launcher == "pytorch" and number.isdecimal() and int(number) >= gpus > 0:
        raise DataError(
            f"--launcher pytorch: process {int(number) + 1} of this machine has no GPU, as there are {gpus}, expected "
            f"one for each. Start it with --nproc-per-node {gpus}."
        )


@contextmanager
def one_run(work: str, *folders: str | PathLike | None) -> Iterator[None]:
    """Keep other runs of the same work out of the folders that this one writes into, while the block runs.

    The first process of a distributed run does so for all of them; see `lesionseg.files.lock_folder`.

    Args:
        work: such as `train`; a training and a test of it may go on in one work_dir.
        folders: of which None is none.

    Raises:
        DataError: another run is writing into one of them.
        OSError: one cannot be made or written to.
    """
    with ExitStack() as stack:
        if is_main_process():
            for folder in {real_path(folder): folder for folder in folders if folder}.values():
                stack.enter_context(lock_folder(folder, work))
        yield


def remove_folder(work_dir: str) -> None:
    """Remove the work_dir that a run has made, and that holds nothing but its log."""
    # What is still written to would tell, in a thread of its own or in the next run, that its folder has gone.
    for kind in (Visualizer, *Visualizer.__subclasses__()):
        while kind._instance_dict:
            kind._instance_dict.popitem()[1].close()
    for logger in MMLogger._instance_dict.values():
        for handler in [each for each in logger.handlers if isinstance(each, logging.FileHandler)]:
            if Path(handler.baseFilename).is_relative_to(os.path.abspath(work_dir)):
                logger.removeHandler(handler)
                handler.close()
    shutil.rmtree(work_dir, ignore_errors=True)


def _replace_sync_bn(settings: dict) -> None:
    """Synchronised batch normalisation exists on the GPU only."""
    for key, value in settings.items():
        if key == "type" and value == "SyncBN":
            settings[key] = "BN"
        elif isinstance(value, dict):
            _replace_sync_bn(value)


def check_data(cfg: Config, loader: str) -> None:
    """Tell what a data set holds, after a look at each of its masks, or at its images where there are none.

    Raises:
        DataError: it cannot be used.
    """
    init_default_scope(cfg.default_scope)
    settings = copy.deepcopy(cfg[loader].dataset)
    dataset = DATASETS.build(dict(settings, pipeline=[], serialize_data=False))
    name = loader.removesuffix("_dataloader")
    samples = [dataset.get_data_info(index) for index in range(len(dataset))]
    if not samples:
        raise DataError(
            f"{dataset.ann_file or dataset.data_root}: no image is left for {loader}, expected one or more. Annotate "
            "lesions in some, or change what leaves them out: train_fraction, train_list, fold, or filter_cfg and "
            "indices of its dataset."
        )
    if taken := getattr(dataset, "taken", None):
        screen.tell(f"{name}: {taken}")
    if summary := getattr(dataset, "summary", None):
        screen.tell(f"{name}: {summary}")
    if isinstance(dataset, UnlabelledDataset):
        check_images([sample["img_path"] for sample in samples], name, dataset.min_edge)
    if pairs := [(sample["img_path"], sample["seg_map_path"]) for sample in samples if sample.get("seg_map_path")]:
        screen.tell(f"{name}: {check_masks(pairs, name)}")
        if isinstance(dataset, LesionCocoDataset) and (note := note_edited_masks(dataset, samples)):
            screen.tell(note, "warning")
    for finding in getattr(dataset, "metainfo", {}).get("findings", ()):
        looked_for = [sample for sample in samples if finding in sample.get("mask_paths", ())]
        if looked_for:
            label = looked_for[0].get("labels", {}).get(finding)
            pairs = [(sample["img_path"], sample["mask_paths"][finding]) for sample in looked_for]
            screen.tell(f"{name}: {finding}, {check_masks(pairs, f'{name} {finding}', label)}")


def backbone_weights(cfg: Config) -> str | None:
    """The file or address of the weights that the backbone is to begin with."""
    init_cfg = (cfg.model.get("backbone") or {}).get("init_cfg")
    return init_cfg.get("checkpoint") if isinstance(init_cfg, dict) else None


def check_backbone_weights(cfg: Config) -> None:
    """Raise DataError where what the backbone is to begin with is not there."""
    if (cfg.model.get("backbone") or {}).get("imagenet_weights"):
        imagenet_weights()
    path = backbone_weights(cfg)
    if path and "://" not in path and not Path(path).is_file():
        raise DataError(
            f"{path}: no such file, expected the weights that the backbone begins with. Pre-train first, "
            "tools/train.py configs/mae/CONFIG, and give what that wrote: "
            "--cfg-options model.backbone.init_cfg.checkpoint=FILE."
        )


def starting_weights(cfg: Config, config: str) -> str:
    """Fetch the weights of `load_from` before anything is built, and give their path.

    Raises:
        DataError: there are none.
    """
    if not re.match(r"https?://", cfg.load_from):
        if not Path(cfg.load_from).is_file():
            raise DataError(f"load_from={cfg.load_from}: no such file, expected starting weights. Correct it.")
        return cfg.load_from
    try:
        return str(fetch_weights(cfg.load_from))
    except (URLError, OSError, RuntimeError) as error:
        # All that is changed beside the number of images gives way: 1xb4-ema-20k becomes 1xb4-scratch-20k.
        scratch = Path(config).with_name(re.sub(r"(\d+xb\d+-(?:amp-)?)([a-z]+-)*", r"\1scratch-", Path(config).name))
        if scratch.is_file():
            without = f", or train without: {scratch}"
        elif cfg.model.backbone.get("frozen_stages", -1) < 0:
            without = ", or train without: --cfg-options load_from=None"
        else:
            # Its frozen layers would stay random.
            without = ""
        raise DataError(
            f"{cfg.load_from}: the starting weights cannot be fetched ({getattr(error, 'reason', error)}), expected "
            f"access to that address. Fetch them elsewhere and add --cfg-options load_from=FILE{without}."
        ) from error
