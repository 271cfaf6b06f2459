"""The files of an input, on disk or inside zip archives."""

import errno
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Protocol

from lesionseg.errors import DataError
from lesionseg.files import open_file, read_file

# What archives and operating systems put beside the data.
_CLUTTER = frozenset({"license.txt", "attribution.txt", "__macosx", ".ds_store", "thumbs.db", "desktop.ini"})

_DAMAGED = "damaged inside the archive, expected the bytes as released. Download the archive again."


class Packed(Protocol):
    """What holds files by their names: an archive, or a table."""

    def read(self, name: str) -> bytes: ...


@dataclass(frozen=True)
class Source:
    """One file of the input.

    Attributes:
        part: the folder or the zip archive that holds it.
        name: its path inside `part`, with forward slashes.
        size: bytes.
        archive: what it is packed in, or None for a file on disk.
    """

    part: Path
    name: str
    size: int
    archive: Packed | None = field(default=None, repr=False)

    @property
    def path(self) -> Path | None:
        """Where it lies on disk, None inside an archive."""
        return self.part / self.name if self.archive is None else None

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The extension in lower case, with its dot."""
        return PurePosixPath(self.name).suffix.lower()

    def read(self, most_bytes: int | None = None) -> bytes:
        """Read the whole file.

        Args:
            most_bytes: how many it may have; a small archive can hold gigabytes of zeros.

        Raises:
            DataError: larger than that or than the memory, no regular file, or the disk or the archive does not give
                the bytes.
        """
        if most_bytes is not None and self.size > most_bytes:
            raise DataError(
                f"{self.name}: a file of {self.size / 1e6:.0f} MB, expected a picture of at most "
                f"{most_bytes / 1e6:.0f} MB. Take it away, or allow larger pictures with --max-pixels."
            )
        try:
            return self._read()
        except FileNotFoundError as error:
            reason = f"{error.strerror}, expected a readable file. Check where it leads, if it is a link."
        except OSError as error:
            # Decompressors raise it without a number, and places that are in no file are arguments that are not valid.
            damaged = self.archive is not None and error.errno in (None, errno.EINVAL)
            reason = f"{error.strerror or error}, expected a readable file. Check its permissions and the disk."
            reason = _DAMAGED if damaged else reason
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error):
            reason = _DAMAGED
        except (NotImplementedError, RuntimeError):
            reason = "packed in a way that Python cannot read, expected a plain zip. Extract the archive first."
        except MemoryError:
            reason = "larger than the free memory, expected a picture. Take it away, or end other programs."
        raise DataError(f"{self.name}: {reason}")

    def _read(self) -> bytes:
        if self.archive is not None:
            return self.archive.read(self.name)
        path = self.part / self.name
        try:
            return read_file(path)
        except DataError as error:
            raise DataError(str(error).replace(str(path), self.name, 1)) from error


class Archive:
    """A zip archive that several threads read at once; nothing is unpacked to disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # zipfile counts its open members without a lock of its own; only inflating may run in parallel.
        self._lock = Lock()
        # A pipe would be waited for.
        open_file(path).close()
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error) as error:
            raise DataError(f"{path}: not a whole zip archive, expected one as released. Download it again.") from error

    def list_files(self) -> list[Source]:
        """Every file inside that is data, in the order of their names."""
        return [
            Source(self.path, member.filename, member.file_size, self)
            for member in sorted(self._zip.infolist(), key=lambda member: member.filename)
            if not member.is_dir() and not any(map(is_clutter, member.filename.split("/")))
        ]

    def read(self, name: str) -> bytes:
        """Read one file. Raises what `zipfile` raises."""
        with self._lock:
            member = self._zip.open(name)
        try:
            return member.read()
        finally:
            with self._lock:
                member.close()


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk` that follows links, though never back to where it came from, and stops at what it cannot read.

    Raises:
        OSError: a folder cannot be read.
    """
    for here, folders, names in os.walk(folder, onerror=_stop, followlinks=True):
        real = Path(here).resolve()
        folders[:] = sorted(
            name for name in folders if not is_clutter(name) and not real.is_relative_to((real / name).resolve())
        )
        yield Path(here), folders, sorted(name for name in names if not is_clutter(name))


def list_files(folder: Path) -> list[Source]:
    """Every file below a folder that is not clutter, in the order of their names.

    Raises:
        OSError: a folder or a file cannot be read.
    """
    paths = [here / name for here, _, names in walk(folder) for name in names]
    # A link that leads nowhere has no size; reading it is what fails, and is told with the file's name.
    sizes = [path.stat().st_size if path.exists() else 0 for path in paths]
    sources = [
        Source(folder, path.relative_to(folder).as_posix(), size) for path, size in zip(paths, sizes, strict=True)
    ]
    return sorted(sources, key=lambda source: source.name)


def is_clutter(name: str) -> bool:
    """Whether a file or folder of that name is nothing that a user put there on purpose."""
    return name.startswith("._") or name.lower() in _CLUTTER


def _stop(error: OSError) -> None:
    raise error
