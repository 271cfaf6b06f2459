import threading

import cv2
import numpy as np
import pytest
from helpers import draw_pair
from matplotlib.path import Path as Outline

from lesionseg.inference import Segmenter
from lesionseg.inference.inputs import find_inputs
from lesionseg.pages.annotations import Annotations
from lesionseg.pixels.masks import encode_mask, lesion_pixels, read_mask

pytestmark = pytest.mark.browser

# (height, width) of the images: smaller than the copy that is drawn on, upright, and larger.
SIZES = ((72, 96), (300, 200), (1100, 1400))
# Corners as shares of width and height.
CORNERS = ((0.2, 0.25), (0.75, 0.15), (0.85, 0.6), (0.5, 0.85), (0.15, 0.7))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, size in enumerate(SIZES):
        cv2.imwrite(str(folder / f"ISIC_{number}.png"), draw_pair(number, *size)[0])
    return folder


@pytest.fixture
def annotate(images, tmp_path, serve, tab):
    """Open the page over the images; gives what is annotated."""

    def open_page(findings=(), model=None):
        from lesionseg.pages.annotation_page import annotation_page

        annotations = Annotations(
            find_inputs([str(images)]).images, tmp_path / "masks", findings, model and Segmenter(model)
        )
        tab.goto(serve(lambda: annotation_page(annotations)))
        ready(tab)
        return annotations

    return open_page


def ready(tab, number=None):
    tab.wait_for_selector(".stage.ready")
    if number is not None:
        tab.wait_for_selector(f"text='{number + 1} of {len(SIZES)}'")
        tab.wait_for_selector(".stage.ready")


def told(tab, text):
    tab.locator("[data-show=status]", has_text=text).wait_for()


def draw(tab, tool, points, steps=8):
    """Draw along points, each the shares of width and height of the picture."""
    tab.click(f"[data-tool={tool}]")
    box = tab.locator(".paper img").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    tab.mouse.move(*places[0])
    tab.mouse.down()
    for place in places[1:]:
        tab.mouse.move(*place, steps=steps)
    tab.mouse.up()


def polygon(size, corners=CORNERS):
    """The pixels whose middles lie in the polygon, (H, W) bool."""
    height, width = size
    middles = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1).reshape(-1, 2)
    return Outline(np.array(corners) * (width, height)).contains_points(middles).reshape(size)


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


SEEN = """number => {
  const canvas = document.querySelectorAll(".paper canvas")[number];
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (let at = 3; at < data.length; at += 4) text += data[at] ? "1" : "0";
  return [canvas.height, canvas.width, text];
}"""


def seen(tab, number=0):
    """The mask that a layer shows, (h, w) bool."""
    height, width, text = tab.evaluate(SEEN, number)
    return (np.frombuffer(text.encode(), np.uint8) == ord("1")).reshape(height, width)


def answer(tab, label):
    tab.locator(".ask button", has_text=label).click()


def test_polygons_on_images_of_three_sizes_are_kept(annotate, tab, tmp_path):
    annotate()
    for number, size in enumerate(SIZES):
        ready(tab, number)
        draw(tab, "outline", CORNERS)
        drawn = seen(tab)
        assert tab.is_enabled(".save")
        tab.click(".save")
        told(tab, "Saved the mask")
        gray = read_mask(tmp_path / "masks" / f"ISIC_{number}.png")
        assert set(np.unique(gray)) == {0, 255}
        assert gray.shape == size
        assert iou(lesion_pixels(gray), polygon(size)) >= 0.98
        assert iou(drawn, polygon(drawn.shape)) >= 0.98
        if number < len(SIZES) - 1:
            tab.keyboard.press("ArrowRight")
    tab.reload()
    ready(tab)
    assert "3 of 3 have a mask" in tab.inner_text("[data-show=done]")
    for number in range(len(SIZES)):
        ready(tab, number)
        shown = seen(tab)
        assert iou(shown, polygon(shown.shape)) >= 0.98
        assert tab.is_disabled(".save")
        if number < len(SIZES) - 1:
            tab.click("[data-do=next]")
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [f"ISIC_{number}.png" for number in range(3)]


