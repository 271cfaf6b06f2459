import os
import struct
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
from helpers import draw_pair
from PIL import Image, ImageOps

from lesionseg.errors import DataError
from lesionseg.pixels.pictures import decode_image, encode_jpeg, encoded_size, picture_size, read_image
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


# Orientation 6, to be turned by a quarter, as Lightroom writes it beside or in place of EXIF, and as EXIF has it.
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
LYING = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def saved(form, size=(31, 20), orientation=None, **options):
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    file = BytesIO()
    Image.new("RGB", size).save(file, form, **options)
    return file.getvalue()


def with_chunk(png, kind, data, before=b"IDAT"):
    """A PNG file with one more chunk."""
    place = png.index(before) - 4
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:place] + chunk + png[place:]


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (saved("JPEG"), (20, 31)),
        (saved("JPEG", progressive=True), (20, 31)),
        (saved("JPEG", size=(3000, 300), comment=b"\xff\xc0 in a comment"), (300, 3000)),
        (saved("JPEG", orientation=3), (20, 31)),
        (saved("JPEG", orientation=6), (31, 20)),
        (saved("PNG", orientation=6), (31, 20)),
        (saved("PNG", orientation=8), (31, 20)),
        (saved("BMP"), (20, 31)),
        (saved("TIFF"), (20, 31)),
        (saved("TIFF", orientation=6), (31, 20)),
        (saved("WEBP", orientation=6), (31, 20)),
        (saved("JPEG2000"), (20, 31)),
        (saved("PPM"), (20, 31)),
        # Metadata that is no TIFF, and an orientation that OpenCV does not look for.
        (saved("JPEG", exif=b"Exif\0\0no TIFF"), (20, 31)),
        (with_chunk(saved("PNG"), b"eXIf", b"\0\x08\0\x02\x01\x12\0\x03"), (20, 31)),
        (saved("JPEG", xmp=XMP), (20, 31)),
        (saved("JPEG", xmp=XMP, orientation=8), (31, 20)),
        # Found behind the pixels, too.
        (with_chunk(saved("PNG"), b"eXIf", LYING, before=b"IEND"), (31, 20)),
        # Bytes that fill up before a marker.
        (saved("JPEG").replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1), (20, 31)),
    ],
)
def test_the_size_in_the_header_is_that_of_the_upright_picture(tmp_path, data, shape):
    assert encoded_size(data, "a") == decode_image(data, "a").shape[:2] == shape
    (tmp_path / "a").write_bytes(data)
    assert picture_size(tmp_path / "a") == shape


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        (b"", "not a readable picture"),
        (b"no picture", "not a readable picture"),
        (b"\xff\xd8", "the file breaks off"),
        (b"\xff\xd8\xff", "the file breaks off"),
        (b"\xff\xd8\xff\xe0\x00\x00" * 9, "the file breaks off"),
        (b"\xff\xd8\xff\xe0\x00\x00" * 9 + b"\xff\xd9", "not a readable picture"),
    ],
)
def test_a_header_without_a_size_is_an_error(tmp_path, data, fact):
    (tmp_path / "a").write_bytes(data)
    for read in (lambda: encoded_size(data, "a"), lambda: picture_size(tmp_path / "a")):
        with pytest.raises(DataError, match=f"a: {fact}"):
            read()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("extension", [".png", ".tif", ".ppm"])
def test_few_bits_in_16_use_all_8(bits, extension):
    image = draw_pair(0)[0]
    image[0, 0] = 255
    deep = image.astype(np.uint16) << (bits - 8)
    data = cv2.imencode(extension, deep)[1].tobytes()
    assert np.array_equal(decode_image(data, "a"), image)


def test_a_reduced_picture_has_8_bits_too():
    deep = np.full((20, 32, 3), 4095, np.uint16)
    decoded = decode_image(cv2.imencode(".png", deep)[1].tobytes(), "a", reduction=2)
    assert np.array_equal(decoded, np.full((10, 16, 3), 255, np.uint8))


def test_numbers_of_32_bits_are_no_picture():
    data = cv2.imencode(".tif", np.ones((20, 31), np.float32))[1].tobytes()
    with pytest.raises(DataError, match=r"^a: a picture of type float32, expected 8 or 16 bits .* Save it as an 8-bit"):
        decode_image(data, "a")


@pytest.mark.parametrize(
    ("data", "kind", "step"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "HEIC", "Convert it"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(200), "HEIC", "Convert it"),
        (bytes(128) + b"DICM" + bytes(200), "DICOM", "Convert it"),
        (b"%PDF-1.7\n", "PDF", "Convert it"),
        (b"<svg/>", "SVG", "Convert it"),
        (b"PK\3\4" + bytes(99), "an archive", "Extract it"),
        (b"<!DOCTYPE html>", "a web page", "Download the picture again"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS", "Run `git lfs pull`"),
    ],
)
def test_formats_that_are_not_read_are_named(data, kind, step):
    for read in (decode_image, encoded_size):
        with pytest.raises(DataError, match=f"^a.jpg: {kind} by its content, expected .* {step}"):
            read(data, "a.jpg")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "JPEG2000", "PPM"])
def test_more_pixels_than_allowed_are_told_before_they_are_decoded(form, monkeypatch):
    data = saved(form)
    assert decode_image(data, "a", max_pixels=620).shape == (20, 31, 3)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"^a: 31x20 pixels, 620 in all, expected at most 619\. .* --max-pixels 620\."):
        decode_image(data, "a", max_pixels=619)


def test_a_picture_larger_than_the_memory_is_an_error(monkeypatch):
    def refuse(*_):
        raise MemoryError

    monkeypatch.setattr(cv2, "imdecode", refuse)
    with pytest.raises(DataError, match=r"^a: 31x20 pixels are more than the free memory holds"):
        decode_image(saved("JPEG"), "a")


def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    for read in (read_image, picture_size):
        with pytest.raises(DataError, match=r"a\.jpg: a pipe or a device, expected a regular file"):
            read(tmp_path / "a.jpg")


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
