"""What is lesion where white is not."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lesionseg.errors import DataError
from lesionseg.pixels.foreground import Foreground, Marks

HEIGHT, WIDTH = 20, 32
LESION = np.zeros((HEIGHT, WIDTH), bool)
LESION[:8, :16] = True
LESION[3:5, 4:6] = False


def saved(picture: Image.Image, form: str = "PNG", **options) -> bytes:
    file = BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def drawn(lesion, other) -> Image.Image:
    """A picture of two grays or colours."""
    return Image.fromarray(
        np.where(LESION[..., None] if np.size(lesion) > 1 else LESION, lesion, other).astype(np.uint8)
    )


def find(data: bytes, lesion: str, background: str | None = None) -> np.ndarray:
    return Foreground(Marks.parse(lesion), Marks.parse(background) if background else None).find(data, "m.png")


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("1", Marks(frozenset({1}))),
        ("1,3-5", Marks(frozenset({1, 3, 4, 5}))),
        ("65535", Marks(frozenset({65535}))),
        ("#800000", Marks(colours=frozenset({(128, 0, 0)}))),
        ("red, 2", Marks(frozenset({2}), frozenset({(255, 0, 0)}))),
        ("alpha", Marks(alpha=True)),
    ],
)
def test_marks_are_values_colours_and_alpha(text, marks):
    assert Marks.parse(text) == marks
    assert Marks.parse(str(marks)) == marks


@pytest.mark.parametrize("text", ["", "lesion", "-1", "5-3", "65536", "#12", "1;2"])
def test_what_is_no_mark_is_an_error(text):
    with pytest.raises(ValueError, match="expected"):
        Marks.parse(text)


@pytest.mark.parametrize(("gray", "other"), [(1, 0), (128, 0), (0, 255), (7, 3)])
def test_a_value_is_the_lesion(gray, other):
    background = None if other in (0, 255) else str(other)
    assert np.array_equal(find(saved(drawn(gray, other)), str(gray), background), LESION)


def test_an_index_of_a_palette_is_the_lesion():
    picture = Image.fromarray(LESION.astype(np.uint8)).convert("P")
    picture.putpalette([10, 10, 10, 10, 10, 10])
    assert np.array_equal(find(saved(picture), "1"), LESION)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "JPEG"])
@pytest.mark.parametrize(
    ("colour", "other", "lesion", "background"),
    [
        ((128, 0, 0), (0, 0, 0), "#800000", None),
        ((255, 0, 0), (0, 0, 0), "red", None),
        ((255, 0, 0), (255, 255, 255), "red", "white"),
        ((0, 0, 0), (255, 255, 255), "black", None),
    ],
)
def test_a_colour_is_the_lesion(form, colour, other, lesion, background):
    options = dict(quality=95, subsampling=0) if form == "JPEG" else {}
    found = find(saved(drawn(colour, other), form, **options), lesion, background)
    assert np.array_equal(found, LESION)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_opaque_is_the_lesion(mode):
    picture = Image.new("L", (WIDTH, HEIGHT), 255).convert(mode)
    picture.putalpha(drawn(255, 0))
    assert np.array_equal(find(saved(picture), "alpha"), LESION)
    with pytest.raises(DataError, match=r"^m\.png: a mask without alpha"):
        find(saved(drawn(255, 0)), "alpha")


def test_other_classes_are_no_lesion_beside_one():
    classes = LESION.astype(np.uint8)
    classes[15:] = 2
    assert np.array_equal(find(saved(Image.fromarray(classes)), "1"), LESION)


def test_a_mask_of_a_forgotten_value_is_an_error_and_a_named_one_is_empty():
    data = saved(drawn(2, 0))
    with pytest.raises(
        DataError, match=r"^m\.png: a mask of the values 0 and 2, expected 1 or only background \(0,#000"
    ):
        find(data, "1")
    assert not find(data, "1", "0,2").any()
    assert np.array_equal(find(data, "1,2"), LESION)


def test_an_even_mask_is_empty():
    assert not find(saved(Image.new("L", (WIDTH, HEIGHT), 0)), "1").any()
    assert find(saved(Image.new("L", (WIDTH, HEIGHT), 1)), "1").all()
