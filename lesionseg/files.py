"""Reading of regular files; writing that is either done or not there, aside first, then renamed; what tells that a file
is the same."""

import ctypes
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from lesionseg.errors import DataError

try:
    import fcntl
except ImportError:
    # Windows has neither these locks nor these copies.
    fcntl = None

# Linux's request to let two files share their blocks (ioctl_ficlone(2)).
_FICLONE = 0x40049409
# renameat2(2): from the current folder, and both change places.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# As `tempfile.mkdtemp` makes them of the first characters of a name, which may be as long as a file's can be.
_SCRATCH = re.compile(r"\.(.*)\.[a-z0-9_]{8}\.part", re.DOTALL)
_SCRATCH_NAME = 40


def open_file(path: str | PathLike) -> BinaryIO:
    """Open a file to read its bytes.

    Raises:
        DataError: a pipe or a device, whose end may never come.
        OSError: as from `open`.
    """
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise DataError(f"{path}: a pipe or a device, expected a regular file. Copy what it gives into a file.")
    return open(path, "rb")


def read_file(path: str | PathLike) -> bytes:
    """Read a file whole; see `open_file`.

    Raises:
        DataError: no regular file, or larger than the memory.
        OSError: as from `open`.
    """
    with open_file(path) as file:
        try:
            return file.read()
        except MemoryError as error:
            size = os.fstat(file.fileno()).st_size
            raise DataError(
                f"{path}: {size / 1e6:.0f} MB are more than the free memory holds, expected a smaller file. Make it "
                "smaller, or end other programs."
            ) from error


@contextmanager
def write_aside(path: str | PathLike, clear: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when the block ends without an error.

    The block may make a file or a folder there. Whatever happens, nothing half-written stays at `path`,
    and the temporary is removed where the block fails.

    Args:
        path: where the result goes.
        clear: remove first what killed runs have left that were to write the same.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if clear:
        clear_scratch(path.parent, path.name)
    with _locked_scratch(path) as scratch:
        aside = scratch / path.name
        yield aside
        os.replace(aside, path)


def clear_scratch(folder: str | PathLike, name: str | None = None) -> None:
    """Remove what killed runs of `write_aside` have left in a folder; a run that goes on keeps its own by a lock.

    Args:
        folder: whose own entries are looked at; links are left alone.
        name: of the file or folder that was to be written; None for all.
    """
    with os.scandir(folder) as entries:
        found = [(entry, match) for entry in entries if (match := _SCRATCH.fullmatch(entry.name))]
    for entry, match in found:
        if entry.is_dir(follow_symlinks=False) and (name is None or name[:_SCRATCH_NAME] == match[1]):
            _remove_if_left(entry.path, match[1])


def lock_folder(folder: str | PathLike) -> int | None:
    """Lock a folder for this process, until what is returned is closed; another process is not kept from reading.

    Returns:
        A descriptor for `os.close`, or None where the file system has no locks.

    Raises:
        BlockingIOError: another run has locked it.
        OSError: it is a link or no folder.
    """
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def exchange(one: str | PathLike, other: str | PathLike) -> bool:
    """Let two files or folders change places at one moment; False where the system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    return rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


@contextmanager
def _locked_scratch(path: Path) -> Iterator[Path]:
    while True:
        prefix = f".{path.name[:_SCRATCH_NAME]}."
        scratch = Path(tempfile.mkdtemp(prefix=prefix, suffix=".part", dir=path.parent))
        lock = lock_folder(scratch)
        # Another run may have taken it for left over before it was locked.
        if scratch.is_dir():
            break
        _close(lock)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        _close(lock)


def _remove_if_left(scratch: str, name: str) -> None:
    try:
        lock = lock_folder(scratch)
        # Nothing else is ever in it; what is, is somebody's.
        if lock is not None and all(inside[:_SCRATCH_NAME] == name for inside in os.listdir(scratch)):
            shutil.rmtree(scratch, ignore_errors=True)
        _close(lock)
    except OSError:
        # In use, not ours, or removed meanwhile.
        pass


def _close(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def write_bytes(path: str | PathLike, data: bytes) -> None:
    """Write a file whole or not at all.

    What killed runs have left is not looked for, which would take long in a folder of thousands of files: see
    `clear_scratch`.
    """
    with write_aside(path, clear=False) as aside:
        aside.write_bytes(data)


def write_text(path: str | PathLike, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    write_bytes(path, text.encode())


def clone_file(source: str | PathLike, path: str | PathLike) -> bool:
    """Make a copy that shares its blocks with the source until one of them is changed.

    Such a copy, a reflink, takes no time and no space. Btrfs, XFS, bcachefs and some network disks have them.

    Returns:
        Whether it was made; where not, nothing is at `path`.

    Raises:
        FileExistsError: something is there already.
        DataError: the source is no regular file.
        OSError: it cannot be read, or the folder not written.
    """
    with open_file(source) as original, open(path, "xb") as copy:
        try:
            if fcntl is not None:
                fcntl.ioctl(copy, _FICLONE, original.fileno())
                return True
        except OSError:
            pass
    os.unlink(path)
    return False


def file_sha256(path: str | PathLike) -> str:
    """SHA-256 of a file's bytes, as `sha256sum` prints it; of a folder, of the names and hashes of all its files."""
    digest = hashlib.sha256()
    if Path(path).is_dir():
        for file in sorted(file for file in Path(path).rglob("*") if file.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()} {file_sha256(file)}\n".encode())
        return digest.hexdigest()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
