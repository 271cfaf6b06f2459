"""Reading of regular files; writing that is either done or not there, aside first, then renamed; one run at a time in a
folder; what tells that a file is the same."""

import ctypes
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from lesionseg.errors import DataError

# Windows has neither these locks nor these copies; there, two runs at once have to be kept apart by the user.
if sys.platform != "win32":
    import fcntl

# Linux's request to let two files share their blocks (ioctl_ficlone(2)).
_FICLONE = 0x40049409
# renameat2(2): from the current folder, and both change places.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# As `tempfile.mkdtemp` makes them; before that stands the beginning of the name of what is to be written, which may be
# as long as a file's can be.
_SCRATCH = re.compile(r"\.(?:(.*)\.)?[a-z0-9_]{8}\.part", re.DOTALL)
_SCRATCH_NAME = 40
# Where `lesionseg.data.release.data_set_folder.whole_folder` makes the folder NAME, one level below.
_CONVERTING = re.compile(r"\.(.+)\.converting")


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
    with scratch_folder(path.parent, f"{path.name[:_SCRATCH_NAME]}.") as scratch:
        aside = scratch / path.name
        yield aside
        os.replace(aside, path)


@contextmanager
def scratch_folder(parent: str | PathLike, name: str = "") -> Iterator[Path]:
    """Give an empty folder in `parent`, which is made where it is not there; it is removed when the block ends."""
    Path(parent).mkdir(parents=True, exist_ok=True)
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}", suffix=".part", dir=parent))
        with suppress(OSError):
            held = _hold(scratch)
            # Another run may have taken it for left over before it was held.
            if scratch.is_dir():
                break
            os.close(held)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(held)


def clear_scratch(folder: str | PathLike, name: str | None = None) -> None:
    """Remove the scratch folders that killed runs have left in a folder, and none that is in use.

    Args:
        folder: whose own entries are looked at; links are left alone.
        name: of the file or folder that was to be written; None for all.
    """
    for left_over in Path(folder).iterdir():
        match = _SCRATCH.fullmatch(left_over.name)
        if match and name is not None and name[:_SCRATCH_NAME] != match[1]:
            continue
        if match and left_over.is_dir() and not left_over.is_symlink():
            _remove_if_left(left_over, match[1])


def exchange(one: str | PathLike, other: str | PathLike) -> bool:
    """Let two files or folders change places at one moment; False where the system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    return rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


def real_path(path: str | PathLike) -> Path:
    """Where a path leads through all links; of links in a circle, a path that is not there.

    `Path.resolve` ends in a RuntimeError there, up to Python 3.12.
    """
    return Path(os.path.realpath(path))


def folder_around(path: str | PathLike, folders: Iterable[str | PathLike]) -> str | PathLike | None:
    """The nearest of some folders that a path lies in, or is, through all links; None where it is in none."""
    place, named = real_path(path), {real_path(folder): folder for folder in folders}
    return next((named[each] for each in (place, *place.parents) if each in named), None)


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


def written_path(path: str | PathLike) -> Path:
    """Where a new folder has to be written: behind a link, which would be replaced itself, and under a name of its own.

    A link in a circle stays as it is.
    """
    path = Path(path)
    return real_path(path) if path.is_symlink() or path.name in ("", "..") else path


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
        try:
            held = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            # A user knows nothing of the lock, unless something stands at its name.
            raise OSError(error.errno, error.strerror, str(file if os.path.lexists(file) else written)) from error
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
    """Write a file whole or not at all.

    What killed runs have left is not looked for, which would take long in a folder of thousands of files: see
    `clear_scratch`.
    """
    with write_aside(path, clear=False) as aside:
        aside.write_bytes(data)


def write_text(path: str | PathLike, text: str) -> None:
    """Write a UTF-8 text file whole or not at all; bytes of a name that is no text are escaped, `\\udce9`."""
    write_bytes(path, text.encode(errors="backslashreplace"))


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
            if sys.platform != "win32":
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


def _remove_if_left(scratch: Path, name: str | None) -> None:
    """Remove a scratch folder that no run holds; where it has a name, only with what that stands for in it."""
    with suppress(OSError):
        held = os.open(scratch, os.O_RDONLY)
        try:
            named = [inside[:_SCRATCH_NAME] == name for inside in os.listdir(scratch)]
            if _lock(held) and (name is None or all(named)):
                shutil.rmtree(scratch, ignore_errors=True)
        finally:
            os.close(held)


def _hold(folder: Path) -> int:
    """Mark a folder as in use until the descriptor is closed, or the process ends. Raises OSError where it is."""
    held = os.open(folder, os.O_RDONLY)
    try:
        _lock(held)
    except BlockingIOError:
        os.close(held)
        raise
    return held


def _lock(descriptor: int) -> bool:
    """Lock a descriptor; False where the system or the disk has no locks. Raises BlockingIOError where it is locked."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
