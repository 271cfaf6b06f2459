from io import BytesIO

import cv2
import numpy as np
import pytest
from helpers import draw_pair
from PIL import Image, ImageOps

from lesionseg.errors import DataError
from lesionseg.pixels.pictures import decode_image, encode_jpeg, encoded_size, picture_size
from lesionseg.pixels.shrink import shrink_image, shrink_mask, shrunk_size


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


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(form, orientation):
    picture = Image.new("RGB", (30, 20))
    # White in the left upper corner as the file stores it.
    picture.paste((255, 255, 255), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = BytesIO()
    picture.save(file, form, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(file.getvalue()))))
    assert upright.shape[:2] == ((30, 20) if orientation > 4 else (20, 30))
    decoded = decode_image(file.getvalue(), "a").astype(int)
    assert np.abs(decoded - upright[..., ::-1]).max() < 40


@pytest.mark.parametrize("extension", [".png", ".tif", ".ppm"])
def test_16_bits_become_8(extension):
    image = draw_pair(0)[0]
    deep = image.astype(np.uint16) * 257
    assert np.array_equal(decode_image(cv2.imencode(extension, deep)[1].tobytes(), "a"), image)


def test_16_bits_of_gray_become_8():
    gray = draw_pair(0)[0][..., 0]
    decoded = decode_image(cv2.imencode(".png", gray.astype(np.uint16) * 257)[1].tobytes(), "a")
    assert np.array_equal(decoded, cv2.merge([gray] * 3))


@pytest.mark.parametrize("extension", [".png", ".tif"])
def test_alpha_is_left_out(extension):
    image = draw_pair(0)[0]
    for alpha in (np.full(image.shape[:2], 255, np.uint8), draw_pair(1)[1]):
        data = cv2.imencode(extension, np.dstack([image, alpha]))[1].tobytes()
        assert np.array_equal(decode_image(data, "a"), image)


def test_gray_with_alpha_and_palettes_are_read_as_colours():
    gray = Image.fromarray(draw_pair(0)[0][..., 0])
    gray.putalpha(100)
    palette = Image.fromarray(draw_pair(0)[0][..., ::-1].copy()).quantize(200)
    for picture in (gray, palette):
        file = BytesIO()
        picture.save(file, "PNG")
        expected = np.asarray(picture.convert("RGB"))[..., ::-1]
        assert np.array_equal(decode_image(file.getvalue(), "a"), expected)


def test_inks_become_colours():
    inks = Image.new("CMYK", (30, 20), (255, 0, 0, 0))
    inks.paste((0, 0, 0, 255), (0, 0, 15, 20))
    file = BytesIO()
    inks.save(file, "JPEG", quality=100)
    decoded = decode_image(file.getvalue(), "a")
    assert np.abs(decoded[5, 5].astype(int)).max() < 4
    assert np.abs(decoded[5, 25].astype(int) - (255, 255, 0)).max() < 4


@pytest.mark.parametrize("form", ["TIFF", "WEBP", "PNG"])
def test_of_several_pages_the_first_is_read(form):
    first, second = Image.new("RGB", (30, 20), (255, 0, 0)), Image.new("RGB", (30, 20), (0, 0, 255))
    file = BytesIO()
    first.save(file, form, save_all=True, append_images=[second], **({"lossless": True} if form == "WEBP" else {}))
    assert np.array_equal(decode_image(file.getvalue(), "a"), np.full((20, 30, 3), (0, 0, 255)))


@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp", ".tif", ".webp"])
def test_one_pixel_is_an_image(extension):
    decoded = decode_image(cv2.imencode(extension, np.full((1, 1, 3), 77, np.uint8))[1].tobytes(), "a")
    assert decoded.tolist() == [[[77, 77, 77]]]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_photograph_may_be_followed_by_a_video(progressive):
    picture = Image.fromarray(draw_pair(0)[0])
    exif = Image.Exif()
    exif[0x0112] = 1
    file = BytesIO()
    picture.save(file, "JPEG", progressive=progressive, exif=exif)
    data = file.getvalue()
    with_video = data + bytes(20000)
    assert np.array_equal(decode_image(with_video, "a.jpg"), decode_image(data, "a.jpg"))
    with pytest.raises(DataError, match=r"^a\.jpg: the file breaks off before its end"):
        decode_image(data[:-2] + bytes(20000), "a.jpg")


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
