"""Which split the name of a folder tells."""

import re
from functools import cache
from pathlib import PurePosixPath

from lesionseg.data.release.listing import SPLITS

# What folders of images are called.
IMAGES = "images?|imgs?|photos?|inputs?"
# A folder with such a word in its name tells the split of what is in it, also where it says what that is in the same
# word: `train`, `testset`.
_KIND = f"(?:{IMAGES}|masks?|labels?|data|sets?)*"
_WORD = re.compile(f"{_KIND}(?:(train(?:ing)?)|(val(?:id(?:ation)?)?)|(test(?:ing)?)){_KIND}")


# Thousands of files lie in a few folders.
@cache
def told_split(folder: str) -> str:
    """The split that the words of a folder's name tell; "" where none does, or several differ.

    Example:
        >>> told_split("TrainImages"), told_split("ISIC-2017_Test_v2_Data"), told_split("latest")
        ('training', 'test', '')
    """
    words = [*re.split("[^a-z]+", folder.lower()), *map(str.lower, re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", folder))]
    told = {SPLITS[match.lastindex - 1] for word in words if (match := _WORD.fullmatch(word)) and match.lastindex}
    return told.pop() if len(told) == 1 else ""


def split_of(name: str) -> tuple[str, str]:
    """The split that the innermost telling folder of a file's path tells, and the path without that folder.

    Example:
        >>> split_of("clinic/train/1.jpg"), split_of("clinic/1.jpg")
        (('training', 'clinic/1.jpg'), ('', 'clinic/1.jpg'))
    """
    parts = PurePosixPath(name).parts
    for depth in range(len(parts) - 2, -1, -1):
        if split := told_split(parts[depth]):
            return split, "/".join([*parts[:depth], *parts[depth + 1 :]])
    return "", name
