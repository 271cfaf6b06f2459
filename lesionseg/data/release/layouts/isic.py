"""What an ISIC release looks like: years, splits, the names of archives and files, and pairing.

Lesion segmentation was Part 1 or Task 1 of the challenges of 2016, 2017 and 2018
(https://challenge.isic-archive.com/data). Every split comes as two archives, one with images,
`ISIC_0000000.jpg`, and one with masks, `ISIC_0000000_segmentation.png`; 2016 writes `_Segmentation`.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lesionseg.data.names import MASK_ENDING, image_id, is_picture, without_ending
from lesionseg.data.release.listing import SPLITS, Found, Listing, Named
from lesionseg.data.sources import Archive, Source, list_files, walk
from lesionseg.errors import DataError, first_names

# Year -> split -> the archives of images and of masks; the folders inside are called the same.
RELEASES = {
    2016: {
        "training": ("ISBI2016_ISIC_Part1_Training_Data", "ISBI2016_ISIC_Part1_Training_GroundTruth"),
        "test": ("ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"),
    },
    2017: {
        "training": ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
        "validation": ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
        "test": ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
    },
    2018: {
        "training": ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
        "validation": ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
        "test": ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
    },
}
# The archives of 2017 hold a superpixel map beside every image, and a table of ages and sexes.
_LEFT_OUT = ("_superpixels.png", "_metadata.csv")

# Name in lower case -> every folder and archive of that name.
Parts = Mapping[str, Sequence[Path]]


def find_release(raw: Path, year: int | None = None, splits: Sequence[str] | None = None) -> Listing:
    """List the pairs of the release that lies in a folder as archives, extracted folders, or both.

    Args:
        raw: the folder; the release may lie deeper in it.
        year: 2016, 2017 or 2018; only needed where there are several.
        splits: the splits to take; by default those that are there.

    Raises:
        DataError: there is no release, or there are several.
        OSError: a folder or an archive cannot be read.

    Example:
        >>> listing = find_release(Path("data/raw"), year=2018, splits=["training"])
        >>> listing.pairs[0].id, len(listing.pairs), listing.faults
        ('ISIC_0000000', 2, [])
    """
    if not raw.is_dir():
        raise DataError(f"{raw}: no such folder, expected one that holds a release. Check the path.")
    parts = _find_parts(raw)
    year = _only_year(raw, parts, year)
    release = RELEASES[year]
    present = [split for split, names in release.items() if any(name.lower() in parts for name in names)]
    listing = Listing([raw])
    for split in SPLITS:
        if split not in (splits or present):
            continue
        if split in release:
            others = [other for other in present if other != split]
            _add_split(listing, split, release[split], parts, others)
        else:
            listing.faults.append(
                f"{raw}: ISIC {year} was released without {split} split, expected one of {', '.join(release)}. "
                "Leave it out of --splits."
            )
    listing.check_one_split_an_id("Extract the archives again, or leave a split out with --splits.")
    return listing


def _find_parts(raw: Path) -> Parts:
    known = {name.lower() for release in RELEASES.values() for names in release.values() for name in names}
    parts = defaultdict(list)
    for here, folders, names in walk(raw):
        for name in folders + [name for name in names if name.lower().endswith(".zip")]:
            part = name.lower().removesuffix(".zip")
            if part in known:
                parts[part].append(here / name)
        # Extracting with a file manager puts a folder into another of its name: that is one part, not two.
        folders[:] = [name for name in folders if name.lower() not in known]
    return parts


def _only_year(raw: Path, parts: Parts, wanted: int | None) -> int:
    years = [
        year
        for year, release in RELEASES.items()
        if any(name.lower() in parts for names in release.values() for name in names)
    ]
    if wanted in years:
        return wanted
    if wanted is None and len(years) == 1:
        return years[0]
    if wanted is None and years:
        found = " and ".join(map(str, years))
        raise DataError(f"{raw}: holds parts of ISIC {found}, expected one year. Choose with --year {years[-1]}.")
    names = [" and ".join(splits["training"]) for year, splits in RELEASES.items() if wanted is None or year == wanted]
    raise DataError(
        f"{raw}: no release of ISIC {wanted or '2016, 2017 or 2018'} found, expected folders or .zip archives such as "
        f"{', or '.join(names)}. Download them from https://challenge.isic-archive.com/data, "
        "or name any two folders with --layout pairs."
    )


def _add_split(listing: Listing, split: str, names: Sequence[str], parts: Parts, others: Sequence[str]) -> None:
    raw = listing.roots[0]
    missing = [name for name in names if name.lower() not in parts]
    if missing:
        without = f", or convert the rest with --splits {','.join(others)}" if others else ""
        listing.faults.append(
            f"{raw}: the {split} split lacks {' and '.join(missing)}, expected a folder or .zip of that name. "
            f"Download it{without}."
        )
        return
    image_part, mask_part = (_choose(listing, parts[name.lower()]) for name in names)
    try:
        images, masks = _sources(image_part), _sources(mask_part)
    except DataError as error:
        listing.faults.append(str(error))
        return
    listing.match(
        split,
        Named(image_part, _with_ids(listing, images, _file_id, "image")),
        Named(mask_part, _with_ids(listing, masks, lambda source: without_ending(_file_id(source)), "mask")),
        expected=("<id>.jpg", f"<id>{MASK_ENDING}.png"),
        advice="Extract the archive again.",
    )


def _choose(listing: Listing, places: Sequence[Path]) -> Path:
    """The folder or archive to read where a part was found more than once."""
    folders = [place for place in places if place.is_dir()]
    best = folders or places
    if len(best) > 1:
        listing.faults.append(
            f"{listing.roots[0]}: {best[0].name} was found {len(best)} times ({first_names(list(map(str, best)))}), "
            "expected once. Remove or rename the others."
        )
    elif len(places) > 1:
        archive = next(place for place in places if place not in folders)
        listing.notes.append(f"{best[0]}: this folder is read, not {archive}")
    return best[0]


def _sources(part: Path) -> list[Source]:
    files = list_files(part) if part.is_dir() else Archive(part).list_files()
    return [file for file in files if not file.name.lower().endswith(_LEFT_OUT)]


def _with_ids(
    listing: Listing, sources: Sequence[Source], to_id: Callable[[Source], str | None], what: str
) -> list[Found]:
    """The files that are what they should be, with their ids; the others are noted."""
    ids = [(to_id(source) if is_picture(source.name) else None, source) for source in sources]
    listing.note_left_out([source for id, source in ids if id is None], what)
    return [Found(id, source) for id, source in ids if id is not None]


def _file_id(source: Source) -> str:
    """A release's ids are unique, whatever folders its files were extracted into, or packed in by Windows."""
    return image_id(source.name.replace("\\", "/").rpartition("/")[2])
