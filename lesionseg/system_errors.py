"""What the system says of a file -> a message with what to do about it."""

import errno
import os
from pathlib import Path

from lesionseg.files import final_path

# By number: what was expected, and the next step.
_ADVICE = {
    errno.ENOENT: ("a path that exists", "Check the path."),
    errno.EEXIST: ("nothing there", "Choose another path, or move away what is there."),
    errno.ENOTDIR: ("a folder", "Choose another path, or move that file away."),
    errno.EISDIR: ("a file", "Choose another path, or move that folder away."),
    errno.ENOTEMPTY: ("an empty folder", "Choose another path, or move away what is in it."),
    errno.ENAMETOOLONG: ("a name of at most 255 bytes", "Give it a shorter name."),
    errno.ELOOP: ("a file or folder that is no link in a circle", "Remove the link, or name what it stood for."),
    errno.EMLINK: ("fewer hard links to one file", "Copy the file, and use the copy."),
    errno.EMFILE: ("fewer files open at once", "Allow more: `ulimit -n 4096`."),
    errno.ENFILE: ("fewer files open at once", "End other programs."),
    errno.ENOSPC: ("free space", "Free some space or choose another disk; nothing half-written was left."),
    errno.EDQUOT: ("free space", "Free some space or choose another disk; nothing half-written was left."),
    errno.EFBIG: ("a file that the disk's file system can hold", "Choose another disk."),
    errno.EROFS: ("a disk that may be written to", "Choose a folder that can be written to."),
    errno.EIO: ("a disk that works", "Check the disk, and copy the file from its origin again."),
    errno.ESTALE: ("a file system that is there", "Mount it again."),
    errno.EBUSY: ("a file that no other program uses", "End the program that uses it."),
    errno.EXDEV: ("one file system", "Choose a folder on the same disk."),
    errno.ENXIO: ("a regular file", "Copy its contents into a file, and name that."),
    errno.ENODEV: ("a regular file", "Copy its contents into a file, and name that."),
    errno.EINVAL: ("a name that its disk's file system takes", "Give it a plainer name."),
    errno.EILSEQ: ("a name that its disk's file system takes", "Give it a plainer name."),
    errno.ENOMEM: ("more memory", "End other programs, or use a machine with more memory."),
    errno.EAGAIN: ("fewer processes and threads", "End other programs, or allow more: `ulimit -u`."),
    errno.EPIPE: ("a reader until the end", "Write the output to a file, and read that."),
    **dict.fromkeys(
        (errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH),
        ("an answer", "Check the network, and try again."),
    ),
}
_OTHERWISE = ("a path that can be used", "Check the path and its disk.")
_READING = ("a path that you may read", "Change its permissions, or ask its owner to.")
_WRITING = (
    "a path that you may write to",
    "Choose a folder that you may write to, or change its permissions.",
)


def describe_system_error(error: OSError) -> str:
    """Say in one line what a system error is about, and what to do: `<path>: <fact>, expected ... <next step>`."""
    # Of a renaming, the second is the name that the user knows.
    name = error.filename2 or error.filename
    path = final_path(os.fsdecode(name)) if isinstance(name, (str, bytes, os.PathLike)) and name else None
    expected, step = _ADVICE.get(error.errno or 0, _OTHERWISE)
    if path and error.errno in (errno.EACCES, errno.EPERM):
        path, (expected, step) = _forbidden(path)
    elif path and error.errno == errno.ENOTDIR:
        path = next((each for each in (path, *path.parents) if each.exists() and not each.is_dir()), path)
    elif path and error.errno == errno.EEXIST and path.is_file():
        expected, step = _ADVICE[errno.ENOTDIR]
    return f"{path or 'file system'}: {error.strerror or type(error).__name__}, expected {expected}. {step}"


def _forbidden(path: Path) -> tuple[Path, tuple[str, str]]:
    """Find out what may not be done with a path: the file or folder in the way, and the advice."""
    there = next((each for each in (path, *path.parents) if os.path.lexists(each)), path)
    if there != path and there.is_dir() and not os.access(there, os.X_OK):
        return there, _READING
    if there == path and not os.access(path, os.R_OK):
        return path, _READING
    return path, _WRITING
