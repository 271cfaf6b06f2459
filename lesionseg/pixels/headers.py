"""What the first bytes of a picture file say: its size, whether it lies on its side, and formats not read here.

Nothing is decoded, and of a large file little more is read than its header. Whether a picture is turned is not worked
out anew, which would be a second opinion on EXIF: OpenCV is given a picture of a few pixels with the same metadata.
"""

import re
from collections.abc import Iterator
from mmap import mmap
from struct import Struct
from typing import Literal

import cv2
import numpy as np

Data = bytes | mmap

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8"
# Markers of a JPEG file (ITU-T T.81, table B.1): frame headers, all but those that mean something else; EXIF's; the
# first scan, in whose pixels no end mark can occur by chance.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_APP1 = 0xE1
JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
# How a segment of a JPEG file begins, and a chunk of a PNG file.
_SEGMENT, _CHUNK = Struct(">BBH"), Struct(">I4s")
# Chunks of a PNG file that may say how it is turned; ImageMagick writes EXIF as text.
_PNG_METADATA = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt"})
# How colours are meant, which OpenCV leaves alone.
_PNG_UNUSED = frozenset({b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"sBIT", b"bKGD", b"pHYs", b"tIME", b"hIST", b"sPLT"})
# How files of formats that every build of OpenCV reads begin.
_STARTS = {
    ".png": (PNG_START,),
    ".jpg": (JPEG_START,),
    ".bmp": (b"BM",),
    ".tif": (b"II*\0", b"MM\0*"),
    ".webp": (b"RIFF",),
    ".jp2": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
}
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_SMALL = np.zeros((8, 16), np.uint8)

