import re
import struct
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from lesionseg.errors import DataError
from lesionseg.pixels.foreground import Foreground, Marks
from lesionseg.pixels.masks import border_share, count_components, decode_mask, encode_mask, lesion_pixels, read_mask

HEIGHT, WIDTH = 20, 31


@pytest.fixture
def gray():
    """A lesion at the border, another part, and a hole."""
    gray = np.zeros((HEIGHT, WIDTH), np.uint8)
    gray[:8, :12] = 255
    gray[3:5, 4:7] = 0
    gray[15:18, 20:30] = 255
    return gray


def saved(picture: Image.Image, form: str = "PNG", **options) -> bytes:
    file = BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def test_a_pixel_is_lesion_above_128():
    assert lesion_pixels(np.array([[0, 127, 128, 129, 255]], np.uint8)).tolist() == [[False, False, False, True, True]]


def test_gray_is_read_as_it_is(gray):
    gray[0, :4] = [1, 127, 128, 129]
    assert np.array_equal(decode_mask(saved(Image.fromarray(gray)), "m.png"), gray)


def test_an_encoded_mask_is_decoded_alike(gray):
    lesion = lesion_pixels(gray)
    for mask in (lesion, lesion.astype(np.uint8)):
        data = encode_mask(mask)
        assert np.array_equal(decode_mask(data, "m.png"), gray)
        assert Image.open(BytesIO(data)).mode == "L"


@pytest.mark.parametrize("value", [0, 255])
def test_an_even_mask_is_read(value):
    data = encode_mask(np.full((HEIGHT, WIDTH), value))
    assert np.array_equal(decode_mask(data, "m.png"), np.full((HEIGHT, WIDTH), value, np.uint8))


@pytest.mark.parametrize("inverted", [False, True])
def test_a_palette_mask_is_what_a_person_sees(gray, inverted):
    colors = [(255,) * 3, (0,) * 3] if inverted else [(0,) * 3, (255,) * 3]
    picture = Image.fromarray((gray == 255).astype(np.uint8) ^ inverted)
    picture = picture.convert("P")
    picture.putpalette([channel for color in colors for channel in color])
    data = saved(picture)
    assert data[25] == 3, "not a palette PNG"
    assert np.array_equal(decode_mask(data, "m.png"), gray)


def test_a_one_bit_mask_is_read(gray):
    data = saved(Image.fromarray(gray).convert("1"))
    assert data[24] == 1, "not a 1-bit PNG"
    assert np.array_equal(decode_mask(data, "m.png"), gray)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_equal_channels_are_read(gray, form):
    assert np.array_equal(decode_mask(saved(Image.fromarray(gray).convert("RGB"), form), "m"), gray)


def test_a_jpeg_mask_keeps_its_lesion(gray):
    data = saved(Image.fromarray(gray).convert("RGB"), "JPEG", quality=95)
    assert np.array_equal(lesion_pixels(decode_mask(data, "m.jpg")), gray > 128)


