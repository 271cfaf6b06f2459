"""Whether all pixels of a JPEG file are there, which libjpeg only tells by a line on the terminal."""

import re
from collections.abc import Iterator, Sequence

from lesionseg.pixels.headers import JPEG_SCAN, Data, jpeg_segments

# Frame headers (ITU-T T.81, table B.1): baseline, extended and progressive, the latter two with arithmetic coding, too.
_SEQUENTIAL = (0xC0, 0xC1)
_FRAMES = (*_SEQUENTIAL, 0xC2, 0xC9, 0xCA)
_RESTART_INTERVAL = 0xDD
# In the pixels, 255 is followed by 0; a marker follows it otherwise, of which restarts belong to the pixels.
_AFTER_PIXELS = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
# libjpeg reads so many bytes ahead of the last pixel; as pixels they are at most some blocks.
_AHEAD = bytes(8)
# Of a coefficient, above any bit.
_UNKNOWN = 255


def whole_scan(data: bytes) -> bytes | None:
    """Give a JPEG file that ends where its pixels do, so that OpenCV refuses it where some are missing.

    At an end mark, libjpeg fills up what is missing with gray; at the end of the data it waits for more, and OpenCV,
    from 4.11 on, gives up. Pixels and metadata stay as they are.

    Args:
        data: the bytes of a file.

    Returns:
        data to be decoded in its place; the same where it is no JPEG file, or one whose pixels lie in several scans,
        as those of progressive files do. None where pixels are known to be missing: scans, or restart marks, which are
        numbered from 0 to 7 and again; libjpeg goes on at the next one behind a gap.
    """
    segments = list(jpeg_segments(data))
    scan = _only_scan(data, segments)
    if scan is None:
        return None if misses_scans(data) else data
    start = _pixels_of(data, scan)
    end = _AFTER_PIXELS.search(data, start)
    if _RESTART_INTERVAL in dict(segments):
        numbers = (mark[0] & 7 for mark in _RESTART.findall(data, start, end.start() if end else len(data)))
        if any(number != place % 8 for place, number in enumerate(numbers)):
            return None
    return data[: end.start()] + _AHEAD if end else data


def misses_scans(data: Data) -> bool:
    """Whether a JPEG file of several scans, as progressive ones are, lacks some: without them it is gray or coarse.

    Of a file of one scan only the header is read. Pixels that are missing inside of a scan are not found.
    """
    segments = list(jpeg_segments(data))
    frame = next((place for marker, place in segments if marker in _FRAMES), None)
    if frame is None or _only_scan(data, segments) is not None:
        return False
    # Of each channel, down to which bit each coefficient is known.
    count = int.from_bytes(data[frame + 9 : frame + 10], "big")
    lowest = {channel: [_UNKNOWN] * 64 for channel in data[frame + 10 : frame + 10 + 3 * count : 3]}
    for scan in _scans(data):
        header = data[scan + 4 : _pixels_of(data, scan)]
        channels, (first, last, bits) = header[1:-3:2], header[-3:]
        for channel in lowest.keys() & channels:
            known, before, now = lowest[channel][first : last + 1], bits >> 4, bits & 0xF
            # A scan gives the upper bits of coefficients, or one more bit to those that have all above it.
            lowest[channel][first : last + 1] = [now if before in (0, bit) else _UNKNOWN for bit in known]
    return not lowest or any(any(bits) for bits in lowest.values())


def _only_scan(data: Data, segments: Sequence[tuple[int, int]]) -> int | None:
    """The place of the scan of a JPEG file that has all pixels in one; None for other files."""
    channels = None
    for marker, place in segments:
        if marker in _SEQUENTIAL:
            channels = data[place + 9 : place + 10]
        if marker == JPEG_SCAN and channels and data[place + 4 : place + 5] == channels:
            return place if _pixels_of(data, place) <= len(data) else None
    return None


def _scans(data: Data) -> Iterator[int]:
    """Yield the place of each scan whose header is whole."""
    place: int | None = 2
    while place is not None:
        scan = next((at for marker, at in jpeg_segments(data, place) if marker == JPEG_SCAN), None)
        if scan is None or not scan + 10 <= _pixels_of(data, scan) <= len(data):
            return
        yield scan
        end = _AFTER_PIXELS.search(data, _pixels_of(data, scan))
        place = end.start() if end else None


def _pixels_of(data: Data, scan: int) -> int:
    return scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
