"""Fetches the archives of ISIC 2018 Task 1; what has come is never fetched again."""

import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from io import FileIO
from os import PathLike
from pathlib import Path
from typing import NamedTuple, TypeVar

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from lesionseg.errors import DataError
from lesionseg.files import lock_folder, open_file

BASE_URL = "https://isic-challenge-data.s3.amazonaws.com/2018"
CHALLENGE_PAGE = "https://challenge.isic-archive.com/data/#2018"
LICENCE_NOTE = (
    "ISIC 2018 Task 1 has the licence CC BY-NC 4.0, not for commercial use. "
    "Cite Codella et al. 2019 (arXiv 1902.03368) and Tschandl et al. 2018 (doi 10.1038/sdata.2018.161)."
)
# Seconds between one failure to connect and the next try.
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)

_CHUNK = 1 << 20
_TIMEOUT = 60
_TOO_MANY_REQUESTS = 429

Result = TypeVar("Result")


class Archive(NamedTuple):
    """A file of the release and the hex SHA-256 of its bytes."""

    name: str
    sha256: str


# The challenge publishes no checksums. These are from torch-em's loader (torch_em/data/datasets/medical/isic.py).
ARCHIVES = {
    "training": (
        Archive(
            "ISIC2018_Task1-2_Training_Input.zip", "80f98572347a2d7a376227fa9eb2e4f7459d317cb619865b8b9910c81446675f"
        ),
        Archive(
            "ISIC2018_Task1_Training_GroundTruth.zip",
            "99f8b2bb3c4d6af483362010715f7e7d5d122d9f6c02cac0e0d15bef77c7604c",
        ),
    ),
    "validation": (
        Archive(
            "ISIC2018_Task1-2_Validation_Input.zip", "0ea920fcfe512d12a6e620b50b50233c059f67b10146e1479c82be58ff15a797"
        ),
        Archive(
            "ISIC2018_Task1_Validation_GroundTruth.zip",
            "f6911e9c0a64e6d687dd3ca466ca927dd5e82145cb2163b7a1e5b37d7a716285",
        ),
    ),
    "test": (
        Archive("ISIC2018_Task1-2_Test_Input.zip", "e59ae1f69f4ed16f09db2cb1d76c2a828487b63d28f6ab85997f5616869b127d"),
        Archive(
            "ISIC2018_Task1_Test_GroundTruth.zip", "2e8f6edce454a5bdee52485e39f92bd6eddf357e81f39018d05512175238ef82"
        ),
    ),
}


class _NoAnswerError(DataError):
    """The server could not be reached, or not now: worth another try."""


class _Remote(NamedTuple):
    """A file on a server: `version` changes when its bytes do."""

    size: int
    version: str


def download(
    archives: Sequence[Archive],
    out: str | PathLike,
    base_url: str = BASE_URL,
    waits: Sequence[float] = WAITS,
) -> list[Path]:
    """Fetch archives into a folder, with progress on stderr.

    An archive has its name only once its checksum is right. Until then it grows as `<name>.part`, and a later call
    goes on from there unless the server's file has changed. An archive that is there already is checked only.

    Args:
        archives: what to fetch.
        out: folder; made where it is absent.
        base_url: the archives are at `<base_url>/<name>`, over http or https.
        waits: seconds to wait after each failure to reach the server; after the last of them it is an error.

    Returns:
        The paths of those that were fetched.

    Raises:
        DataError: no server, no such file, wrong checksum, not enough space; the text says what to do.
        OSError: the folder cannot be written to.
    """
    _check_address(base_url)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: a file, expected a folder for the archives. Choose another name.")
    with lock_folder(out, "download"), _progress() as progress:
        missing = []
        for archive in archives:
            if (out / archive.name).exists():
                _check_own_file(out / archive.name, archive.sha256, progress)
            else:
                missing.append(archive)
        urls = {archive: f"{base_url.rstrip('/')}/{archive.name}" for archive in missing}
        remotes = {archive: _look_up(url, out, waits, progress) for archive, url in urls.items()}
        parts = {archive: _part_to_go_on_with(out / archive.name, remotes[archive]) for archive in missing}
        _check_space(out, sum(remotes[archive].size - _length(parts[archive]) for archive in missing))
        for archive in missing:
            _fetch(urls[archive], parts[archive], remotes[archive], waits, progress)
            _accept(parts[archive], out / archive.name, archive.sha256, progress)
    return [out / archive.name for archive in missing]


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))


# The server


