"""Reading of regular files; writing that is either done or not there, aside first, then renamed; what tells that a file
is the same."""

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from lesionseg.errors import DataError

# Linux's request to let two files share their blocks (ioctl_ficlone(2)).
_FICLONE = 0x40049409


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
def write_aside(path: str | PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when the block ends without an error.

    The block may make a file or a folder there. Whatever happens, nothing half-written stays at `path`,
    and the temporary is removed where the block fails.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Cut, as the name may be as long as a file's can be.
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent))
    aside = scratch / path.name
    try:
        yield aside
        os.replace(aside, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_bytes(path: str | PathLike, data: bytes) -> None:
    """Write a file whole or not at all."""
    with write_aside(path) as aside:
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