# Formats that people have, by what stands at a place in the file. OpenCV may or may not read AVIF and GIF.
_FOREIGN = (
    (4, (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypheim", b"ftypheis", b"ftypmif1", b"ftypmsf1"), "HEIC"),
    (4, (b"ftypavif", b"ftypavis"), "AVIF"),
    (4, (b"ftypcrx ",), "a camera's raw format"),
    (4, (b"ftyp",), "a video"),
    (128, (b"DICM",), "DICOM"),
    (0, (b"GIF8",), "GIF"),
    (0, (b"%PDF",), "PDF"),
    (0, (b"8BPS",), "a Photoshop file"),
    (0, (b"\xff\x0a", b"\0\0\0\x0cJXL "), "JPEG XL"),
    (0, (b"%!PS",), "PostScript"),
    (0, (b"<svg", b"<?xml"), "SVG"),
    (0, (b"\x93NUMPY",), "an array of NumPy"),
    (0, (b"\x89HDF\r\n",), "HDF5"),
    (0, (b"\x76\x2f\x31\x01",), "OpenEXR"),
    (0, (b"\x5c\x01\0\0", b"\x6e\x2b\x31\0", b"\x6e\x69\x31\0"), "NIfTI"),
    (0, (b"FUJIFILMCCD-RAW", b"IIRO", b"IIU\0"), "a camera's raw format"),
    (8, (b"CR\x02\0", b"CR\x03\0"), "a camera's raw format"),
)
# What is no picture, and what to do about it.
_NO_PICTURE = (
    ((b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!"), "an archive", "Extract it."),
    ((b"version https://git-lfs",), "a pointer of Git LFS", "Run `git lfs pull`."),
    ((b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML"), "a web page", "Download the picture again."),
)


def stored_size(data: Data) -> tuple[int, int] | None:
    """Read the (height, width) that the header states, before the picture is turned; None where it is not known."""
    start = data[:64]
    if start.startswith(PNG_START):
        width, height = (int.from_bytes(start[at : at + 4], "big") for at in (16, 20))
    elif start.startswith(JPEG_START):
        height, width = _jpeg_size(data)
    elif start.startswith(b"BM") and len(start) >= 26:
        width, height = (abs(int.from_bytes(start[at : at + 4], "little", signed=True)) for at in (18, 22))
    elif start.startswith((b"II*\0", b"MM\0*")):
        height, width = _tiff_size(data)
    elif start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        height, width = _webp_size(start)
    elif start.startswith((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")):
        height, width = _jpeg2000_size(data[:4096])
    elif match := re.match(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s", data[:4096]):
        width, height = map(int, match.groups())
    else:
        return None
    return (height, width) if height and width else None


def suffix_of(data: Data) -> str | None:
    """The usual suffix of a picture file by its content; None where it is not known."""
    start = data[:32]
    return next((suffix for suffix, starts in _STARTS.items() if start.startswith(starts)), None)


def is_plain(data: Data) -> bool:
    """Whether size and turning stand in the header: of JPEG and PNG files; others have to be decoded."""
    return data[:8] == PNG_START or data[:2] == JPEG_START


def is_lying(data: Data) -> bool:
    """Whether OpenCV swaps height and width of a JPEG or PNG file, as its orientation says."""
    small = _small_jpeg(data) if data[:2] == JPEG_START else _small_png(data)
    if small is None:
        return False
    picture = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR)
    return picture is not None and picture.shape[:2] == _SMALL.shape[::-1]


def foreign_format(data: Data) -> tuple[str, str] | None:
    """The name of a format that is not read here, as far as it is known, and what to do; None for all others."""
    if known := next((rest for starts, *rest in _NO_PICTURE if data[:32].startswith(starts)), None):
        return known[0], known[1]
    name = next((name for place, starts, name in _FOREIGN if data[place : place + 32].startswith(starts)), None)
    return (name, "Convert it to one of them.") if name else None


def jpeg_segments(data: Data, place: int = 2) -> Iterator[tuple[int, int]]:
    """Yield marker and place of each segment of a JPEG file, from a place up to the next scan; of others nothing."""
    if data[:2] != JPEG_START:
        return
    while place + 4 <= len(data):
        start, marker, length = _SEGMENT.unpack_from(data, place)
        if start != 0xFF:
            return
        if marker == 0xFF:
            # Any number of fill bytes may precede a marker.
            place += 1
            continue
        yield marker, place
        if marker in (JPEG_SCAN, _JPEG_END):
            return
        place += 2 + length


def png_chunks(data: Data) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, place and end of each chunk of a PNG file."""
    place = len(PNG_START)
    while place + 12 <= len(data):
        length, kind = _CHUNK.unpack_from(data, place)
        end = place + 12 + length
        yield kind, place, end
        place = end


def png_is_whole(data: Data) -> bool:
    """Whether the chunks of a PNG file follow each other up to its end mark; what is behind that does not matter."""
    return any(kind == b"IEND" for kind, _, end in png_chunks(data) if end <= len(data))


def _jpeg_size(data: Data) -> tuple[int, int]:
    for marker, place in jpeg_segments(data):
        if marker in _JPEG_FRAMES and place + 9 <= len(data):
            height, width = (int.from_bytes(data[at : at + 2], "big") for at in (place + 5, place + 7))
            return height, width
    return 0, 0


def _tiff_size(data: Data) -> tuple[int, int]:
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"

    def number(place: int, length: int) -> int:
        return int.from_bytes(data[place : place + length], order)

    sizes = {}
    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        # 3 is a number of two bytes, and anything else here one of four.
        sizes[number(entry, 2)] = number(entry + 8, 2 if number(entry + 2, 2) == 3 else 4)
    return sizes.get(_TIFF_HEIGHT, 0), sizes.get(_TIFF_WIDTH, 0)


def _webp_size(start: bytes) -> tuple[int, int]:
    kind = start[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(start[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(start[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return height, width


def _jpeg2000_size(start: bytes) -> tuple[int, int]:
    place = start.find(b"\xff\x4f\xff\x51")
    if place < 0:
        box = start.find(b"ihdr")
        height, width = (int.from_bytes(start[at : at + 4], "big") for at in (box + 4, box + 8))
        return (height, width) if box >= 0 else (0, 0)
    right, bottom, left, top = (int.from_bytes(start[at : at + 4], "big") for at in range(place + 8, place + 24, 4))
    return bottom - top, right - left


def _small_jpeg(data: Data) -> bytes | None:
    """A JPEG file of `_SMALL` with the metadata of this one; None where it has none."""
    metadata = b"".join(
        data[place : place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")]
        for marker, place in jpeg_segments(data)
        if marker == _JPEG_APP1
    )
    return JPEG_START + metadata + cv2.imencode(".jpg", _SMALL)[1].tobytes()[2:] if metadata else None


def without_profile(data: bytes) -> bytes:
    """A PNG file without the chunks that change no pixel here, about which libpng may write to the terminal.

    That is usual with colour profiles. Other files stay as they are.
    """
    if not data.startswith(PNG_START):
        return data
    chunks = list(png_chunks(data))
    if not any(kind in _PNG_UNUSED for kind, *_ in chunks):
        return data
    return PNG_START + b"".join(data[place:end] for kind, place, end in chunks if kind not in _PNG_UNUSED)


def _small_png(data: Data) -> bytes | None:
    """A PNG file of `_SMALL` with the metadata of this one; None where it has none."""
    before: list[bytes] = []
    after: list[bytes] = []
    chunks = before
    for kind, place, end in png_chunks(data):
        if kind == b"IDAT":
            chunks = after
        elif kind in _PNG_METADATA:
            chunks.append(data[place:end])
    if not before and not after:
        return None
    small = cv2.imencode(".png", _SMALL)[1].tobytes()
    return small[:33] + b"".join(before) + small[33:-12] + b"".join(after) + small[-12:]
