from io import BytesIO

import cv2
import numpy as np
import pytest
from helpers import draw_pair
from PIL import Image

from lesionseg.data.images import (
    decode_image,
    encode_jpeg,
    encoded_size,
    picture_size,
    shrink_image,
    shrink_mask,
    shrunk_size,
)
from lesionseg.errors import DataError


def test_an_image_is_decoded_as_blue_green_red():
    image, _ = draw_pair(0)
    data = cv2.imencode(".png", image)[1].tobytes()
    assert np.array_equal(decode_image(data, "a.png"), image)


def test_gray_becomes_three_channels():
    gray = draw_pair(0)[0][..., 0]
    decoded = decode_image(cv2.imencode(".bmp", gray)[1].tobytes(), "a.bmp")
    assert np.array_equal(decoded, cv2.merge([gray] * 3))


def test_an_image_is_turned_upright():
    orientation = Image.Exif()
    orientation[0x0112] = 6
    file = BytesIO()
    Image.new("RGB", (30, 20)).save(file, "JPEG", exif=orientation)
    assert decode_image(file.getvalue(), "a.jpg").shape == (30, 20, 3)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp", ".tif"])
def test_an_image_that_breaks_off_is_an_error(extension):
    data = cv2.imencode(extension, draw_pair(0)[0])[1].tobytes()
    assert decode_image(data, "a").shape == (72, 96, 3)
    with pytest.raises(DataError, match=r"^a: "):
        decode_image(data[: len(data) // 2], "a")


@pytest.mark.parametrize(
    ("size", "short_edge", "expected"),
    [
        ((96, 72), 36, (48, 36)),
        ((72, 96), 36, (36, 48)),
        ((767, 1022), 512, (512, 682)),
        ((96, 72), 72, (96, 72)),
        ((96, 72), 512, (96, 72)),
    ],
)
def test_the_short_edge_is_met_and_nothing_grows(size, short_edge, expected):
    assert shrunk_size(*size, short_edge) == expected


def saved(form, size=(31, 20), orientation=None, **options):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    file = BytesIO()
    Image.new("RGB", size).save(file, form, exif=exif, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (saved("JPEG"), (20, 31)),
        (saved("JPEG", progressive=True), (20, 31)),
        (saved("JPEG", size=(3000, 300), comment=b"\xff\xc0 in a comment"), (300, 3000)),
        (saved("JPEG", orientation=3), (20, 31)),
        (saved("JPEG", orientation=6), (31, 20)),
        (saved("PNG", orientation=6), (31, 20)),
        (saved("BMP"), (20, 31)),
        # Bytes that fill up before a marker.
        (saved("JPEG").replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1), (20, 31)),
    ],
)
def test_the_size_in_the_header_is_that_of_the_upright_picture(data, shape):
    assert encoded_size(data, "a") == picture_size(BytesIO(data), "a") == decode_image(data, "a").shape[:2] == shape


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x00" * 9])
def test_a_header_without_a_size_is_an_error(data):
    with pytest.raises(DataError, match=r"^a: not a readable picture"):
        encoded_size(data, "a")


@pytest.mark.parametrize("shape", [(64, 96), (65, 97), (66, 98), (128, 256)])
def test_shrinking_averages_areas(shape):
    image, _ = draw_pair(1, *shape)
    size = shrunk_size(shape[1], shape[0], 30)
    shrunk = shrink_image(image, size)
    expected = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    assert shrunk.shape == (size[1], size[0], 3)
    # Without its odd row, a picture of 65 rows is drawn by 1 / 65 too long.
    assert np.abs(shrunk.astype(int) - expected).mean() < (2.5 if shape[0] % 2 else 1.5)
    assert abs(shrunk.mean() - image.mean()) < 0.5


@pytest.mark.parametrize("height", [1023, 1024, 1025, 1027])
def test_shrinking_moves_nothing_by_a_whole_pixel(height):
    image = np.zeros((height, height + 130, 3), np.uint8)
    image[-height // 8 : -height // 16] = 255
    size = shrunk_size(height + 130, height, 128)
    expected = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    middles = [
        np.average(np.arange(128), weights=picture[:, 0, 0]) for picture in (shrink_image(image, size), expected)
    ]
    assert abs(middles[0] - middles[1]) < 0.5


def test_shrinking_does_not_move_a_mask_against_its_image():
    mask = np.zeros((90, 120), np.uint8)
    mask[30:60, 30:90] = 1
    small = shrink_mask(mask, (40, 30))
    expected = np.zeros((30, 40), np.uint8)
    expected[10:20, 10:30] = 1
    assert np.array_equal(small, expected)
    # A pixel of the result is the middle of the 3 x 3 pixels that it stands for.
    middle = np.zeros((9, 12), np.uint8)
    middle[4, 7] = 1
    assert np.argwhere(shrink_mask(middle, (4, 3))).tolist() == [[1, 2]]


def test_jpeg_keeps_the_image():
    image = cv2.blur(draw_pair(2)[0], (5, 5))
    decoded = decode_image(encode_jpeg(image), "a.jpg")
    assert np.abs(decoded.astype(int) - image).mean() < 3
