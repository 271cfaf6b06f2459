import cv2
import numpy as np
import pytest
from drawn_pairs import draw_pair

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
