"""What a training has left in its work_dir: the config, and checkpoints by their names."""

import re
import shlex
from os import PathLike
from pathlib import Path

from lesionseg.errors import DataError, first_names
from lesionseg.shipped import find_config


def checkpoints(folder: str | PathLike) -> dict[int, Path]:
    """The checkpoints of a training in a folder by their iterations, in ascending order."""
    return dict(_by_iteration(folder, "iter_"))


def best_checkpoints(folder: str | PathLike, score: str | None = None) -> list[Path]:
    """The files that are or were the best checkpoint by a score, or by any, in the order of their iterations."""
    named = ".+" if score is None else re.escape(score.replace("/", "_"))
    return [path for _, path in _by_iteration(folder, f"best_{named}_iter_")]


def start_from(checkpoint: str | PathLike) -> str:
    """How a message says that another training may start from the weights of a checkpoint."""
    return (
        "start another training from its weights, without --resume and with another --work-dir: --cfg-options "
        f"{shlex.quote(f'load_from={checkpoint}')}"
    )


def instead_of(checkpoint: str | PathLike) -> str:
    """What a message tells to do where a training cannot go on from a checkpoint: there may be an earlier one."""
    path = Path(checkpoint)
    files = list(checkpoints(path.parent).values())
    if path in files[1:]:
        return f"Move it away, so that --resume takes {files[files.index(path) - 1].name}, or {start_from(path)}."
    return f"Train without --resume and with another --work-dir, or {start_from(path)}."


def config_path(given: str) -> str:
    """The path of a config that is given by a path, a name or the work_dir of a training.

    Args:
        given: see `lesionseg.shipped.find_config`; or a folder, in which the only config is meant.

    Returns:
        the path, or `given` itself where that is none of them.
    """
    if Path(given).is_dir():
        configs = list(Path(given).glob("*.py"))
        return str(configs[0]) if len(configs) == 1 else given
    return find_config(given)


def trained_configs(work_dir: str | PathLike) -> list[Path]:
    """The configs that trainings have left in a work_dir, and that nobody has changed since."""
    folder = Path(work_dir)
    left = {path.read_bytes() for path in folder.glob("*/vis_data/config.py")}
    return [path for path in sorted(folder.glob("*.py")) if path.read_bytes() in left]


def chosen_checkpoint(work_dir: str | PathLike) -> str:
    """The checkpoint of a training that is meant where only its work_dir is named: the best one, or else the last.

    Raises:
        DataError: it holds none.
    """
    if found := best_checkpoints(work_dir) or list(checkpoints(work_dir).values()):
        return str(found[-1])
    raise DataError(
        f"{work_dir}: no checkpoint, expected best_<score>_iter_<number>.pth or iter_<number>.pth as a training leaves "
        "them. Train first (tools/train.py), or name the checkpoint behind the config."
    )


def describe_missing_config(given: str) -> str:
    """Say in a message that a config is not where it was said to be."""
    if Path(given).is_dir():
        there = sorted(path.name for path in Path(given).glob("*.py"))
        held = f"{len(there)} configs ({first_names(there)})" if there else "no config"
        return f"{given}: a folder with {held}, expected the work_dir of a training, which has one. Name the config."
    return (
        f"{given}: no such config, expected a file such as configs/mask2former/*.py, a name that `lesionseg configs` "
        "lists, or the work_dir of a training. Check the path."
    )


def _by_iteration(folder: str | PathLike, begin: str) -> list[tuple[int, Path]]:
    """Iterations, in ascending order, and checkpoints whose names begin as a regular expression says."""
    paths = [path for path in Path(folder).iterdir() if path.is_file()] if Path(folder).is_dir() else []
    matches = ((re.fullmatch(rf"{begin}([0-9]+)\.pth", path.name), path) for path in paths)
    return sorted((int(match[1]), path) for match, path in matches if match)