def _check_address(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise DataError(f"{url}: not a web address, expected http:// or https://. Correct --base-url.")
    try:
        parts = urllib.parse.urlsplit(url)
        # Asked for, as it may be no number.
        parts.port  # noqa: B018
        fault = None if parts.hostname else "it names no server"
    except ValueError as error:
        fault = str(error)
    if not re.fullmatch("[!-~]+", url):
        fault = "it holds blanks or characters that are not ASCII"
    if fault:
        raise DataError(
            f"{url}: not a web address ({fault}), expected one such as {BASE_URL}, other characters written as %20. "
            "Correct --base-url."
        )


def _by_hand(out: Path) -> str:
    return f"download the archives by hand from {CHALLENGE_PAGE} and put them into {out}."


def _ask(request: urllib.request.Request, out: Path) -> http.client.HTTPResponse:
    url = request.full_url
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        fact = f"{url}: the server says {f'{error.code} {error.reason}'.strip()}"
        passes = error.code >= 500 or error.code == _TOO_MANY_REQUESTS
        kind = _NoAnswerError if passes else DataError
        raise kind(f"{fact}, expected the archive. Check the address, or {_by_hand(out)}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        # ValueError: the server sends us on to what is no address.
        fact = f"{url}: {_reason(error)}"
        raise _NoAnswerError(f"{fact}, expected the server to answer. Check the network, or {_by_hand(out)}") from error


def _reason(error: Exception) -> str:
    """What the operating system says is behind an error of urllib, without its number."""
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _patiently(attempt: Callable[[], Result], waits: Sequence[float], progress: Progress) -> Result:
    for wait in waits:
        try:
            return attempt()
        except _NoAnswerError as error:
            fact = str(error).partition(", expected")[0]
            progress.console.print(f"{fact}; trying again in {wait:g} s", markup=False, highlight=False, soft_wrap=True)
            time.sleep(wait)
    return attempt()


def _look_up(url: str, out: Path, waits: Sequence[float], progress: Progress) -> _Remote:
    request = urllib.request.Request(url, method="HEAD")
    with _patiently(lambda: _ask(request, out), waits, progress) as response:
        size, tag = response.headers["Content-Length"], response.headers["ETag"]
    if size is None or not re.fullmatch("[1-9][0-9]{0,17}", size):
        raise DataError(
            f"{url}: the server does not say the size, expected a Content-Length. Check the address, or {_by_hand(out)}"
        )
    return _Remote(int(size), f"{size} {tag}")


def _fetch(url: str, part: Path, remote: _Remote, waits: Sequence[float], progress: Progress) -> None:
    """Let a `.part` file grow to its size; nothing is left of one that nothing came of."""
    task = progress.add_task(part.stem, total=remote.size, completed=_length(part))
    version = _version_file(part.with_suffix(""))
    version.write_text(remote.version, encoding="utf-8")

    def attempt() -> None:
        _fetch_some(url, part, lambda length: progress.update(task, completed=length))

    # Patience starts anew after every attempt that brought something, so a shaky line only takes longer.
    try:
        while _length(part) < remote.size:
            _patiently(attempt, waits, progress)
    finally:
        if not _length(part):
            part.unlink(missing_ok=True)
            version.unlink()


def _fetch_some(url: str, part: Path, report: Callable[[int], None]) -> None:
    """Append to a `.part` file until the connection ends, in good order or not.

    Raises:
        _NoAnswerError: the file is no longer than before.
    """
    before = _length(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={before}-"} if before else {})
    with _ask(request, part.parent) as response, open(part, "ab", buffering=0) as file:
        length = before
        if response.headers.get("Content-Range", "").partition("-")[0] != f"bytes {before}":
            # Servers may ignore a Range and send the whole file.
            length = 0
            file.truncate(0)
        while chunk := _read(response):
            _write(file, chunk, part)
            length += len(chunk)
            report(length)
    if length <= before:
        raise _NoAnswerError(
            f"{url}: the connection ended at byte {length}, expected more of the archive. "
            f"Check the network, or {_by_hand(part.parent)}"
        )


def _read(response: http.client.HTTPResponse) -> bytes:
    """The next bytes; none at the end, and none where the connection breaks, which the file's length will tell."""
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException, ValueError):
        return b""


# The disk


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _part_to_go_on_with(path: Path, remote: _Remote) -> Path:
    """The `.part` file of an archive, removed where it is not of the version that the server has."""
    part, version = path.with_name(f"{path.name}.part"), _version_file(path)
    for file in (part, version):
        if file.is_symlink() or (file.exists() and not file.is_file()):
            raise DataError(
                f"{file}: a link or no file, expected nothing there or what a download has left. Remove it."
            )
    known = version.read_text(encoding="utf-8", errors="replace") if version.exists() else None
    if known != remote.version or _length(part) > remote.size:
        part.unlink(missing_ok=True)
        version.unlink(missing_ok=True)
    return part


def _version_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.part.version")


def _check_space(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if needed > free:
        raise DataError(
            f"{out}: {free / 1e9:.1f} GB are free, expected {needed / 1e9:.1f} GB for what is still to come. "
            "Free some space or choose another disk."
        )


def _write(file: FileIO, chunk: bytes, part: Path) -> None:
    """Write without a buffer, which would try again, and fail again, when the file is closed."""
    left = memoryview(chunk)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise DataError(
            f"{part}: {error.strerror}, expected room for the rest of the archive. "
            "Mend that and run the same command again: it goes on from here."
        ) from error


def _sha256(path: Path, progress: Progress) -> str:
    task = progress.add_task(f"checking {path.name}", total=_length(path))
    digest = hashlib.sha256()
    with open_file(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            progress.advance(task, len(chunk))
    progress.remove_task(task)
    return digest.hexdigest()


def _accept(part: Path, path: Path, sha256: str, progress: Progress) -> None:
    """Give a complete `.part` file its name, or remove it where its checksum is wrong."""
    found = _sha256(part, progress)
    if found != sha256:
        part.unlink()
        _version_file(path).unlink()
        raise DataError(
            f"{path}: what came has the SHA-256 {found}, expected {sha256}. It was removed: run the same command "
            f"again. If that does not help, download it by hand from {CHALLENGE_PAGE}."
        )
    os.replace(part, path)
    _version_file(path).unlink()


def _check_own_file(path: Path, sha256: str, progress: Progress) -> None:
    """Raise DataError for a file that has an archive's name and another content."""
    found = _sha256(path, progress)
    if found != sha256:
        raise DataError(
            f"{path}: it was there already with the SHA-256 {found}, expected {sha256}. "
            "Move it away or delete it, and run the same command again to fetch the right one."
        )
