"""A data set folder with several findings, of which a pixel may belong to more than one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmseg.registry import DATASETS

from lesionseg.data.datasets.semantic import ISICDataset
from lesionseg.data.names import find_finding_masks, find_masks, is_folder_name
from lesionseg.errors import DataError, first_names
from lesionseg.pixels.findings import MOST_FINDINGS, Label
from lesionseg.pixels.outlines import FINDING_COLOURS


@DATASETS.register_module()
class MultiLabelDataset(ISICDataset):
    """Images with a mask for each finding, or with one labelled file.

    Masks lie under `data_prefix['seg_map_path']` as `<finding>/<id>.png`, gray 0 = not there and 255 = there. A finding
    that an image has no file of was not looked for in it: it counts neither in training nor in a score. Where there are
    no such folders, there is one labelled file for each image, `<id>.png`, gray or palette: 0 is none of the findings,
    1 the first and so on; such a file tells of all findings.

    In place of `seg_map_path`, a sample has `findings` (the names of all), `mask_paths` (finding -> path, of those
    looked for) and, of labelled files, `labels` (finding -> its `lesionseg.pixels.findings.Label`).

    Args:
        findings: their names, 1 to 7, in the order of the channels.
        kwargs: as for ISICDataset.

    Raises:
        DataError: as ISICDataset; or there are no or too many findings, or one has no mask at all.
    """

    METAINFO: dict = {}  # noqa: RUF012

    def __init__(self, findings: Sequence[str], **kwargs: Any) -> None:
        if not 1 <= len(findings) <= MOST_FINDINGS or len({*filter(is_folder_name, findings)}) < len(findings):
            raise DataError(
                f"MultiLabelDataset: findings={list(findings)}, expected 1 to {MOST_FINDINGS} different names of "
                "folders. Name those that are to be told apart."
            )
        names = tuple(findings)
        metainfo = dict(classes=names, findings=names, palette=list(map(list, FINDING_COLOURS[: len(names)])))
        super().__init__(metainfo=metainfo, **kwargs)

    def _masks_of(self, images: Mapping[str, Path], root: Path) -> dict[str, dict]:
        findings = self.metainfo["findings"]
        if not root.is_dir() or any((root / finding).is_dir() for finding in findings):
            masks = find_finding_masks(root, images, findings, self.mask_suffixes)
            if without := [name for name in findings if not any(name in of_image for of_image in masks.values())]:
                more = "train on more of the images, " if self.taken else ""
                raise DataError(
                    f"{root}: none of the {len(images)} images has a mask of {first_names(without)}, expected "
                    f"{without[0]}/<id>.png of some. Add the masks, {more}or take the finding out of the config's "
                    "findings."
                )
            return {
                id: dict(findings=findings, mask_paths={finding: str(path) for finding, path in of_image.items()})
                for id, of_image in masks.items()
            }
        # Those of images in sub-folders apart.
        of_ids = {id.partition("/")[0] for id in images if "/" in id}
        if folders := sorted(path.name for path in root.iterdir() if path.is_dir() and path.name not in of_ids):
            raise DataError(
                f"{root}: the folders {first_names(folders)}, expected {first_names(findings)}, one a finding. Rename "
                "them, or name the findings of the config like them."
            )
        labels = {finding: Label(number, len(findings)) for number, finding in enumerate(findings, 1)}
        return {
            id: dict(findings=findings, mask_paths=dict.fromkeys(findings, str(path)), labels=labels)
            for id, path in find_masks(root, images, self.mask_suffixes).items()
        }
