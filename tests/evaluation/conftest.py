import json

import cv2
import numpy as np
import pytest
from drawn_pairs import draw_pair
from finished_tests import FIRST

from lesionseg.evaluation.report import write_report
from lesionseg.evaluation.results import ImageResult
from lesionseg.evaluation.scores import Confusion
from lesionseg.pixels.masks import encode_mask
from lesionseg.pixels.rle import pack_mask


@pytest.fixture
def table(tmp_path) -> list[ImageResult]:
    """Twenty measured images, with images and masks on disk."""
    rows = []
    for index in range(20):
        truth, prediction = draw_pair(index)
        image, mask = tmp_path / f"ISIC_{index:07}.jpg", tmp_path / f"ISIC_{index:07}_segmentation.png"
        cv2.imwrite(str(image), np.where(truth[..., None], (40, 60, 110), (150, 170, 220)).astype(np.uint8))
        mask.write_bytes(encode_mask(truth))
        counts = Confusion.from_masks(truth, prediction)
        rows.append(ImageResult(image.stem, str(image), str(mask), counts, pack_mask(prediction)))
    return rows


@pytest.fixture
def finish(tmp_path, monkeypatch):
    """Writes a finished test as tools/test.py does, but for pictures and page, which need images."""
    for name, nothing in (("contact_sheet", b""), ("jaccard_plot", b""), ("report_page", "")):
        monkeypatch.setattr(f"lesionseg.evaluation.report.{name}", lambda *_, nothing=nothing: nothing)

    def write(name, table=FIRST, notes=(), coco=None, optimistic=False, **facts):
        default = dict(config="configs/m.py", checkpoint="m.pth", checkpoint_sha256="0" * 64, dataset_sha256="1" * 64)
        write_report(tmp_path / name, table, default | facts, notes, optimistic=optimistic)
        if coco is not None:
            path = tmp_path / name / "report.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | dict(coco=coco)))
        return tmp_path / name

    return write
