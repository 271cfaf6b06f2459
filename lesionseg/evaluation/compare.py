"""Finished tests on the same images -> means and paired differences, with intervals."""

import csv
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from lesionseg.cli import check_once
from lesionseg.errors import DataError, first_names
from lesionseg.evaluation.report_file import NO_CONFIG, REPORT, Report
from lesionseg.evaluation.resampling import interval
from lesionseg.evaluation.scores import PER_IMAGE
from lesionseg.tables import cell_text

COMPARED = ("jaccard", "dice", "threshold_jaccard")
RESAMPLES = 10_000

_COUNTS = ("tp", "tn", "fp", "fn")
# Pixels of an image: no file format holds more.
_MOST_PIXELS = 10**12
_TEST_AGAIN = (
    "Run tools/test.py again for both with the same --cfg-options data_root=DIR, or tools/evaluate.py for both with "
    "the same truth and images."
)


@dataclass(frozen=True)
class FinishedTest:
    """What a finished test left in its work_dir.

    Attributes:
        work_dir: as the caller gave it.
        label: what to call it, unlike all others; says so where its scores are optimistic.
        report: its scores, and what they were measured on.
        ids: of the images, sorted.
        scores: (images, 6) float64 in 0..1, columns in the order of `PER_IMAGE`.
        pixels: (images,) int64, size of the images.
        lesion_pixels: (images,) int64, area of the true lesions.
        strata: the numbers of the images of each finding, (its images,) int64; of all, where there is but one kind.
            A mean is the mean of theirs.
    """

    work_dir: str
    label: str
    report: Report
    ids: tuple[str, ...]
    scores: np.ndarray
    pixels: np.ndarray
    lesion_pixels: np.ndarray
    strata: Sequence[np.ndarray]

    @property
    def annotations(self) -> str | None:
        """SHA-256 of the file that COCO's scores were measured against; None where unknown or without such scores."""
        return self.report.provenance.get("annotations_sha256") if self.report.coco else None


@dataclass(frozen=True)
class Estimate:
    """A mean over images, and the bounds of its confidence interval; None where the images are too few for one."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference(Estimate):
    """By how much a score exceeds the reference's, and on how many images it is higher, lower or the very same."""

    better: int
    worse: int
    equal: int


@dataclass(frozen=True)
class Row:
    """One test among others.

    Attributes:
        test: what is compared.
        means: by the names in `COMPARED`.
        differences: from the reference, by the same names; none for the reference itself.
        remarks: what else is unlike the reference, without harm to the comparison, and the notes of the report.
    """

    test: FinishedTest
    means: dict[str, Estimate]
    differences: dict[str, Difference]
    remarks: str


def read_tests(work_dirs: Sequence[str | PathLike]) -> list[FinishedTest]:
    """Read what `tools/test.py` or `tools/evaluate.py` left.

    Args:
        work_dirs: folders with `report.json` and `per_image.csv`.

    Raises:
        DataError: a folder is given twice, or its files are missing, damaged, of another version or not of one
            test; a line for each such folder.

    Example:
        >>> tests = read_tests(["work_dirs/first", "work_dirs/second"])
        >>> [test.label for test in tests]
        ['first', 'second']
    """
    check_once(work_dirs, "work_dir")
    tests, faults = [], []
    for folder, name in zip(work_dirs, short_names(work_dirs), strict=True):
        try:
            tests.append(_read_test(Path(folder), name))
        except DataError as error:
            faults.append(f"{error}. {_remake(Path(folder))}")
    if faults:
        raise DataError(*faults)
    return tests


def _remake(folder: Path) -> str:
    """How to make the report of a folder again; of a damaged one, too, by what is left of it."""
    report = folder / REPORT
    if report.is_file() and NO_CONFIG.encode() in report.read_bytes():
        return "Run tools/evaluate.py again with the masks and --out that it was run with."
    return f"Run `tools/test.py CONFIG CHECKPOINT --work-dir {shlex.quote(str(folder))}`."


def short_names(folders: Sequence[str | PathLike]) -> list[str]:
    """Name different folders by the ends of their paths, each as short as tells it from all others."""
    parts = [Path(os.path.abspath(folder)).parts for folder in folders]
    names = []
    for own in parts:
        others = [other for other in parts if other is not own]
        length = next(n for n in range(1, len(own) + 1) if all(other[-n:] != own[-n:] for other in others))
        names.append(str(Path(*own[-length:])))
    return names


