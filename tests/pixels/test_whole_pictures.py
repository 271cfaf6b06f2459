"""Pictures of which OpenCV gives a part without a word: files without their middle, and files of several pages."""

import struct
from io import BytesIO

import cv2
import numpy as np
import pytest
from helpers import draw_pair
from PIL import Image

from lesionseg.errors import DataError
from lesionseg.pixels.masks import decode_mask
from lesionseg.pixels.pictures import decode_image, encoded_size

# As smooth as photographs are.
IMAGE = cv2.blur(draw_pair(0, 240, 320)[0], (5, 5))
JPEGS = {
    "colour": [],
    "no subsampling": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    "optimized": [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 7],
    "low quality": [cv2.IMWRITE_JPEG_QUALITY, 10],
}


def jpeg(name, image=IMAGE):
    return cv2.imencode(".jpg", image, JPEGS[name])[1].tobytes()


def without_middle(data, cut=300):
    return data[: len(data) // 2] + data[len(data) // 2 + cut :]


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("image", [IMAGE, IMAGE[..., 0], np.full((23, 31, 3), 128, np.uint8)])
def test_whole_files_keep_every_pixel(name, image, capfd):
    data = jpeg(name, image)
    # Cameras append bytes, and put fill bytes or a few others before the end mark.
    for whole in (data, data + b"more", data[:-2] + b"\xff\xff\xff\xd9", data[:-2] + bytes(5) + b"\xff\xd9"):
        assert np.array_equal(decode_image(whole, "a"), decoded(data))
    for reduction in (2, 4, 8):
        assert decode_image(data, "a", reduction=reduction).shape[0] == -(-image.shape[0] // reduction)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", JPEGS)
def test_a_file_that_has_lost_its_middle_is_an_error(name, capfd):
    data = without_middle(jpeg(name))
    assert decoded(data).shape == IMAGE.shape
    capfd.readouterr()
    for read in (decode_image, decode_mask):
        with pytest.raises(DataError, match=r"^a: pixels are missing or damaged in its middle, expected a whole"):
            read(data, "a")
    # libjpeg has not written to the terminal.
    assert capfd.readouterr() == ("", "")


def progressive(image=IMAGE, **options):
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", progressive=True, **options)
    return file.getvalue()


@pytest.mark.parametrize("data", [progressive(), progressive(IMAGE[..., 0]), progressive(subsampling=0, quality=30)])
def test_progressive_files_lack_no_scan(data):
    assert encoded_size(data + b"more", "a") == IMAGE.shape[:2]
    assert np.array_equal(decode_image(data, "a"), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    scans = [place for place in range(len(data)) if data[place : place + 2] == b"\xff\xda"]
    ends = [data.rindex(b"\xff\xc4", 0, scan) for scan in scans[1:]]
    assert len(ends) > 4
    assert all(decoded(data[:end] + b"\xff\xd9").shape == IMAGE.shape for end in ends)
    for lacking in (*(data[:end] + b"\xff\xd9" for end in ends), data[: ends[0]] + data[ends[1] :]):
        for read in (encoded_size, decode_image):
            with pytest.raises(DataError, match=r"^a: pixels are missing or damaged in its middle"):
                read(lacking, "a")


def test_chunks_of_a_png_file_follow_each_other_to_its_end():
    data = cv2.imencode(".png", IMAGE)[1].tobytes()
    assert encoded_size(data + bytes(5000), "a") == IMAGE.shape[:2]
    assert np.array_equal(decode_image(data + bytes(5000), "a"), IMAGE)
    for cut in (without_middle(data), data[:-12], data[: len(data) // 2] + data[-12:]):
        with pytest.raises(DataError, match=r"^a: the file breaks off before its end, expected a whole picture"):
            encoded_size(cut, "a")


@pytest.mark.parametrize("data", [progressive(), jpeg("restarts")])
def test_headers_that_are_cut_off_are_an_error(data):
    for length in range(data.index(b"\xff\xda") + 12):
        with pytest.raises(DataError, match=r"^a: "):
            encoded_size(data[:length] + b"\xff\xd9", "a")


def saved(form, pages=2, **options):
    first, *others = (Image.new("RGB", (30, 20), (60 * number, 0, 0)) for number in range(pages))
    file = BytesIO()
    first.save(file, form, save_all=True, append_images=others, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", ["TIFF", "WEBP", "PNG", "GIF"])
def test_several_pages_are_an_error(form):
    assert decode_image(saved(form, pages=1), "a").shape == (20, 30, 3)
    for read in (decode_image, encoded_size, decode_mask):
        with pytest.raises(DataError, match=r"^a: 3 pages or frames, expected a single picture\. Save the one"):
            read(saved(form, pages=3), "a")


@pytest.mark.parametrize("tag", [(254, 1), (255, 2), (254, 4)])
def test_smaller_copies_and_transparency_are_no_pages(tag):
    first = decoded(saved("TIFF"))
    file = BytesIO()
    with Image.open(BytesIO(saved("TIFF", pages=1))) as picture:
        picture.save(file, "TIFF", save_all=True, append_images=[_tagged(*tag)])
    data = file.getvalue()
    with Image.open(BytesIO(data)) as picture:
        assert picture.n_frames == 2
    assert np.array_equal(decode_image(data, "a"), first)


def _tagged(tag, value):
    small = Image.new("RGB", (15, 10))
    small.encoderinfo = {"tiffinfo": {tag: value}}
    return small


def test_a_circle_of_pages_ends():
    header = b"II*\0" + struct.pack("<IHI", 8, 0, 8)
    with pytest.raises(DataError, match=r"^a: not a readable picture"):
        decode_image(header, "a")


def test_a_colour_profile_does_not_write_to_the_terminal(capfd):
    gray = Image.fromarray(IMAGE[..., 0])
    file = BytesIO()
    gray.save(file, "PNG", icc_profile=b"no profile, but libpng looks at it" * 9)
    assert np.array_equal(decode_image(file.getvalue(), "a")[..., 0], IMAGE[..., 0])
    assert np.array_equal(decode_mask(file.getvalue(), "a"), IMAGE[..., 0])
    assert capfd.readouterr() == ("", "")
