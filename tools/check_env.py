"""Print what is installed here, and for each fault the command that mends it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# So that it also runs, and says so, where lesionseg is not installed.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from lesionseg.cli import tool
from lesionseg.environment import inspect_environment


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Exit with 0 when all is well, with 1 when there are faults."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    report = inspect_environment()
    print(report)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
