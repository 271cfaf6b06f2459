"""Writing that is either done or not there: aside first, then renamed; and what tells that a file is the same."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

# Linux's request to let two files share their blocks (ioctl_ficlone(2)).
_FICLONE = 0x40049409


@contextmanager
def write_aside(path: str | PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when the block ends without an error.

    The block may make a file or a folder there. Whatever happens, nothing half-written stays at `path`,
    and the temporary is removed where the block fails.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
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
        OSError: the source cannot be read, or the folder not written.
    """
    with open(source, "rb") as original, open(path, "xb") as copy:
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
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
