"""A COCO file as pycocotools sees it, checked and completed before it does."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from mmdet.datasets.api_wrappers import COCO

from lesionseg.data.coco.derive import derive, make_plain
from lesionseg.data.coco.lists import check_lists, read_lists


class CheckedCOCO(COCO):
    """pycocotools' index of lists that were checked and derived.

    Args:
        coco: the lists of a COCO file. They are not copied.
    """

    def __init__(self, coco: dict[str, list[dict]]) -> None:
        super().__init__()
        self.dataset = coco
        # pycocotools prints what it does.
        with redirect_stdout(StringIO()):
            self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs


def read_checked(path: Path) -> dict[str, list[dict]]:
    """Read a COCO file and check its lists; see `lesionseg.data.coco.lists`."""
    coco = read_lists(path)
    make_plain(coco)
    check_lists(path, coco)
    return coco


def read_index(path: Path) -> CheckedCOCO:
    """Read a COCO file as the data sets do, for scores.

    Raises:
        DataError: as from `lesionseg.data.coco.lists` and `lesionseg.data.coco.derive.derive`.
    """
    coco = read_checked(path)
    derive(path, coco)
    return CheckedCOCO(coco)
