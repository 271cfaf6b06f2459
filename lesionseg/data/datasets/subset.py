"""Training on fewer images than there are: a share of them, those of a list, or those outside a fold."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lesionseg.data.lists import read_lines
from lesionseg.data.names import known_id
from lesionseg.data.release.data_set_folder import read_groups_of
from lesionseg.data.release.folds import read_folds
from lesionseg.data.release.splits import shuffled_groups
from lesionseg.errors import DataError, first_names


@dataclass(frozen=True)
class Subset:
    """Which images of a data set folder are taken; all of them by default.

    A share is drawn by the ids and `seed` alone, the same on every machine and in every process, whatever the seed of
    the training. Images of one group are taken together, as in a random split. The images of a smaller
    share are among those of a larger one.

    Attributes:
        fraction: share of the images, above 0 and at most 1. One group is taken at least.
        seed: another one draws other images.
        list_file: a text file with an id a line, in place of a share.
        fold: a table of folds and the number of one, `folds.csv:2`, in place of a share: the images outside of it.
        held_out: take the images in the fold, and not those outside.

    Raises:
        DataError: these do not fit each other, or the fraction or the fold is none.
    """

    fraction: float = 1.0
    seed: int = 0
    list_file: str | None = None
    fold: str | None = None
    held_out: bool = False

    def __post_init__(self) -> None:
        # True is a number, too.
        if isinstance(self.fraction, bool) or not isinstance(self.fraction, int | float) or not 0 < self.fraction <= 1:
            raise DataError(
                f"train_fraction={self.fraction}: not usable, expected a share of the training images, above 0 and at "
                "most 1, such as 0.1. Correct it."
            )
        if self.list_file is not None and self.fraction < 1:
            raise DataError(
                f"train_list={self.list_file}: given beside train_fraction={self.fraction}, expected one of the two. "
                "Leave one out."
            )
        if self.fold is not None and (self.list_file is not None or self.fraction < 1):
            raise DataError(
                f"fold={self.fold}: given beside train_list or train_fraction, expected one of these. Leave one out."
            )
        if self.fold is not None and not re.fullmatch(r".+:[0-9]+", str(self.fold)):
            raise DataError(
                f"fold={self.fold}: not usable, expected the table and the number of a fold, such as folds.csv:2. "
                "Correct it."
            )
        if self.seed and self.fraction == 1:
            raise DataError(
                f"train_fraction_seed={self.seed}: nothing is drawn with it, expected a train_fraction below 1. Add "
                "one, or leave the seed out."
            )

    def choose(self, ids: Sequence[str], data_root: str | None) -> tuple[list[str], str]:
        """Choose images.

        Args:
            ids: of all of them.
            data_root: the data set folder, which tells the groups, see
                `lesionseg.data.release.data_set_folder.read_groups_of`.

        Returns:
            the chosen ids, in the order of `ids`; and how many they are, in words, or nothing where all are taken.

        Raises:
            DataError: the list names other images, or cannot be read.
            OSError: a file cannot be read.
        """
        if self.list_file is not None:
            chosen, how = self._listed(ids), f"train_list={self.list_file}"
        elif self.fraction < 1:
            groups = read_groups_of(data_root) if data_root else {}
            groups = {id: groups[id] for id in ids if id in groups}
            chosen = _draw(shuffled_groups(ids, groups, self.seed), self.fraction * len(ids))
            how = f"train_fraction={self.fraction}"
            how += f", train_fraction_seed={self.seed}" if self.seed else ""
            how += ", groups kept whole" if groups else ""
        elif self.fold is not None:
            chosen, how = self._of_fold(ids), f"fold={self.fold}, {'those in it' if self.held_out else 'the others'}"
        else:
            return list(ids), ""
        return [id for id in ids if id in chosen], f"{len(chosen)} of {len(ids)} images ({how})"

    def _of_fold(self, ids: Sequence[str]) -> set[str]:
        path, _, number = str(self.fold).rpartition(":")
        folds = read_folds(path, {*ids})
        if differing := sorted({*ids} ^ {*folds}):
            raise DataError(
                f"{path}: {len(differing)} ids are in it or among the {len(ids)} training images, but not in both "
                f"({first_names(differing)}), expected the same. Make the folds anew, or set data_root (--cfg-options "
                "data_root=DIR)."
            )
        if int(number) not in folds.values():
            raise DataError(
                f"fold={self.fold}: no image is in that fold, expected a number from 0 to {max(folds.values())}. "
                "Correct it."
            )
        return {id for id in ids if (folds[id] == int(number)) == self.held_out}

    def _listed(self, ids: Sequence[str]) -> set[str]:
        known = {*ids}
        listed = {known_id(line, known): None for line in read_lines(str(self.list_file))}
        if unknown := [id for id in listed if id not in known]:
            raise DataError(
                f"{self.list_file}: {len(unknown)} of {len(listed)} ids are of no training image "
                f"({first_names(unknown)}), expected ids such as {first_names(ids, 2)}. Correct the list, or set "
                "data_root (--cfg-options data_root=DIR)."
            )
        return {*listed}


def _draw(groups: Sequence[Sequence[str]], size: float) -> set[str]:
    """Take the first groups, as many as give the number of images that is nearest to `size`; one at least."""
    chosen: set[str] = set()
    for group in groups:
        if chosen and abs(len(chosen) + len(group) - size) >= abs(len(chosen) - size):
            break
        chosen.update(group)
    return chosen