def test_brush_eraser_undo_and_zoom(annotate, tab):
    annotate()
    height, width = SIZES[0]
    # Few events of a fast hand; no part of the line is missing.
    draw(tab, "brush", [(0.1, 0.5), (0.9, 0.5)], steps=1)
    line = seen(tab)
    assert line[height // 2, round(0.1 * width) : round(0.9 * width)].all()
    draw(tab, "eraser", [(0.5, 0), (0.5, 1)], steps=1)
    cut = seen(tab)
    assert not cut[:, width // 2].any()
    assert cut.any()
    tab.keyboard.press("Control+z")
    assert np.array_equal(seen(tab), line)
    tab.keyboard.press("Control+Shift+z")
    assert np.array_equal(seen(tab), cut)
    before = tab.locator(".paper img").bounding_box()["width"]
    tab.mouse.wheel(0, -400)
    assert tab.locator(".paper img").bounding_box()["width"] == pytest.approx(before * np.e, rel=0.01)
    tab.click("[data-do=fit]")
    assert tab.locator(".paper img").bounding_box()["width"] == pytest.approx(before)
    tab.click("[data-do=clear]")
    assert not seen(tab).any()


def test_nothing_is_drawn_before_the_image_is_there(annotate, tab, monkeypatch):
    annotations = annotate()
    may_open, open_image = threading.Event(), annotations.open
    monkeypatch.setattr(annotations, "open", lambda number: may_open.wait(20) and open_image(number))
    box = tab.locator(".stage").bounding_box()
    tab.click("[data-do=next]")
    assert tab.is_disabled(".save")
    assert tab.is_disabled("[data-tool=brush]")
    tab.mouse.move(box["x"] + 200, box["y"] + 200)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 400, box["y"] + 300)
    may_open.set()
    ready(tab, 1)
    tab.mouse.up()
    assert tab.is_disabled(".save")
    assert not seen(tab).any()
    draw(tab, "outline", CORNERS)
    assert iou(seen(tab), polygon(SIZES[1])) >= 0.98


def test_unsaved_strokes_are_asked_about(annotate, tab, tmp_path):
    annotate()
    draw(tab, "outline", CORNERS)
    tab.click("[data-do=next]")
    assert "not saved" in tab.inner_text(".ask")
    answer(tab, "Stay")
    assert seen(tab).any()
    tab.click("[data-do=next]")
    answer(tab, "Save")
    ready(tab, 1)
    assert (tmp_path / "masks" / "ISIC_0.png").is_file()
    draw(tab, "outline", CORNERS)
    tab.click("[data-do=previous]")
    answer(tab, "Discard")
    ready(tab, 0)
    tab.click("[data-do=first]")
    ready(tab, 1)
    assert not seen(tab).any()


def test_a_mask_that_is_there_is_replaced_only_when_asked(annotate, tab, tmp_path):
    (tmp_path / "masks").mkdir()
    path = tmp_path / "masks" / "ISIC_0_segmentation.png"
    there = polygon(SIZES[0], [(0.05, 0.05), (0.3, 0.05), (0.3, 0.3)])
    path.write_bytes(encode_mask(there))
    annotate()
    assert tab.inner_text("[data-show=counter]") == "2 of 3"
    tab.click("[data-do=previous]")
    ready(tab, 0)
    assert np.array_equal(seen(tab), there)
    draw(tab, "outline", CORNERS)
    tab.click(".save")
    answer(tab, "Keep it")
    assert np.array_equal(lesion_pixels(read_mask(path)), there)
    tab.click(".save")
    answer(tab, "Replace")
    told(tab, "Saved the mask")
    assert np.array_equal(lesion_pixels(read_mask(path)), seen(tab))
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    draw(tab, "eraser", [(0.5, 0), (0.5, 1)])
    # What was drawn here needs no question; what another has written since does.
    path.write_bytes(encode_mask(there))
    tab.click(".save")
    told(tab, "was written by someone else")
    assert str(tmp_path) not in tab.inner_text("body")
    assert np.array_equal(lesion_pixels(read_mask(path)), there)


def test_findings_overlap_and_begin_from_the_model(annotate, tab, tmp_path, model):
    annotate(("acne", "mela"), model)
    truth = draw_pair(0, *SIZES[0])[1] > 0
    draw(tab, "outline", CORNERS)
    tab.click("[data-finding=mela]")
    tab.click("[data-do=model]")
    told(tab, "what the model finds")
    assert np.array_equal(seen(tab, 1), truth)
    tab.click(".save")
    told(tab, "Saved acne, mela")
    acne, mela = (lesion_pixels(read_mask(tmp_path / "masks" / name / "ISIC_0.png")) for name in ("acne", "mela"))
    assert (acne & mela).any()
    assert np.array_equal(mela, truth)
    assert iou(acne, polygon(SIZES[0])) >= 0.98


def test_a_rough_outline_is_refined(annotate, tab):
    annotate()
    tab.click("[data-do=next]")
    ready(tab, 1)
    draw(tab, "refine", [(0.03, 0.03), (0.97, 0.03), (0.97, 0.97), (0.03, 0.97)])
    told(tab, "Refined")
    assert iou(seen(tab), draw_pair(1, *SIZES[1])[1] > 0) >= 0.95


def test_an_image_that_has_gone_is_told_and_the_next_one_opens(annotate, tab, images):
    annotate()
    (images / "ISIC_1.png").unlink()
    tab.click("[data-do=next]")
    told(tab, "ISIC_1.png: No such file")
    assert tab.is_disabled(".save")
    assert str(images) not in tab.inner_text("body")
    tab.click("[data-do=next]")
    ready(tab, 2)
