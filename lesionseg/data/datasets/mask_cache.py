"""Masks in a few kilobytes each, kept in the user's cache folder.

Inflating a full-size PNG mask takes longer than decoding its image, and every epoch would do it anew. The check
before a training reads every mask anyway and keeps the runs of its pixels here; a mask drawn from them is the same
to the pixel. What is kept counts as long as size and time of the mask's file stay the same.

There is one file for each folder of masks. It may be deleted at any time, which costs time and nothing else; what is
damaged in it counts as not kept.
"""

import base64
import hashlib
import json
import math
import os
import zlib
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from lesionseg.files import write_text
from lesionseg.pixels.masks import LESION_ABOVE

# A mask of ten megapixels packs into about 5 kB. Noise does not pack, and would fill the memory of loader processes.
_MOST_BYTES = 65_536

# Counted up whenever entries, or what is read from a mask's file, get another meaning.
_FORMAT = 2


@dataclass(frozen=True, eq=False)
class PackedMask:
    """A mask as run lengths.

    Attributes:
        shape: (height, width) in pixels.
        runs: (N,) uint32, how many pixels of background, lesion, background and so on follow each other, row by
            row; a run goes on in the next row. Only the first may be 0.
    """

    shape: tuple[int, int]
    runs: np.ndarray

    @classmethod
    def of(cls, lesion: np.ndarray) -> "PackedMask":
        """Pack (H, W) bool, True = lesion."""
        flat = lesion.ravel()
        ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        runs = np.diff(ends, prepend=[0, 0] if flat[0] else [0], append=flat.size)
        return cls(lesion.shape, runs.astype(np.uint32))

    @property
    def lesion_pixels(self) -> int:
        return int(self.runs[1::2].sum())

    def unpack(self, shape: tuple[int, int]) -> np.ndarray:
        """Draw the mask as it is, or smaller by the nearest pixel as `lesionseg.pixels.shrink.shrink_mask` does.

        Args:
            shape: (height, width) in pixels, no larger than the mask's own.

        Returns:
            (height, width) uint8, 0 = background, 1 = lesion.
        """
        runs = self.runs if shape == self.shape else np.diff(self._ends_within(shape), prepend=0)
        values = np.zeros(len(runs), np.uint8)
        values[1::2] = 1
        return np.repeat(values, runs).reshape(shape)

    def _ends_within(self, shape: tuple[int, int]) -> np.ndarray:
        """Count for each run the pixels of the smaller mask that come before its end."""
        rows, columns = map(_nearest, self.shape, shape)
        row, column = np.divmod(np.cumsum(self.runs, dtype=np.int64), self.shape[1])
        above = np.searchsorted(rows, row)
        in_row = np.searchsorted(rows, row, side="right") - above
        return above * shape[1] + in_row * np.searchsorted(columns, column)


class MaskCache:
    """What is known of the masks of one folder, for the one who reads the masks and keeps what they hold.

    Args:
        folder: the folder that holds the masks.
    """

    def __init__(self, folder: str) -> None:
        self._folder = os.path.abspath(folder)
        self._file = _cache_file(self._folder)
        self._known = _read(self._file)
        self._changed = False

    def look_up(self, mask: str) -> tuple[tuple[int, int], int] | None:
        """Give a mask's (height, width) and its number of lesion pixels, None where it is new or has changed."""
        entry = self._known.get(os.path.basename(mask))
        if not entry or entry["stamp"] != stamp(mask) or (entry["runs"] is not None and _unpacked(entry) is None):
            return None
        return tuple(entry["shape"]), entry["lesion"]

    def keep(self, mask: str, read_at: list[int], packed: PackedMask) -> None:
        """Keep a mask.

        Args:
            mask: its file.
            read_at: the file's `stamp` from before it was read.
            packed: its pixels.
        """
        runs = zlib.compress(packed.runs.astype("<u4").tobytes())
        self._changed = True
        self._known[os.path.basename(mask)] = dict(
            stamp=read_at,
            shape=packed.shape,
            lesion=packed.lesion_pixels,
            runs=base64.b64encode(runs).decode() if len(runs) <= _MOST_BYTES else None,
        )

    def save(self) -> None:
        """Write what was kept, without the masks that are no longer there."""
        if not self._changed:
            return
        try:
            there = set(os.listdir(self._folder))
            write_text(self._file, json.dumps({name: entry for name, entry in self._known.items() if name in there}))
        except OSError:
            # A home that cannot be written to costs time, nothing else.
            return


def packed_mask(mask: str) -> PackedMask | None:
    """Give the pixels of a mask's file where they are kept and the file is still the same."""
    folder, name = os.path.split(os.path.abspath(mask))
    file = _cache_file(folder)
    try:
        entry = _read_once(file, os.stat(file).st_mtime_ns).get(name)
        if not entry or entry["runs"] is None or entry["stamp"] != stamp(mask):
            return None
    except OSError:
        return None
    return _unpacked(entry)


def stamp(path: str) -> list[int]:
    """What tells that a file has changed: its size in bytes and its time in nanoseconds."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def _cache_file(folder: str) -> str:
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    name = f"{hashlib.sha256(folder.encode()).hexdigest()[:16]}-above{LESION_ABOVE}-v{_FORMAT}.json"
    return os.path.join(root, "lesionseg", "masks", name)


def _read(file: str) -> dict[str, dict]:
    try:
        with open(file, encoding="utf-8") as text:
            known = json.load(text)
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: entry for name, entry in known.items() if _is_whole(entry)} if isinstance(known, dict) else {}


def _is_whole(entry: object) -> bool:
    match entry:
        case {"stamp": _, "shape": [int(height), int(width)], "lesion": int(lesion), "runs": str() | None}:
            return height > 0 and width > 0 and 0 <= lesion <= height * width
    return False


def _unpacked(entry: dict) -> PackedMask | None:
    """Inflate the runs of an entry; None where they do not make up its mask."""
    try:
        runs = np.frombuffer(zlib.decompress(base64.b64decode(entry["runs"])), "<u4")
    except (ValueError, zlib.error):
        return None
    packed = PackedMask(tuple(entry["shape"]), runs)
    whole = int(runs.sum(dtype=np.int64)) == math.prod(packed.shape) and packed.lesion_pixels == entry["lesion"]
    return packed if whole else None


@lru_cache(maxsize=256)
def _read_once(file: str, written: int) -> dict[str, dict]:
    return _read(file)


def _nearest(size: int, smaller: int) -> np.ndarray:
    """(smaller,) float32, which of `size` pixels in a row OpenCV takes, exact below 2^24."""
    return cv2.resize(np.arange(size, dtype=np.float32)[None], (smaller, 1), interpolation=cv2.INTER_NEAREST_EXACT)[0]
