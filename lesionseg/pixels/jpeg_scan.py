"""Whether all pixels of a JPEG file are there, which libjpeg only tells by a line on the terminal."""

import re

from lesionseg.pixels.headers import JPEG_SCAN, jpeg_segments

# Of one scan and coded by Huffman: the frame headers of baseline and extended files (ITU-T T.81, table B.1).
_SEQUENTIAL = (0xC0, 0xC1)
_RESTART_INTERVAL = 0xDD
# In the pixels, 255 is followed by 0; a marker follows it otherwise, of which restarts belong to the pixels.
_AFTER_PIXELS = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
# libjpeg reads so many bytes ahead of the last pixel; as pixels they are at most some blocks.
_AHEAD = bytes(8)


def without_end_mark(data: bytes) -> bytes:
    """Give a JPEG file that ends where its pixels do, so that OpenCV refuses it where some are missing.

    At an end mark, libjpeg fills up what is missing with gray; at the end of the data it waits for more, and OpenCV,
    from 4.11 on, gives up. Pixels and metadata stay as they are.

    Args:
        data: the bytes of a file.

    Returns:
        data to be decoded in its place; the same where it is no JPEG file, or one whose pixels lie in several scans,
        as those of progressive files do.
    """
    scan = _only_scan(data)
    end = _AFTER_PIXELS.search(data, scan) if scan else None
    return data[: end.start()] + _AHEAD if end else data


def misses_restarts(data: bytes) -> bool:
    """Whether the restart marks in the pixels of a JPEG file, numbered from 0 to 7 and again, are not in order.

    libjpeg goes on at the next one behind a gap, so that none is left at the end.
    """
    scan = _only_scan(data)
    if not scan or not any(marker == _RESTART_INTERVAL for marker, _ in jpeg_segments(data)):
        return False
    end = _AFTER_PIXELS.search(data, scan)
    numbers = [mark[0] & 7 for mark in _RESTART.findall(data, scan, end.start() if end else len(data))]
    return any(number != place % 8 for place, number in enumerate(numbers))


def _only_scan(data: bytes) -> int | None:
    """Where the pixels of a JPEG file begin that has them in one scan; None for other files."""
    channels = None
    for marker, place in jpeg_segments(data):
        if marker in _SEQUENTIAL:
            channels = data[place + 9 : place + 10]
        if marker == JPEG_SCAN and channels and data[place + 4 : place + 5] == channels:
            return place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None