def compare(tests: Sequence[FinishedTest]) -> list[Row]:
    """Compare tests with the first of them, the reference, image by image.

    Args:
        tests: at least one.

    Raises:
        DataError: they were not made on the same images and true masks, or COCO's scores not on the same true
            instances; a line for each that differs, which names what differs.

    Example:
        >>> rows = compare(read_tests(["work_dirs/first", "work_dirs/second"]))
        >>> rows[1].differences["jaccard"].mean
        0.125
    """
    if faults := _of_other_images(tests) or _other_instances(tests):
        raise DataError(*faults)
    scores = np.stack([test.scores for test in tests], axis=1)
    # Every resample draws the same images for all tests, which makes the differences paired.
    strata = tests[0].strata
    resampled = np.mean([bootstrap_means(scores[stratum]) for stratum in strata], axis=0)
    rows = []
    for number, test in enumerate(tests):
        means, differences = {}, {}
        for name in COMPARED:
            column = PER_IMAGE.index(name)
            own, theirs = (scores[:, each, column] for each in (number, 0))
            own_means, their_means = (resampled[:, each, column] for each in (number, 0))
            means[name] = Estimate(stratified_mean(own, strata), *interval(own_means, _fewest(strata)))
            if number:
                differences[name] = _difference(own - theirs, own_means - their_means, strata)
        rows.append(Row(test, means, differences, _remarks(test, tests[0])))
    return rows


