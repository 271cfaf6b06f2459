"""The data set folder as MMSegmentation sees it."""

from collections.abc import Mapping, Set
from pathlib import Path, PurePosixPath
from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from lesionseg.data.datasets.subset import Subset
from lesionseg.data.lists import read_lines
from lesionseg.data.names import CONVERT_HINT, MASK_SUFFIXES, find_masks, image_id, is_picture, known_id
from lesionseg.data.release.data_set_folder import no_split
from lesionseg.data.sources import list_files
from lesionseg.errors import DataError, first_names


@DATASETS.register_module()
class ISICDataset(BaseSegDataset):
    """Images with one lesion mask each.

    Images lie under `data_prefix['img_path']`, masks under `data_prefix['seg_map_path']` with the same
    name or with the release's (`<id>_segmentation.png`); sub-folders are kept. Masks on disk are gray
    0 = skin and 255 = lesion; the transform `LoadLesionMask` makes them class indices. `ann_file` may
    name a text file with one id a line (the id of an image in a sub-folder is `folder/name`).

    Args:
        mask_suffixes: what may follow an image's id in the name of its mask.
        subset: which of the images are taken, as `lesionseg.data.datasets.subset.Subset` has it; all by default. The
            others need no mask.
        kwargs: as for BaseSegDataset.

    Attributes:
        summary: which masks have no image, where all images of the folder are taken.
        taken: how many images are, where a subset is.

    Raises:
        DataError: a folder is missing or has no images, an image has no mask or two, an id of
            `ann_file` has no image, or a setting of BaseSegDataset has no meaning here.
    """

    METAINFO = dict(classes=("background", "lesion"), palette=[[0, 0, 0], [230, 159, 0]])  # noqa: RUF012

    def __init__(
        self,
        mask_suffixes: tuple[str, ...] = MASK_SUFFIXES,
        subset: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.mask_suffixes = tuple(mask_suffixes)
        self.subset = Subset(**(subset or {}))
        if unread := sorted(kwargs.keys() & {"img_suffix", "seg_map_suffix", "reduce_zero_label"}):
            raise DataError(
                f"{type(self).__name__}: {first_names(unread)}, expected none of them, as nothing here reads them: "
                "images are found by any suffix of a picture, masks by mask_suffixes. Leave them out."
            )
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """List the samples in the order of their image paths, each with its `image_id`."""
        image_root = Path(self.data_prefix["img_path"])
        images = _files_by_id(image_root, read_lines(self.ann_file) if self.ann_file else None)
        ids, self.taken = self.subset.choose(list(images), self.data_root)
        images = {id: images[id] for id in ids}
        mask_root = self.data_prefix.get("seg_map_path")
        masks = self._masks_of(images, Path(mask_root)) if mask_root else {}
        return [
            dict(
                image_id=id,
                img_path=str(image),
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
                **masks.get(id, {}),
            )
            for id, image in images.items()
        ]

    def _masks_of(self, images: Mapping[str, Path], root: Path) -> dict[str, dict]:
        """What the sample of each image says of its masks."""
        masks = find_masks(root, images, self.mask_suffixes)
        if not self.ann_file and not self.taken:
            self.summary = _without_image(root, set(masks.values()))
        return {id: dict(seg_map_path=str(path)) for id, path in masks.items()}


def _without_image(root: Path, used: Set[Path]) -> str:
    """Say which masks are left over, as where an image was lost; nothing where none is."""
    masks = [source.name for source in list_files(root) if is_picture(source.name)]
    spare = [name for name in masks if root / name not in used]
    return f"{len(spare)} of {len(masks)} masks in {root} have no image ({first_names(spare)})" if spare else ""


def _files_by_id(root: Path, listed: list[str] | None) -> dict[str, Path]:
    """Find the images below a folder by id, sorted by path; only those that are listed, where a list is given."""
    if not root.is_dir():
        raise no_split(root)
    images: dict[str, Path] = {}
    for source in sorted(list_files(root), key=lambda source: PurePosixPath(source.name)):
        if not is_picture(source.name):
            continue
        id, path = image_id(source.name), root / source.name
        if id in images:
            raise DataError(f"{path}: the same id as {images[id]}, expected one image per id. Keep one of them.")
        images[id] = path
    if not images:
        raise DataError(f"{root}: no images, expected files like <id>.jpg. {CONVERT_HINT}")
    if listed is None:
        return images
    ids = [known_id(line, images) for line in listed]
    unknown = [id for id in ids if id not in images]
    if unknown:
        raise DataError(
            f"{root}: {len(unknown)} of {len(ids)} listed ids have no image ({first_names(unknown)}), "
            "expected <id>.jpg. Correct the list or add the images."
        )
    return {id: images[id] for id in sorted(set(ids))}
