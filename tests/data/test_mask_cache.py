import base64
import json
import os
import shutil
import time
import zlib

import cv2
import numpy as np
import pytest

from lesionseg.data.datasets.mask_cache import MaskCache, PackedMask, packed_mask, stamp
from lesionseg.pixels.masks import encode_mask
from lesionseg.pixels.shrink import shrink_mask

HEIGHT, WIDTH = 30, 44


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def drawn(name):
    """A lesion at both ends of the rows, with a hole, in two parts, and the extremes."""
    lesion = np.zeros((HEIGHT, WIDTH), bool)
    if name == "parts":
        lesion[:8, :12] = lesion[5:20, -9:] = lesion[22:, 15:30] = True
        lesion[24:26, 18:22] = False
    elif name == "full":
        lesion[:] = True
    elif name == "noise":
        lesion = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5
    return lesion


@pytest.mark.parametrize("name", ["parts", "empty", "full", "noise"])
def test_a_packed_mask_is_the_same_to_the_pixel(name):
    lesion = drawn(name)
    packed = PackedMask.of(lesion)
    unpacked = packed.unpack((HEIGHT, WIDTH))
    assert unpacked.dtype == np.uint8
    assert np.array_equal(unpacked, lesion)
    assert packed.lesion_pixels == lesion.sum()


@pytest.mark.parametrize("name", ["parts", "empty", "full", "noise"])
@pytest.mark.parametrize("shape", [(15, 22), (8, 11), (4, 6), (29, 43), (30, 22), (1, 1)])
def test_a_smaller_mask_is_that_of_resizing(name, shape):
    lesion = drawn(name)
    expected = shrink_mask(lesion.astype(np.uint8), shape[::-1])
    assert np.array_equal(PackedMask.of(lesion).unpack(shape), expected)


@pytest.fixture
def mask(tmp_path):
    """The path of a mask that is in the cache."""
    path = tmp_path / "masks" / "a.png"
    path.parent.mkdir()
    path.write_bytes(encode_mask(drawn("parts")))
    keep(str(path), drawn("parts"))
    return str(path)


def keep(path, lesion):
    cache = MaskCache(os.path.dirname(path))
    cache.keep(path, stamp(path), PackedMask.of(lesion))
    cache.save()


def test_what_is_kept_is_found(mask, monkeypatch, tmp_path):
    assert np.array_equal(packed_mask(mask).unpack((HEIGHT, WIDTH)), drawn("parts"))
    monkeypatch.chdir(tmp_path)
    assert packed_mask("masks/a.png").shape == (HEIGHT, WIDTH)
    assert MaskCache("masks").look_up("masks/a.png") == ((HEIGHT, WIDTH), drawn("parts").sum())


def test_a_mask_that_was_not_kept_is_not_found(mask, tmp_path):
    other = shutil.copy(mask, tmp_path / "masks" / "b.png")
    elsewhere = shutil.copy(mask, tmp_path / "a.png")
    assert packed_mask(str(other)) is packed_mask(str(elsewhere)) is packed_mask(f"{mask}.none") is None


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_mask_that_has_changed_is_not_found(mask, change):
    times = os.stat(mask)
    if change == "size":
        with open(mask, "ab") as file:
            file.write(b"\n")
        os.utime(mask, ns=(times.st_atime_ns, times.st_mtime_ns))
    else:
        os.utime(mask, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert packed_mask(mask) is None
    assert MaskCache(os.path.dirname(mask)).look_up(mask) is None


def test_a_loader_that_has_read_the_cache_sees_a_later_one(mask, tmp_path):
    assert packed_mask(mask).lesion_pixels == drawn("parts").sum()
    time.sleep(0.02)
    keep(mask, drawn("full"))
    assert packed_mask(mask).lesion_pixels == HEIGHT * WIDTH


def runs_of(*lengths, dtype="<u4"):
    return base64.b64encode(zlib.compress(np.array(lengths, dtype).tobytes())).decode()


LESION = int(drawn("parts").sum())
DAMAGES = {
    "cut": lambda text, entry: text[:-9],
    "empty": lambda text, entry: "",
    "a list": lambda text, entry: "[]",
    "nested": lambda text, entry: "[" * 100_000,
    "no entry": lambda text, entry: json.dumps({"a.png": [1]}),
    **{
        f"no {key}": lambda text, entry, key=key: json.dumps(
            {"a.png": {name: value for name, value in entry.items() if name != key}}
        )
        for key in ("stamp", "shape", "lesion", "runs")
    },
    **{
        f"{key} {value}": lambda text, entry, key=key, value=value: json.dumps({"a.png": {**entry, key: value}})
        for key, value in (
            *(("shape", value) for value in (None, [HEIGHT], ["30", "44"], [-HEIGHT, -WIDTH], [HEIGHT, WIDTH + 1])),
            *(("lesion", value) for value in (None, "9", -1, LESION + 1, HEIGHT * WIDTH + 1)),
            *(("runs", value) for value in (7, "", "A" * 12, "é", runs_of(), runs_of(9, 9, dtype="u1"))),
            *(("runs", value) for value in (runs_of(4, LESION), runs_of(HEIGHT * WIDTH - 1, 1))),
        )
    },
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_as_none_and_mended_by_the_next_check(mask, cache_home, damage):
    (file,) = cache_home.rglob("*.json")
    text = file.read_text()
    file.write_text(DAMAGES[damage](text, json.loads(text)["a.png"]))
    assert packed_mask(mask) is None
    assert MaskCache(os.path.dirname(mask)).look_up(mask) is None
    time.sleep(0.02)
    keep(mask, drawn("parts"))
    assert packed_mask(mask).lesion_pixels == LESION


@pytest.mark.parametrize("changed", ["_FORMAT", "LESION_ABOVE"])
def test_what_was_kept_under_another_rule_is_not_found(mask, monkeypatch, changed):
    monkeypatch.setattr(f"lesionseg.data.datasets.mask_cache.{changed}", 100)
    assert packed_mask(mask) is None
    assert MaskCache(os.path.dirname(mask)).look_up(mask) is None


def test_noise_is_counted_but_its_pixels_are_not_kept(tmp_path):
    noise = np.random.default_rng(0).random((800, 1000)) < 0.5
    path = str(tmp_path / "noise.png")
    cv2.imwrite(path, noise * np.uint8(255))
    keep(path, noise)
    assert packed_mask(path) is None
    assert MaskCache(str(tmp_path)).look_up(path) == ((800, 1000), noise.sum())


def test_masks_that_are_gone_are_forgotten(mask, cache_home):
    other = shutil.copy(mask, os.path.join(os.path.dirname(mask), "b.png"))
    os.remove(mask)
    keep(other, drawn("parts"))
    (file,) = cache_home.rglob("*.json")
    assert list(json.loads(file.read_text())) == ["b.png"]


def test_a_folder_has_one_small_file(mask, cache_home):
    (file,) = (path for path in cache_home.rglob("*") if path.is_file())
    assert file.stat().st_size < 400
