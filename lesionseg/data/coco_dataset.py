"""The data set folder with its COCO files as MMDetection sees it."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from lesionseg.data.coco_file import check_lists, read_lists
from lesionseg.data.dataset import MASK_SUFFIXES
from lesionseg.errors import DataError, first_names


@DATASETS.register_module()
class LesionCocoDataset(CocoDataset):
    """Images with instances from a COCO file, and with the lesion mask that official scores are measured against.

    `ann_file` is what `tools/masks2coco.py` writes. Images lie under `data_prefix['img']`. Where
    `data_prefix['seg']` is given, each sample's `seg_map_path` is its mask there, with the image's name or the
    release's (`<id>_segmentation.png`).

    Upstream drops silently what it cannot use; here it is an error. The one exception are training images
    without an instance, which `filter_cfg` may leave out; `summary` counts them.

    Args:
        mask_suffixes: what may follow an image's id in the name of its mask, in order of preference.
        kwargs: as for CocoDataset.

    Raises:
        DataError: no COCO file or a broken one, other categories than `metainfo['classes']`, an image or a mask
            is missing, or an annotation would be dropped.
    """

    METAINFO = dict(classes=("lesion",), palette=[(230, 159, 0)])  # noqa: RUF012

    def __init__(self, mask_suffixes: tuple[str, ...] = MASK_SUFFIXES, **kwargs) -> None:
        self.mask_suffixes = tuple(mask_suffixes)
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """List the samples in the order of the COCO file."""
        if not Path(self.ann_file).is_file():
            raise DataError(
                f"{self.ann_file}: no such file, expected the instances of this split. Run tools/masks2coco.py "
                "DATASET, or set data_root (--cfg-options data_root=DIR)."
            )
        path = Path(self.ann_file)
        coco = read_lists(path)
        check_lists(path, coco)
        self._check_categories([category["name"] for category in coco["categories"]])
        # pycocotools prints what it does.
        with redirect_stdout(StringIO()):
            samples = super().load_data_list()
        self._check_annotations(samples, len(coco["annotations"]))
        missing = [sample["img_path"] for sample in samples if not Path(sample["img_path"]).is_file()]
        if missing:
            raise DataError(
                f"{self.ann_file}: {len(missing)} of {len(samples)} images are not there ({first_names(missing)}), "
                "expected them where the file was made. Run tools/masks2coco.py DATASET --overwrite."
            )
        if self.data_prefix.get("seg"):
            self._find_masks(samples)
        self.summary = _summary(samples)
        return samples

    def _check_categories(self, names: list[str]) -> None:
        if absent := [name for name in self.metainfo["classes"] if name not in names]:
            raise DataError(
                f"{self.ann_file}: its categories are {', '.join(names)}, expected {', '.join(absent)}. Run "
                f"tools/masks2coco.py DATASET --overwrite --category {absent[0]}, or set metainfo in the config."
            )

    def _check_annotations(self, samples: list[dict], annotations: int) -> None:
        alive = [instance for sample in samples for instance in sample["instances"]]
        usable = sum(not instance["ignore_flag"] and "mask" in instance for instance in alive)
        if usable < annotations:
            raise DataError(
                f"{self.ann_file}: {annotations - usable} of {annotations} annotations cannot be used (crowds, boxes "
                "thinner than a pixel or outside the image, other categories, or no mask), expected all to be. Run "
                "tools/masks2coco.py DATASET --overwrite, with --min-area to leave specks out."
            )

    def _find_masks(self, samples: list[dict]) -> None:
        root, missing = Path(self.data_prefix["seg"]), []
        for sample in samples:
            image = Path(sample["img_path"]).relative_to(self.data_prefix["img"])
            names = [root / f"{image.with_suffix('')}{suffix}" for suffix in self.mask_suffixes]
            found = next((name for name in names if name.is_file()), None)
            if found is None:
                missing.append(str(image))
            else:
                sample["seg_map_path"] = str(found)
        if missing:
            raise DataError(
                f"{root}: {len(missing)} of {len(samples)} images have no mask ({first_names(missing)}), "
                f"expected <id>{' or <id>'.join(self.mask_suffixes)}. Add the masks or take the images away."
            )


def _summary(samples: list[dict]) -> str:
    instances = sum(len(sample["instances"]) for sample in samples)
    empty = sum(not sample["instances"] for sample in samples)
    return f"{len(samples)} images with {instances} instances, {empty} images without any"
