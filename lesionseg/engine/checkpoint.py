"""Checkpoints are data: they load without running code, and fit the model or are refused."""

import errno
import functools
import logging
import pickle
import re
import zipfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

import mmengine.runner.checkpoint
import mmengine.utils.dl_utils.hub
import torch
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import CheckpointLoader
from torch import nn

from lesionseg.engine.finite import is_finite, tensors_in
from lesionseg.errors import DataError, first_names
from lesionseg.models.fit import misfits, reshaped_names


class BrokenCheckpointError(DataError):
    """A checkpoint that nobody can use: cut off, something else, or of a training that has diverged."""


def secure_loading(trust: bool = False) -> None:
    """Make MMEngine load checkpoints by `load_file`, from wherever they come.

    MMEngine tries `weights_only=True` and silently falls back to unpickling, which runs whatever code a
    file holds (mmengine/runner/checkpoint.py, `_safe_torch_load`, onedl-mmengine 0.10.12). Its loader for addresses,
    by which all names of a model zoo go (`open-mmlab://`, `torchvision://`, `mmcls://`), does not even try.

    Args:
        trust: load with full unpickling, for a file of whose origin the user is sure.
    """

    def from_http(filename: str, map_location: str | torch.device | None = None, *args: Any, **kwargs: Any) -> dict:
        return load_file(fetch_weights(filename), map_location, trust)

    upstream = mmengine.runner.checkpoint
    upstream._safe_torch_load = functools.partial(load_file, trust=trust)
    for name in ("load_from_http", "load_url"):
        setattr(upstream, name, from_http)
    for module in (mmengine.utils.dl_utils, mmengine.utils.dl_utils.hub):
        module.load_url = from_http
    CheckpointLoader.register_scheme(prefixes=("http://", "https://"), loader=from_http, force=True)


def fetch_weights(url: str) -> Path:
    """Download a weights file into torch's cache, unless it is there, and give its path.

    Raises:
        URLError, OSError: the address cannot be reached, or the cache not be written to.
        RuntimeError: the file's SHA-256 does not begin as its name ends.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        ending = re.search(r"-([0-9a-f]{8,})\.\w+$", path.name)
        torch.hub.download_url_to_file(url, str(path), ending and ending[1])
    return path


def load_file(
    path: str | PathLike | IO[bytes], map_location: str | torch.device | None = None, trust: bool = False
) -> dict:
    """Load a checkpoint.

    Args:
        path: a `.pth` file, or what it holds, opened.
        map_location: as for `torch.load`.
        trust: unpickle whatever the file holds. It may run any code.

    Returns:
        what was saved, without the config text in `meta`: MMEngine runs that text when it resumes.

    Raises:
        BrokenCheckpointError: the file is cut off, is no checkpoint, or holds numbers that are not finite.
        DataError: it holds more than data.
    """
    try:
        with torch.serialization.safe_globals(_safe_globals()):
            checkpoint = torch.load(path, map_location=map_location, weights_only=not trust)
    except pickle.UnpicklingError as error:
        if not _looks_like_a_checkpoint(path):
            raise _unreadable(path) from error
        raise DataError(
            f"{path}: holds more than weights, and loading it could run any code, expected tensors and plain values. "
            "Get it from its author as weights only, or, if you are sure of its origin, add --trust-checkpoint. "
            f"(What stands in the way: {_first_sentence(error)})"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise _unreadable(path) from error
    except OSError as error:
        # What torch says of some that are cut off; others mean the disk or the path.
        if error.errno != errno.EINVAL:
            raise
        raise _unreadable(path) from error
    _check_weights(checkpoint, path)
    if isinstance(meta := checkpoint.get("meta"), dict):
        meta.pop("config", None)
    return checkpoint


def _check_weights(checkpoint: object, path: str | PathLike | IO[bytes]) -> None:
    """Raise BrokenCheckpointError for what is no dict of tensors, or holds a tensor that is not finite."""
    if not isinstance(checkpoint, dict):
        raise BrokenCheckpointError(
            f"{path}: holds a {type(checkpoint).__name__}, expected a checkpoint. Check the path."
        )
    weights = checkpoint.get("state_dict", {})
    if not isinstance(weights, dict):
        raise BrokenCheckpointError(
            f"{path}: its state_dict is a {type(weights).__name__}, expected weights by name. Check the path."
        )
    others = [name for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise BrokenCheckpointError(
            f"{path}: {len(others)} of its weights are no tensors ({first_names(others, 3)}), expected tensors only. "
            "Copy or download it again."
        )
    diverged = [name for name, tensor in tensors_in(checkpoint) if not is_finite(tensor)]
    if diverged:
        raise BrokenCheckpointError(
            f"{path}: {len(diverged)} of its tensors are not finite ({first_names(diverged, 3)}), expected numbers: "
            "its training had diverged. Use an earlier checkpoint, or train again with a lower learning rate."
        )


def check_fit(model: nn.Module, checkpoint: dict, path: str, new_parts: Sequence[str] = ()) -> None:
    """Refuse a checkpoint that does not fit, before any of it is loaded.

    Args:
        model: the model it is meant for.
        checkpoint: what `load_file` gave. Weights of `new_parts` whose shape differs are removed from it.
        path: what an error calls the checkpoint.
        new_parts: beginnings of names of parts that may differ, for starting from another data set's
            weights (its classifier has other classes).

    Raises:
        DataError: names the first keys that are missing, unexpected or of another shape.
    """
    weights = checkpoint.get("state_dict", checkpoint)
    wanted = dict(model.state_dict())
    keys = len(wanted)
    new = [name for name in reshaped_names(wanted, weights) if name.startswith(tuple(new_parts))]
    for name in new:
        del weights[name], wanted[name]
    if new:
        print_log(f"{path}: other classes, so these start anew: {first_names(new)}", "current", logging.INFO)
    if faults := misfits(wanted, weights):
        raise DataError(
            f"{path}: does not fit the model of the config: {', '.join(faults)}, expected the {keys} keys "
            "of the model. Use the config that the checkpoint was trained with."
        )


def _safe_globals() -> list:
    # Upstream's list has the real getattr, with which a file could reach anything; only the names of
    # HistoryBuffer's statistics are asked for by checkpoints that MMEngine writes.
    upstream = [entry for entry in mmengine.runner.checkpoint.get_torch_safe_globals() if entry is not getattr]
    return [*upstream, (_statistic, "builtins.getattr")]


def _statistic(owner: type, name: str) -> object:
    if owner is not HistoryBuffer or name not in ("min", "max", "mean", "current"):
        raise pickle.UnpicklingError(f"weights_only: getattr({owner!r}, {name!r}) is not allowed")
    return getattr(owner, name)


def _looks_like_a_checkpoint(path: str | PathLike | IO[bytes]) -> bool:
    """Torch saves zip archives, and before version 1.6 it saved bare pickles."""
    if zipfile.is_zipfile(path):
        return True
    if not isinstance(path, str | PathLike):
        path.seek(0)
        return path.read(1) == pickle.PROTO
    with open(path, "rb") as file:
        return file.read(1) == pickle.PROTO


def _unreadable(path: str | PathLike | IO[bytes]) -> BrokenCheckpointError:
    return BrokenCheckpointError(
        f"{path}: not a readable checkpoint, expected a whole .pth file. Copy or download it again."
    )


def _first_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "global" in line or "getattr" in line]
    return (lines[0] if lines else str(error).splitlines()[0])[:200]
