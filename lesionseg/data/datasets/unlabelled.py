"""Images without masks, in any folder tree, for self-supervised pre-training."""

from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from lesionseg.data.names import image_id, is_photograph
from lesionseg.data.release.splits import shuffled_groups
from lesionseg.data.sources import list_files
from lesionseg.errors import DataError, first_names


# In MMEngine's root registry: it belongs to neither of the toolboxes.
@DATASETS.register_module()
class UnlabelledDataset(BaseDataset):
    """All images in a folder and below it, of which a share is held out.

    Which are held out depends on the ids alone, not on the machine or the order of files. Files that are called like
    masks or like what a tool has written are left out.

    Args:
        data_root: the folder.
        held_out: whether these are the images that are held out, or the others.
        held_out_share: of the images that are held out, above 0 and below 1.
        min_edge: what no edge of an image may be shorter than, in pixels, such as a ViT's patch.
        kwargs: as for BaseDataset.

    Attributes:
        summary: how many images there are, and what was left out.

    Raises:
        DataError: no such folder, or it has too few images.
    """

    def __init__(
        self, data_root: str, held_out: bool = False, held_out_share: float = 0.025, min_edge: int = 16, **kwargs: Any
    ) -> None:
        if not 0 < held_out_share < 1:
            raise DataError(
                f"UnlabelledDataset: held_out_share={held_out_share}, expected a number between 0 and 1. Correct it."
            )
        self.held_out, self.held_out_share, self.min_edge = held_out, held_out_share, min_edge
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the images in the order of their paths, each with its `image_id` and `img_path`."""
        root = Path(self.data_root)
        if not root.is_dir():
            raise DataError(f"{root}: no such folder, expected images. Give theirs: --cfg-options data_root=FOLDER.")
        files = sorted(source.name for source in list_files(root))
        names = [name for name in files if is_photograph(name)]
        if len(names) < 2:
            others = f" ({len(files)} other files: {first_names(files)})" if files and not names else ""
            raise DataError(
                f"{root}: {len(names)} images in it or below{others}, expected many, such as <id>.jpg. Give the folder "
                "of the images: --cfg-options data_root=FOLDER."
            )
        samples = [dict(image_id=image_id(name), img_path=str(root / name)) for name in names]
        order = [id for (id,) in shuffled_groups([sample["image_id"] for sample in samples], {})]
        apart = max(1, min(len(order) - 1, round(self.held_out_share * len(order))))
        chosen = set(order[:apart] if self.held_out else order[apart:])
        left_out = f", left out {len(files) - len(names)} other files" if len(names) < len(files) else ""
        self.summary = f"{len(chosen)} of {len(names)} images in {root}{left_out}"
        return [sample for sample in samples if sample["image_id"] in chosen]
