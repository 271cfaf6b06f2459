import cv2
import numpy as np
import pytest
from drawn_models import semantic_model
from helpers import draw_pair, load_tool

from lesionseg.inference import Segmenter
from lesionseg.pixels.masks import encode_mask

pytestmark = pytest.mark.browser

SIZE = (72, 96)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "ISIC_0.png"
    # Hair over it, so that post-processing has something to do.
    image = draw_pair(0, *SIZE)[0]
    image[5:7, 10:80] = 20
    cv2.imwrite(str(path), image)
    return path


@pytest.fixture
def predicted(model, photo, tmp_path):
    """Predict the photograph by tools/predict.py; gives the bytes of a file that it wrote."""

    def predict(*flags):
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        assert load_tool("predict").main([str(model), str(photo), "--out", str(out), "--overlay", *flags]) == 0
        return {path.name: path.read_bytes() for path in out.glob("ISIC_0*")}

    return predict


@pytest.fixture
def demo(serve, tab):
    """Open the page of models, given by their names."""

    def open_page(**models):
        from lesionseg.pages.demo_page import demo_css, demo_page

        segmenters = [(name, Segmenter(path)) for name, path in models.items()]
        tab.goto(serve(lambda: demo_page(segmenters), css=demo_css()))
        tab.wait_for_selector("#photo input[type=file]", state="attached")

    return open_page


def drop(tab, path, place="photo"):
    tab.set_input_files(f"#{place} input[type=file]", path)


def area(tab, number=0):
    return tab.inner_text(f"#view-{number} dd >> nth=0")


def download(tab, button):
    with tab.expect_download() as started:
        tab.click(f"#{button}")
    path = started.value.path()
    return started.value.suggested_filename, path.read_bytes()


def test_the_mask_is_that_of_predict(demo, tab, model, photo, predicted):
    demo(dark=model)
    drop(tab, photo)
    tab.wait_for_selector("#view-0 svg path.prediction", state="attached")
    for button, name in (("mask-0", "ISIC_0_segmentation.png"), ("overlay-0", "ISIC_0_overlay.jpg")):
        assert download(tab, button) == (name, predicted()[name])
    mask = cv2.imdecode(np.frombuffer(predicted()["ISIC_0_segmentation.png"], np.uint8), cv2.IMREAD_GRAYSCALE)
    pixels = np.count_nonzero(mask)
    assert area(tab) == f"{pixels / mask.size:.2%} of the photograph, {pixels:,} pixels"


def test_switches_do_what_the_flags_of_predict_do(demo, tab, model, photo, predicted):
    demo(dark=model)
    drop(tab, photo)
    tab.wait_for_selector("#view-0 dd")
    before = area(tab)
    tab.check("#switches >> text=Only the largest part")
    tab.locator("#view-0 dd", has_text=before).wait_for(state="detached")
    assert download(tab, "mask-0")[1] == predicted("--largest")["ISIC_0_segmentation.png"]


def test_two_models_and_a_truth(demo, tab, model, photo, tmp_path):
    truth = tmp_path / "truth.png"
    truth.write_bytes(encode_mask(draw_pair(0, *SIZE)[1] > 0))
    demo(dark=model, aside=semantic_model(tmp_path / "aside.onnx", aside=3))
    drop(tab, photo)
    tab.locator("#message", has_text="Dice between A and B").wait_for()
    one, other = (Segmenter(path).predict(photo).mask for path in (model, tmp_path / "aside.onnx"))
    dice = 2 * (one & other).sum() / (one.sum() + other.sum())
    assert f"Dice between A and B {dice:.3f}" in tab.inner_text("#message")
    drop(tab, truth, "truth")
    tab.wait_for_selector("#view-1 svg path.truth", state="attached")
    true = draw_pair(0, *SIZE)[1] > 0
    for number, mask in enumerate((one, other)):
        dice = 2 * (true & mask).sum() / (true.sum() + mask.sum())
        assert f"Dice {dice:.3f}" in tab.inner_text(f"#view-{number}")


def test_opacity_follows_the_slider_and_examples_are_drawn(demo, tab, model):
    demo(dark=model)
    tab.locator("#photo ~ * img, .examples img, table img").first.click()
    tab.wait_for_selector("#view-0 svg path.truth", state="attached")
    tab.fill("#opacity input[type=number]", "75")
    tab.keyboard.press("Tab")
    tab.wait_for_function("getComputedStyle(document.querySelector('.layers .soft')).opacity === '0.75'")


def test_what_is_no_photograph_is_told_and_nothing_of_the_one_before_is_left(demo, tab, model, photo, tmp_path):
    demo(dark=model)
    drop(tab, photo)
    tab.wait_for_selector("#view-0 figure")
    text = tmp_path / "notes.png"
    text.write_text("no picture")
    tab.click(
        "#photo button[aria-label='Clear'], #photo button[title='Clear'], #photo button[aria-label='Remove Image']"
    )
    tab.wait_for_selector("#view-0 figure", state="detached")
    drop(tab, text)
    tab.locator("#message", has_text="notes.png: not a readable picture").wait_for()
    assert "/" not in tab.inner_text("#message")
    assert tab.locator("#view-0 figure").count() == 0


def test_a_truth_of_another_size_is_told(demo, tab, model, photo, tmp_path):
    truth = tmp_path / "truth.png"
    truth.write_bytes(encode_mask(np.eye(5, 7) > 0))
    demo(dark=model)
    drop(tab, photo)
    tab.wait_for_selector("#view-0 figure")
    drop(tab, truth, "truth")
    tab.locator("#message", has_text="truth.png: 7x5 pixels, expected the 96x72 of the photograph").wait_for()


def test_a_file_of_200_mb_is_refused_before_it_is_sent(demo, tab, model, tmp_path):
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(200 * 10**6)
    demo(dark=model)
    drop(tab, large)
    tab.wait_for_selector("text=/exceed the maximum/")
    assert tab.locator("#view-0 figure").count() == 0
