"""The data set folder with its COCO files as MMDetection sees it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from lesionseg.data.coco.derive import derive, find_names
from lesionseg.data.coco.lists import check_usable
from lesionseg.data.coco.made import remake_command, style_of
from lesionseg.data.datasets.coco_index import CheckedCOCO, read_checked
from lesionseg.data.datasets.subset import Subset
from lesionseg.data.names import MASK_SUFFIXES, find_masks, image_id, is_picture
from lesionseg.data.release.data_set_folder import no_split
from lesionseg.data.sources import list_files
from lesionseg.errors import DataError, first_names
from lesionseg.pixels.pictures import picture_size
from lesionseg.workers import map_files


@DATASETS.register_module()
class LesionCocoDataset(CocoDataset):
    """Images with instances from a COCO file, and with the lesion mask that official scores are measured against.

    `ann_file` is what `tools/masks2coco.py` writes. Images lie under `data_prefix['img']`. Where
    `data_prefix['seg']` is given, each sample's `seg_map_path` is its mask there, with the image's name or the
    release's (`<id>_segmentation.png`).

    Boxes, areas and ids of annotations are made anew where they are not what they have to be; `summary` tells it.
    Upstream drops silently what it cannot use; here it is an error. The one exception are training images
    without an instance, which `filter_cfg` may leave out; `summary` counts them.

    Args:
        mask_suffixes: what may follow an image's id in the name of its mask.
        subset: which of the images are taken, as `lesionseg.data.datasets.subset.Subset` has it; all by default.
            `filter_cfg` leaves out some of these.
        kwargs: as for CocoDataset.

    Attributes:
        summary: what the images that are taken hold.
        info: what the COCO file says of itself.
        taken: how many images are, where a subset is.

    Raises:
        DataError: no COCO file or a broken one, other categories than `metainfo['classes']`, an image is missing,
            not listed or of another size, an annotation would be dropped or its segmentation does not fit its
            image, or an image has no mask or two.
    """

    METAINFO = dict(classes=("lesion",), palette=[(230, 159, 0)])  # noqa: RUF012

    def __init__(
        self,
        mask_suffixes: tuple[str, ...] = MASK_SUFFIXES,
        subset: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.mask_suffixes = tuple(mask_suffixes)
        self.subset = Subset(**(subset or {}))
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """List the samples in the order of the COCO file, each with its `image_id`."""
        path, image_root = Path(self.ann_file), Path(self.data_prefix["img"])
        if not image_root.is_dir():
            raise no_split(image_root)
        if not path.is_file():
            raise DataError(
                f"{path}: no such file, expected the instances of this split. Run tools/masks2coco.py "
                "DATASET, or set data_root (--cfg-options data_root=DIR)."
            )
        coco = read_checked(path)
        info: Any = coco.get("info")
        self.info: dict[str, Any] = info if isinstance(info, dict) else {}
        self._check_categories([category["name"] for category in coco["categories"]])
        check_usable(path, coco, self.metainfo["classes"])
        self._check_folder(coco, image_root)
        self._check_sizes(coco["images"], image_root)
        notes = derive(path, coco)
        self.COCOAPI = lambda _: CheckedCOCO(coco)
        samples = super().load_data_list()
        del self.COCOAPI
        usable = sum("mask" in instance for sample in samples for instance in sample["instances"])
        assert usable == len(coco["annotations"]), (path, usable)
        for sample in samples:
            sample["image_id"] = image_id(Path(sample["img_path"]).relative_to(image_root))
        ids, self.taken = self.subset.choose([sample["image_id"] for sample in samples], self.data_root)
        chosen = {*ids}
        samples = [sample for sample in samples if sample["image_id"] in chosen]
        if self.data_prefix.get("seg"):
            self._find_masks(samples)
        self.summary = "; ".join([_summary(samples), *notes])
        return samples

    def _check_categories(self, names: list[str]) -> None:
        if absent := [name for name in self.metainfo["classes"] if name not in names]:
            raise DataError(
                f"{self.ann_file}: its categories are {', '.join(names)}, expected {', '.join(absent)}. Set metainfo "
                f"in the config. {self._mend(absent[0])}"
            )

    def _mend(self, category: str) -> str:
        """What to do about a file that does not fit; only one that was made of the masks is made again of them."""
        if style := style_of(self.info):
            return f"Or, as the file was made of masks, run {remake_command(self.data_root, style, category)}."
        return "Or correct the file; tools/masks2coco.py would replace its annotations by those of the masks."

    def _check_folder(self, coco: dict[str, list[dict]], root: Path) -> None:
        """Compare the list of images with the folder."""
        files = list_files(root)
        find_names(coco, [source.name for source in files])
        listed = {image["file_name"] for image in coco["images"]}
        there = {source.name for source in files if is_picture(source.name)}
        missing, others = sorted(listed - {source.name for source in files}), sorted(there - listed)
        for names, fact in (
            (missing, f"of {len(listed)} images are not in {root}"),
            (others, f"of {len(there)} pictures in {root} are not in it"),
        ):
            if names:
                raise DataError(
                    f"{self.ann_file}: {len(names)} {fact} ({first_names(names)}), expected the same as when the file "
                    f"was made. Restore the folder. {self._mend(self.metainfo['classes'][0])}"
                )

    def _check_sizes(self, images: list[dict], root: Path) -> None:
        """Compare the size of every image with its file."""
        sizes = list(map_files(picture_size, [root / image["file_name"] for image in images]))
        wrong = [
            f"{image['file_name']}: {width}x{height}, listed {image['width']}x{image['height']}"
            for image, (height, width) in zip(images, sizes, strict=True)
            if (height, width) != (image["height"], image["width"])
        ]
        if wrong:
            raise DataError(
                f"{self.ann_file}: {len(wrong)} of {len(images)} images have other sizes than listed "
                f"({first_names(wrong)}), expected those of the files. Restore the images. "
                f"{self._mend(self.metainfo['classes'][0])}"
            )

    def _find_masks(self, samples: list[dict]) -> None:
        ids = [sample["image_id"] for sample in samples]
        masks = find_masks(Path(self.data_prefix["seg"]), ids, self.mask_suffixes)
        for sample, id in zip(samples, ids, strict=True):
            sample["seg_map_path"] = str(masks[id])


def _summary(samples: list[dict]) -> str:
    instances = sum(len(sample["instances"]) for sample in samples)
    empty = sum(not sample["instances"] for sample in samples)
    return f"{len(samples)} images with {instances} instances, {empty} images without any"