def test_a_jpeg_mask_is_turned_upright(gray):
    orientation = Image.Exif()
    orientation[0x0112] = 6
    data = saved(Image.fromarray(gray), "JPEG", quality=95, exif=orientation)
    assert np.array_equal(lesion_pixels(decode_mask(data, "m.jpg")), np.rot90(gray > 128, -1))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_opaque_alpha_is_read(gray, mode):
    assert np.array_equal(decode_mask(saved(Image.fromarray(gray).convert(mode)), "m.png"), gray)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pixels_are_an_error(gray, mode):
    picture = Image.fromarray(gray).convert(mode)
    picture.putalpha(Image.fromarray(255 - gray // 255))
    with pytest.raises(DataError, match=r"^m\.png: a mask with transparent pixels, expected opaque gray"):
        decode_mask(saved(picture), "m.png")


def advised(data: bytes) -> tuple[str, str]:
    """What an error says about a mask, and the --foreground that it advises."""
    with pytest.raises(DataError) as caught:
        decode_mask(data, "m.png")
    fact, _, rest = str(caught.value).partition(", expected ")
    found = re.search(r"--foreground (?:'(.*?)'|(\d+))", rest)
    assert found, rest
    return fact, found[1] or found[2]


@pytest.mark.parametrize(
    ("low", "fact"),
    [
        (1, "m.png: a mask of the values 0 and 1, none above 128"),
        (2, "m.png: a mask of the values 0 and 2, none above 128"),
        (38, "m.png: a mask of the values 0 and 38, none above 128"),
        (128, "m.png: a mask of the values 0 and 128, none above 128"),
    ],
)
def test_two_low_values_are_an_error_whose_advice_mends_it(gray, low, fact):
    data = saved(Image.fromarray((gray > 0) * np.uint8(low)))
    said, foreground = advised(data)
    assert (said, foreground) == (fact, str(low))
    assert np.array_equal(decode_mask(data, "m.png", foreground=Foreground(Marks.parse(foreground))), gray)


@pytest.mark.parametrize("low", [38, 100, 125, 128])
def test_low_shades_of_a_jpeg_mask_are_an_error_whose_advice_mends_it(low):
    lesion = np.zeros((72, 96), np.uint8)
    cv2.ellipse(lesion, (50, 30), (20, 13), 30, 0, 360, 1, -1)
    data = saved(Image.fromarray(lesion * np.uint8(low)), "JPEG", quality=80)
    fact, foreground = advised(data)
    assert re.fullmatch(r"m\.png: a mask of grays up to \d+, none of them white", fact)
    found = decode_mask(data, "m.jpg", foreground=Foreground(Marks.parse(foreground)))
    assert np.count_nonzero(lesion_pixels(found) != lesion) < 0.02 * lesion.sum()


def test_numbers_of_instances_are_an_error(gray):
    numbers = (gray > 0).astype(np.uint8)
    numbers[15:] *= 2
    data = saved(Image.fromarray(numbers))
    assert advised(data) == ("m.png: a mask of the values 0, 1 and 2, none above 128", "2")
    assert np.array_equal(decode_mask(data, "m.png", foreground=Foreground(Marks.parse("1,2"))), gray)
    assert np.array_equal(decode_mask(data, "m.png", foreground=Foreground(Marks.parse("1-2"))), gray)


@pytest.mark.parametrize("value", [1, 128])
def test_one_low_value_is_an_error(value):
    assert (
        advised(saved(Image.new("L", (31, 20), value)))[0]
        == f"m.png: a mask of the values {value} alone, none above 128"
    )


def test_two_high_values_are_an_error(gray):
    assert (
        advised(saved(Image.fromarray(200 + gray // 51)))[0] == "m.png: a mask of the values 200 and 205, all above 128"
    )


def test_many_low_shades_are_a_mask_without_lesion():
    shades = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) % 129
    assert not lesion_pixels(decode_mask(saved(Image.fromarray(shades.astype(np.uint8))), "m.png")).any()


@pytest.mark.parametrize("red", [128, 255])
def test_a_coloured_mask_is_an_error_whose_advice_mends_it(gray, red):
    none = np.zeros_like(gray)
    data = saved(Image.fromarray(np.dstack([gray // 255 * np.uint8(red), none, none])))
    fact, foreground = advised(data)
    assert fact == f"m.png: a coloured mask of the colours #000000 and #{red:02x}0000"
    assert np.array_equal(decode_mask(data, "m.png", foreground=Foreground(Marks.parse(foreground))), gray)


def test_a_coloured_palette_is_an_error_whose_advice_mends_it(gray):
    picture = Image.fromarray(gray // 255).convert("P")
    picture.putpalette([0, 0, 0, 128, 0, 0])
    fact, foreground = advised(saved(picture))
    assert (fact, foreground) == ("m.png: a coloured mask of the palette indices 0 and 1", "1")
    assert np.array_equal(decode_mask(saved(picture), "m.png", foreground=Foreground(Marks.parse("1"))), gray)


def test_a_dark_palette_is_told_by_its_indices(gray):
    picture = Image.fromarray(gray // 255).convert("P")
    picture.putpalette([0, 0, 0, 38, 38, 38])
    fact, foreground = advised(saved(picture))
    assert fact == "m.png: a mask of the palette indices 0 and 1, shown as gray 0 and 38, none above 128"
    assert foreground == "1"


def test_a_photograph_is_no_mask():
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(DataError, match=r"^m\.png: a coloured mask, expected gray .* Save it with the lesion white"):
        decode_mask(saved(Image.fromarray(noise)), "m.png")


@pytest.mark.parametrize("high", [1, 255, 65535])
def test_sixteen_bits_are_an_error_whose_advice_mends_it(gray, high):
    data = saved(Image.fromarray((gray > 0).astype(np.uint16) * np.uint16(high)))
    fact, foreground = advised(data)
    assert fact == f"m.png: a mask of type uint16 with the values 0 and {high}"
    assert np.array_equal(decode_mask(data, "m.png", foreground=Foreground(Marks.parse(foreground))), gray)


@pytest.mark.parametrize("high", [1, 255])
def test_floats_are_an_error_whose_advice_mends_it(gray, high):
    data = saved(Image.fromarray((gray > 0).astype(np.float32) * high), "TIFF")
    fact, foreground = advised(data)
    assert fact == f"m.png: a mask of type float32 with the values 0 and {high}"
    assert np.array_equal(decode_mask(data, "m.png", foreground=Foreground(Marks.parse(foreground))), gray)


@pytest.mark.parametrize(
    "picture",
    [
        np.float32([[0, 0.5]]),
        np.float32([[0, np.nan]]),
        np.int32([[0, 70_000]]),
        np.uint16([[[0, 0, 65535], [0, 0, 0]]]),
    ],
)
def test_what_no_foreground_can_name_is_to_be_saved_again(picture):
    data = cv2.imencode(".tif", picture)[1].tobytes()
    with pytest.raises(DataError, match=r"of type .* expected 8-bit gray, .* Save it with the lesion white"):
        decode_mask(data, "m.png")


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1), (8, 1)])
def test_a_png_mask_is_turned_upright_like_its_image(gray, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for mode in ("L", "RGBA"):
        data = saved(Image.fromarray(gray).convert(mode), exif=exif)
        assert np.array_equal(decode_mask(data, "m.png"), np.rot90(gray, turns))


def test_the_border_is_the_outermost_pixels():
    lesion = np.zeros((HEIGHT, WIDTH), bool)
    lesion[1:-1, 1:-1] = True
    assert (border_share(lesion), border_share(~lesion)) == (0, 1)
    # A corner stands in a row and in a column.
    assert border_share(np.indices((HEIGHT, WIDTH))[1] == 0) == pytest.approx((20 + 2) / (2 * 20 + 2 * 31))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_file_that_breaks_off_is_an_error(form, kept):
    noise = np.random.default_rng(0).integers(0, 2, (HEIGHT, WIDTH), np.uint8) * 255
    data = saved(Image.fromarray(noise), form)
    with pytest.raises(DataError, match=r"^m: the file breaks off before its end, expected a whole picture"):
        decode_mask(data[: int(len(data) * kept)], "m")


def test_bytes_after_the_end_do_no_harm(gray):
    assert np.array_equal(decode_mask(saved(Image.fromarray(gray)) + b"\n" * 100, "m.png"), gray)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "not a readable picture"),
        (b"<html>not found</html>", "a web page by its content"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\0IEND\xaeB`\x82", "not a readable picture"),
    ],
)
def test_what_is_no_picture_is_an_error(data, what):
    with pytest.raises(DataError, match=rf"^m\.png: {what}"):
        decode_mask(data, "m.png")


def test_a_size_beyond_reason_is_an_error():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(
        DataError, match=r"^m\.png: 100000x100000 pixels, 10000000000 in all, expected at most 1073741824"
    ):
        decode_mask(data, "m.png")


def test_reading_names_the_file(tmp_path, gray):
    path = tmp_path / "m.png"
    path.write_bytes(encode_mask(gray))
    assert np.array_equal(read_mask(path), gray)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=str(path)):
        read_mask(path)
    with pytest.raises(FileNotFoundError):
        read_mask(tmp_path / "none.png")


@pytest.mark.parametrize("seed", range(5))
def test_components_are_8_connected(seed):
    lesion = (np.random.default_rng(seed).random((40, 53)) < (0.1, 0.3, 0.5, 0.7, 0.0)[seed]).astype(np.uint8)
    assert count_components(lesion) == cv2.connectedComponents(lesion, connectivity=8)[0] - 1
