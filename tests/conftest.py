"""Data that several test modules use."""

import functools
import gc
import os
import shutil
import signal
from pathlib import Path

import cv2
import network
import pytest
from helpers import ROOT, draw_pair

network.watch()  # Before anything of other projects is imported.

# Before a test imports mmcv.ops, directly or through MMSegmentation.
import lesionseg  # noqa: E402, F401

# Before torch is imported: where several processes test at once, their threads would wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config):
    # Numbers to the last bit, and what is told of the machine, are those of a CPU.
    if config.getoption("markexpr") != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # A shell lets what it starts in the background ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    # MMEngine collects garbage for every data set that it builds, which takes long among all that was imported by now.
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def metafiles():
    """Lets MMEngine read OpenMMLab's hundred lists of models once, and not for every config with a base among them."""
    from mmengine.config import utils

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(utils, "_get_cfg_metainfo", functools.cache(utils._get_cfg_metainfo))
        yield


SHARED_DATA = ROOT.parent / "shared" / "data"
SPLITS = {"training": 6, "validation": 3, "test": 5}


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Keeps what tests read out of the user's cache."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def no_connection():
    """Nothing that a test, or an import before it, does reaches for another machine."""
    yield
    tried = network.attempts[:]
    network.attempts.clear()
    assert tried == []


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data for development; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data for development is not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder of three drawn images, without masks."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"ISIC_{number}.png"), draw_pair(number)[0])
    return folder


@pytest.fixture(scope="session")
def isic_folder(tmp_path_factory) -> Path:
    """A small data set folder as the converter writes it; do not change it."""
    root = tmp_path_factory.mktemp("data") / "ISIC"
    number = 0
    for split, count in SPLITS.items():
        for kind in ("images", "annotations"):
            (root / kind / split).mkdir(parents=True)
        for _ in range(count):
            image, mask = draw_pair(number)
            cv2.imwrite(str(root / "images" / split / f"ISIC_{number:07}.jpg"), image)
            cv2.imwrite(str(root / "annotations" / split / f"ISIC_{number:07}.png"), mask)
            number += 1
    return root


@pytest.fixture(scope="session")
def coco_folder(isic_folder, tmp_path_factory) -> Path:
    """The same with the COCO files of tools/masks2coco.py; do not change it."""
    from lesionseg.data.coco.convert import masks_to_coco

    root = tmp_path_factory.mktemp("data") / "COCO"
    shutil.copytree(isic_folder, root)
    masks_to_coco(root)
    return root


@pytest.fixture(scope="module")
def chromium():
    """The browser; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("the browser chromium is not installed (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium):
    """A tab of 1,400 x 900 pixels; fails where any request has left this machine, or a script has failed."""
    context = chromium.new_context(viewport=dict(width=1400, height=900), accept_downloads=True)
    tab = context.new_page()
    asked, failed = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: failed.append(str(error)))
    yield tab
    context.close()
    own = ("http://127.0.0.1:", "data:", "blob:http://127.0.0.1:", "file://")
    assert [url for url in asked if not url.startswith(own)] == []
    assert failed == []
