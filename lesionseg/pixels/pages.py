"""How many pictures a file holds, of which OpenCV gives the first without a word."""

from collections.abc import Iterator
from typing import Literal

from lesionseg.pixels.headers import PNG_START, Data, png_chunks

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# TIFF 6.0: what a directory is for. A smaller copy, which old files tell otherwise, or a transparency mask is no page.
_SUBFILE, _NO_PAGE = 254, 1 | 4
_OLD_SUBFILE, _OLD_SMALLER = 255, 2
_WEBP_ANIMATED = 2
_GIF_FRAME, _GIF_EXTENSION = 0x2C, 0x21


def count_pages(data: Data) -> int:
    """Count the pages or frames of a picture file: TIFF, WebP, GIF and PNG (APNG); of others there is one."""
    start = data[:32]
    if start.startswith(_TIFF_STARTS):
        return sum(_tiff_pages(data))
    if start.startswith(b"RIFF") and start[8:16] == b"WEBPVP8X" and start[20] & _WEBP_ANIMATED:
        return sum(kind == b"ANMF" for kind in _webp_chunks(data))
    if start.startswith(b"GIF8"):
        return sum(_gif_frames(data))
    if start.startswith(PNG_START):
        for kind, place, _ in png_chunks(data):
            if kind == b"acTL":
                return int.from_bytes(data[place + 8 : place + 12], "big")
            if kind == b"IDAT":
                break
    return 1


def _tiff_pages(data: Data) -> Iterator[bool]:
    """Say of each directory of a TIFF or BigTIFF file whether it is a page."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    big = data[2:4] in (b"+\0", b"\0+")
    counted, entry, offset = (8, 20, 8) if big else (2, 12, 4)

    def number(place: int, length: int) -> int:
        return int.from_bytes(data[place : place + length], order)

    place = number(8 if big else 4, offset)
    seen: set[int] = set()
    while place and place not in seen and place + counted <= len(data):
        seen.add(place)
        first, entries = place + counted, number(place, counted)
        # Broken counts lead beyond the file.
        end = min(first + entries * entry, len(data))
        # 3 is a number of two bytes, and anything else here one of four.
        tags = {
            number(at, 2): number(at + (12 if big else 8), 2 if number(at + 2, 2) == 3 else 4)
            for at in range(first, end, entry)
        }
        yield not tags.get(_SUBFILE, 0) & _NO_PAGE and tags.get(_OLD_SUBFILE) != _OLD_SMALLER
        place = number(end, offset)


def _webp_chunks(data: Data) -> Iterator[bytes]:
    place = 12
    while place + 8 <= len(data):
        yield data[place : place + 4]
        # Chunks begin at even places.
        place += 8 + (int.from_bytes(data[place + 4 : place + 8], "little") + 1 & ~1)


def _gif_frames(data: Data) -> Iterator[bool]:
    """Say of each block of a GIF file whether it is a frame."""
    place = 13 + _colour_table(data[10:11])
    while data[place : place + 1] in (bytes([_GIF_FRAME]), bytes([_GIF_EXTENSION])):
        frame = data[place] == _GIF_FRAME
        yield frame
        place += 11 + _colour_table(data[place + 9 : place + 10]) if frame else 2
        while length := int.from_bytes(data[place : place + 1], "big"):
            place += 1 + length
        place += 1


def _colour_table(flags: bytes) -> int:
    """The bytes of the table of colours that follows."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0