def bootstrap_means(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Average resampled images: as many as there are, drawn with replacement (Efron 1979).

    Args:
        values: (images, ...) float64.
        seed: the same seed draws the same images.

    Returns:
        (`RESAMPLES`, ...) float64, whose percentiles bound the mean over images.
    """
    images = len(values)
    random = np.random.default_rng(seed)
    flat = values.reshape(images, -1)
    means = np.empty((RESAMPLES, flat.shape[1]))
    for number in range(RESAMPLES):
        times_drawn = np.bincount(random.integers(images, size=images), minlength=images)
        means[number] = times_drawn @ flat / images
    return means.reshape(RESAMPLES, *values.shape[1:])


def stratified_mean(values: np.ndarray, strata: Sequence[np.ndarray]) -> float:
    """The mean of the means of several groups of images, see `FinishedTest.strata`, of (images,) float64."""
    return float(np.mean([values[stratum].mean() for stratum in strata]))


def _fewest(strata: Sequence[np.ndarray]) -> int:
    return min(map(len, strata))


def _difference(values: np.ndarray, means: np.ndarray, strata: Sequence[np.ndarray]) -> Difference:
    """Sum up the differences of images, (images,) float64, and their resampled means, (resamples,) float64."""
    better, worse = int(np.count_nonzero(values > 0)), int(np.count_nonzero(values < 0))
    low, high = interval(means, _fewest(strata))
    return Difference(stratified_mean(values, strata), low, high, better, worse, len(values) - better - worse)


def _of_other_images(tests: Sequence[FinishedTest]) -> list[str]:
    """Say which tests were not made on the images of most others, or of the first where no more agree."""
    groups: list[list[FinishedTest]] = []
    for test in tests:
        same = next((group for group in groups if not _other_images(test, group[0])), None)
        if same is None:
            groups.append(same := [])
        same.append(test)
    # Of groups of one size, the first one counts.
    most = max(groups, key=len)
    faults = [_other_images(test, most[0]) for group in groups if group is not most for test in group]
    advice = f" Or leave it out, and compare the {len(most)} others." if len(faults) == 1 < len(most) else ""
    return [f"{fault}{advice}" for fault in faults]


def _other_images(test: FinishedTest, reference: FinishedTest) -> str | None:
    """Say in what the measured images or their true masks differ from the reference's; None where in nothing."""
    facts = []
    for one, other in ((test, reference), (reference, test)):
        if only := sorted(set(one.ids) - set(other.ids)):
            facts.append(f"{len(only)} of {len(one.ids)} images only in {one.work_dir} ({first_names(only)})")
    shared, mine, theirs = np.intersect1d(test.ids, reference.ids, return_indices=True)
    resized = test.pixels[mine] != reference.pixels[theirs]
    redrawn = ~resized & (test.lesion_pixels[mine] != reference.lesion_pixels[theirs])
    for differs, what in ((resized, "another size"), (redrawn, "a true lesion of another area")):
        if names := shared[differs].tolist():
            facts.append(f"{len(names)} of {len(shared)} shared images with {what} ({first_names(names)})")
    fingerprint, expected = _fingerprints(test.report.provenance, reference.report.provenance)
    if fingerprint != expected:
        facts = facts or ["ids, sizes and lesion areas agree, but the bytes of images or masks do not"]
        facts.append(f"data set fingerprint {fingerprint[:12]}, not {expected[:12]}")
    if not facts:
        return None
    return (
        f"{test.work_dir}: not made on the images of {reference.work_dir}: {'; '.join(facts)}; expected the same "
        f"images and true masks. {_TEST_AGAIN}"
    )


def _fingerprints(one: Mapping, other: Mapping) -> tuple[str, str]:
    """What tells whether two tests were made on the same data: the true masks alone where one was without images."""
    without_images = any(each["dataset_sha256"] == each.get("truth_sha256") for each in (one, other))
    name = "truth_sha256" if without_images and "truth_sha256" in one and "truth_sha256" in other else "dataset_sha256"
    return one[name], other[name]


def _other_instances(tests: Sequence[FinishedTest]) -> list[str]:
    """Say which tests were scored against another COCO file than the first that was scored against a known one."""
    known = [(test, test.annotations) for test in tests if test.annotations]
    return [
        f"{test.work_dir}: its COCO scores do not have the true instances of {known[0][0].work_dir}: "
        f"annotations_sha256 {annotations[:12]}, not {known[0][1][:12]}; expected the same COCO file. {_TEST_AGAIN}"
        for test, annotations in known
        if annotations != known[0][1]
    ]


def _remarks(test: FinishedTest, reference: FinishedTest) -> str:
    own, others = test.report.provenance, reference.report.provenance
    facts = []
    if (config := Path(own["config"]).stem) != Path(others["config"]).stem:
        facts.append(f"other config {config}")
    elif own.get("config_sha256") != others.get("config_sha256"):
        facts.append("other settings")
    # Masks from elsewhere are known by the label.
    if own["checkpoint_sha256"] != others["checkpoint_sha256"] and own["config"] != NO_CONFIG:
        facts.append(f"other checkpoint {Path(own['checkpoint']).name}")
    # Whose operators and which versions stand in the reports, for those whom a small difference puzzles.
    if own.get("operators") != others.get("operators") and own["config"] != NO_CONFIG:
        facts.append(f"computed by {own['operators']}" if own.get("operators") else "other operators")
    if own.get("versions") != others.get("versions"):
        facts.append("other versions of the software")
    if test.report.coco and not test.annotations:
        facts.append("COCO scores of unknown true instances")
    return "; ".join([*facts, *(note.rstrip(".") for note in test.report.notes)])


def _read_test(folder: Path, name: str) -> FinishedTest:
    report, images = Report.read(folder), _read_images(folder / "per_image.csv")
    ids = tuple(sorted(images))
    scores = np.array([[images[image][name] for name in PER_IMAGE] for image in ids])
    counts = {name: np.array([int(images[image][name]) for image in ids]) for name in _COUNTS}
    reported = [report.per_image[name] for name in PER_IMAGE]
    finding_of = [id.partition("/")[0] if report.findings else "" for id in ids]
    strata = [np.flatnonzero(np.equal(finding_of, finding)) for finding in sorted(set(finding_of))]
    measured = [stratified_mean(column, strata) for column in scores.T]
    if len(ids) != report.images or not np.allclose(measured, reported, rtol=0, atol=1e-9):
        raise DataError(f"{folder}: per_image.csv does not have the means of report.json, expected files of one test")
    return FinishedTest(
        work_dir=str(folder),
        label=name + " (optimistic)" * report.optimistic,
        report=report,
        ids=ids,
        scores=scores,
        pixels=sum(counts.values(), np.zeros(len(ids), int)),
        lesion_pixels=counts["tp"] + counts["fn"],
        strata=strata,
    )


def _read_images(path: Path) -> dict[str, dict[str, float]]:
    """Read `per_image.csv`: by image id, the scores and the counts of pixels."""
    if not path.is_file():
        raise DataError(f"{path}: no such file, expected it beside report.json")
    images = {}
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for line in reader:
                numbers = {name: float(line[name]) for name in (*PER_IMAGE, *_COUNTS)}
                # NaN is none of it.
                counts_fit = all(0 <= numbers[name] <= _MOST_PIXELS and numbers[name] % 1 == 0 for name in _COUNTS)
                id = cell_text(line["id"])
                if id in images or not counts_fit or not all(0 <= numbers[name] <= 1 for name in PER_IMAGE):
                    raise ValueError
                images[id] = numbers
        except KeyError as error:
            raise DataError(f"{path}: no column {error}, expected a table of this version") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8, expected a table as tools/test.py writes it") from error
        except (ValueError, TypeError, csv.Error) as error:
            fact, expected = f"line {reader.line_num} is damaged", "scores from 0 to 1 and counts of pixels"
            raise DataError(f"{path}: {fact}, expected an id of its own, {expected}") from error
    return images
