"""Reading what a run of predictions has left."""

import csv


def table(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def files(folder):
    """All files but the page, which tests of its own look at."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != "report.html")
