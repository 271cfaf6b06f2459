"""Writing that is either done or not there: aside first, then renamed; one run at a time; what tells a file's bytes."""

import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path

from lesionseg.errors import DataError

# Windows has no such locks; there, two runs at once have to be kept apart by the user.
if sys.platform != "win32":
    import fcntl

# As tempfile calls folders; earlier versions put the name of what was written before its part.
_SCRATCH = re.compile(r"\.(?:.*\.)?[a-z0-9_]{8}\.part")
# Where `lesionseg.data.release.folder.whole_folder` makes the folder NAME, one level below.
_CONVERTING = re.compile(r"\.(.+)\.converting")


@contextmanager
def write_aside(path: str | PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when the block ends without an error.

    The block may make a file or a folder there. Whatever happens, nothing half-written stays at `path`,
    and the temporary is removed where the block fails.
    """
    path = Path(path)
    with scratch_folder(path.parent) as scratch:
        aside = scratch / path.name
        yield aside
        os.replace(aside, path)


@contextmanager
def scratch_folder(parent: str | PathLike) -> Iterator[Path]:
    """Give an empty folder in `parent`, which is made where it is not there; it is removed when the block ends."""
    Path(parent).mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=parent))
    held = _hold(scratch)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(held)


def clear_scratch(folder: str | PathLike) -> None:
    """Remove the scratch folders that killed runs have left in a folder, and none that is in use."""
    for left_over in Path(folder).iterdir():
        if _SCRATCH.fullmatch(left_over.name) and left_over.is_dir() and not left_over.is_symlink():
            try:
                held = _hold(left_over)
            except OSError:
                continue
            shutil.rmtree(left_over, ignore_errors=True)
            os.close(held)


def final_path(path: str | PathLike) -> Path:
    """What a user knows a path by: the name that a file will have, in place of where it is written aside."""
    shown, parts = Path(), iter(Path(path).parts)
    for part in parts:
        if converting := _CONVERTING.fullmatch(part):
            shown /= converting[1]
            next(parts, None)
        elif not _SCRATCH.fullmatch(part):
            shown /= part
    return shown


@contextmanager
def lock_folder(folder: str | PathLike, work: str) -> Iterator[None]:
    """Keep other runs of the same work out of a folder while the block runs.

    The folder is made where it is not there, and goes again if the block leaves it empty. What killed runs have left
    half-written in it is cleared away.

    Args:
        folder: that is written into.
        work: such as `predict`; of one folder, different works may go on at once.

    Raises:
        DataError: another run is writing it.
        OSError: the folder cannot be made or written to.
    """
    folder = Path(folder)
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        with lock(folder / f".{work}.lock", folder):
            clear_scratch(folder)
            yield
    finally:
        with suppress(OSError):
            for each in made:
                each.rmdir()


@contextmanager
def lock(file: Path, written: str | PathLike) -> Iterator[None]:
    """Let one run at a time into the block. The system drops the lock with the process, however that ends.

    Args:
        file: the lock's; it is made, and removed when the block ends.
        written: what is kept from other runs, for the message.

    Raises:
        DataError: another run is in there.
        OSError: the file cannot be made.
    """
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        # What a link leads to is nobody's lock.
        held = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            _lock(held)
        except BlockingIOError:
            os.close(held)
            raise DataError(
                f"{written}: another run is writing it, expected one at a time. Wait for it to end, or choose another."
            ) from None
        if _is_at(held, file):
            break
        # The run before removed it between both calls.
        os.close(held)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(held)


def write_bytes(path: str | PathLike, data: bytes) -> None:
    """Write a file whole or not at all."""
    with write_aside(path) as aside:
        aside.write_bytes(data)


def write_text(path: str | PathLike, text: str) -> None:
    """Write a UTF-8 text file whole or not at all; bytes of a name that is no text are escaped, `\\udce9`."""
    write_bytes(path, text.encode(errors="backslashreplace"))


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


def _hold(folder: Path) -> int:
    """Mark a folder as in use until the descriptor is closed, or the process ends. Raises OSError where it is."""
    held = os.open(folder, os.O_RDONLY)
    try:
        _lock(held)
    except BlockingIOError:
        os.close(held)
        raise
    return held


def _lock(descriptor: int) -> None:
    """Raise BlockingIOError where another descriptor has the lock."""
    try:
        if sys.platform != "win32":
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        # A file system without locks; as on Windows.
        pass


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
