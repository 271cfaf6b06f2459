"""Images and the masks that are drawn on them: working copies for a page, and the way back to the original size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import cv2
import numpy as np

from lesionseg.data.names import existing_masks
from lesionseg.errors import DataError
from lesionseg.files import file_sha256, write_bytes
from lesionseg.inference.finder import Image
from lesionseg.inference.inputs import Input
from lesionseg.inference.segmenter import Segmenter
from lesionseg.pages import LESION
from lesionseg.pages.photographs import read_photograph, working_size
from lesionseg.pages.refinement import refine
from lesionseg.pixels.masks import encode_mask, lesion_pixels, read_mask
from lesionseg.pixels.pictures import picture_size, quiet_opencv
from lesionseg.pixels.shrink import enlarge_mask, shrink_image, shrink_mask
from lesionseg.system_errors import describe_system_error
from lesionseg.workers import map_files


@dataclass(frozen=True)
class Opened:
    """An image as a page shows it.

    Attributes:
        picture: (h, w, 3) uint8 BGR, the working copy.
        size: (height, width) of the original in pixels.
        masks: by finding, (h, w) bool, the mask on disk.
        stamps: by finding, what tells that the mask on disk is still that one; empty where there is none.
    """

    picture: np.ndarray
    size: tuple[int, int]
    masks: Mapping[str, np.ndarray]
    stamps: Mapping[str, str]


@dataclass(frozen=True)
class Drawn:
    """A finding's mask as it was drawn.

    Attributes:
        mask: (h, w) bool, of the working copy.
        stamp: that of the mask that it began from, see `Opened`.
        replace: whether that one may be replaced.
    """

    mask: np.ndarray
    stamp: str
    replace: bool


class Annotations:
    """The images that are annotated, and the folder of their masks.

    Args:
        images: what to draw on.
        folder: of the masks, `<id>.png`, or `<finding>/<id>.png` where findings are named; masks there that are called
            `<id>_segmentation.png` keep that name.
        findings: names of what is drawn, a layer each.
        segmenter: to begin from, if any.

    Raises:
        DataError: an image has two masks.
    """

    def __init__(
        self, images: Sequence[Input], folder: Path, findings: Sequence[str] = (), segmenter: Segmenter | None = None
    ) -> None:
        self.images = images
        self.folder = folder
        self.segmenter = segmenter
        roots = {finding: folder / finding for finding in findings} or {LESION: folder}
        ids = [image.id for image in images]
        self._masks = {
            finding: {id: root / f"{id}.png" for id in ids} | existing_masks(root, ids)
            for finding, root in roots.items()
        }
        self._writing = Lock()
        self._predicting = Lock()

    @property
    def findings(self) -> list[str]:
        return list(self._masks)

    def mask_path(self, number: int, finding: str) -> Path:
        """Where the mask of an image lies, or will lie."""
        return self._masks[finding][self.images[number].id]

    def is_done(self, number: int, finding: str) -> bool:
        """Whether an image has a mask of a finding."""
        return self.mask_path(number, finding).is_file()

    def check(self) -> None:
        """Look at all images and masks that are there.

        Raises:
            DataError: all that cannot be read, and all masks of another size than their image.
        """
        with quiet_opencv():
            faults = [
                fault
                for found in map_files(self._faults, range(len(self.images)), "checking images")
                for fault in found
            ]
        if faults:
            raise DataError(*faults)

    def _faults(self, number: int) -> list[str]:
        try:
            size = picture_size(self.images[number].path)
        except (DataError, OSError) as error:
            return [_described(error)]
        faults = []
        for finding in self.findings:
            try:
                self._read_mask(number, finding, size)
            except (DataError, OSError) as error:
                faults.append(_described(error))
        return faults

    def open(self, number: int) -> Opened:
        """Read an image and its masks.

        Raises:
            DataError, OSError: one of them cannot be read, or is of another size.
        """
        image = read_photograph(self.images[number].path)
        size = image.shape[:2]
        small = working_size(*size)
        masks, stamps = {}, {}
        for finding in self.findings:
            path = self.mask_path(number, finding)
            stamps[finding] = file_sha256(path) if path.is_file() else ""
            mask = self._read_mask(number, finding, size)
            if mask is not None:
                masks[finding] = _shrunk(mask, small)
        return Opened(shrink_image(image, small), size, masks, stamps)

    def predict(self, number: int, finding: str) -> dict[str, np.ndarray]:
        """Find in an image by the model what is drawn here.

        Args:
            number: of the image.
            finding: what the mask of a model that does not tell findings apart is taken for.

        Returns:
            By finding, (h, w) bool, of the working copy.

        Raises:
            DataError: there is no model, it fails, or it finds nothing by these names.
        """
        if self.segmenter is None:
            raise DataError("model: none was given, expected one to begin from. Start the page with --model MODEL.")
        image = read_photograph(self.images[number].path)
        with self._predicting:
            found = self.segmenter.predict_batch([Image(image, self.images[number].id)])[0]
        if found.findings and self.findings != [LESION]:
            masks = {name: each.mask for name, each in found.findings.items() if name in self.findings}
            if not masks:
                raise DataError(
                    f"model: finds {', '.join(found.findings)}, expected {' or '.join(self.findings)}. Name what it "
                    "finds in --findings."
                )
        else:
            masks = {finding: found.mask}
        small = working_size(*image.shape[:2])
        return {name: _shrunk(mask, small) for name, mask in masks.items()}

    def refine(self, number: int, inside: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Refine a mask in an outline, both (h, w) bool of the working copy; see `refine`."""
        image = read_photograph(self.images[number].path)
        return refine(shrink_image(image, working_size(*image.shape[:2])), inside, mask)

    def save(self, number: int, drawn: Mapping[str, Drawn]) -> dict[str, str]:
        """Write masks in the original size of their image, 0 and 255, each file whole or not at all.

        Pixels of a mask on disk are kept to the last one where nothing was drawn or erased over them.

        Returns:
            The new stamps by finding, see `Opened`.

        Raises:
            DataError: nothing was written: a mask is there that may not be replaced, or is not the one that was shown.
            OSError: the rest could not be written.
        """
        size = picture_size(self.images[number].path)
        with self._writing:
            masks = {}
            for finding, each in drawn.items():
                before = self._read_mask(number, finding, size)
                self._check_unchanged(number, finding, each)
                masks[finding] = to_original(each.mask, size, before)
            for finding, mask in masks.items():
                write_bytes(self.mask_path(number, finding), encode_mask(mask))
            return {finding: file_sha256(self.mask_path(number, finding)) for finding in drawn}

    def _check_unchanged(self, number: int, finding: str, drawn: Drawn) -> None:
        path = self.mask_path(number, finding)
        stamp = file_sha256(path) if path.is_file() else ""
        if stamp != drawn.stamp:
            raise DataError(
                f"{path}: was written by someone else since it was shown, expected the mask that was drawn on. "
                "Open the image again, and draw on what is there now."
            )
        if stamp and not drawn.replace:
            raise DataError(f"{path}: a mask is there already, expected none. Say that it may be replaced.")

    def _read_mask(self, number: int, finding: str, size: tuple[int, int]) -> np.ndarray | None:
        """Read a mask on disk, (H, W) bool; None where there is none. `size` is its image's (height, width)."""
        path = self.mask_path(number, finding)
        if not path.exists():
            return None
        mask = lesion_pixels(read_mask(path))
        if mask.shape != size:
            raise DataError(
                f"{path}: {mask.shape[1]}x{mask.shape[0]} pixels, expected the {size[1]}x{size[0]} of its image. Put "
                "the matching mask there, or move it away."
            )
        return mask


def to_original(drawn: np.ndarray, size: tuple[int, int], before: np.ndarray | None = None) -> np.ndarray:
    """Bring a mask that was drawn on a working copy to the size of the original.

    Args:
        drawn: (h, w) bool.
        size: (height, width) of the original.
        before: (H, W) bool, the mask that was drawn on; where the working copy of it was left as it was, its own pixels
            stay.

    Returns:
        (H, W) bool.
    """
    if drawn.shape == size:
        return drawn
    height, width = size
    enlarged = enlarge_mask(drawn, (width, height))
    if before is None:
        return enlarged
    changed = drawn != _shrunk(before, drawn.shape[::-1])
    changed = cv2.resize(changed.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT) > 0
    return np.where(changed, enlarged, before)


def _shrunk(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Shrink (H, W) bool to `size`, (width, height)."""
    return shrink_mask(mask.view(np.uint8), (size[0], size[1])) > 0


def _described(error: DataError | OSError) -> str:
    return describe_system_error(error) if isinstance(error, OSError) else str(error)
