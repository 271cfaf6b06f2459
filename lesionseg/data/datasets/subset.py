"""Training on fewer images than there are: a share of them, or those of a list."""

from collections.abc import Sequence
from dataclasses import dataclass

from lesionseg.data.lists import read_lines
from lesionseg.data.names import listed_id
from lesionseg.data.release.data_set_folder import read_groups_of
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

    Raises:
        DataError: these do not fit each other, or the fraction is none.
    """

    fraction: float = 1.0
    seed: int = 0
    list_file: str | None = None

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
        else:
            return list(ids), ""
        return [id for id in ids if id in chosen], f"{len(chosen)} of {len(ids)} images ({how})"

    def _listed(self, ids: Sequence[str]) -> set[str]:
        listed = {listed_id(line): None for line in read_lines(str(self.list_file))}
        known = {*ids}
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
