"""The command `lesionseg`: every tool under one name."""

import argparse
import ast
import runpy
import sys
from collections.abc import Sequence

from lesionseg import __version__
from lesionseg.shipped import shipped

# What each is called, and which file of tools/ it is.
COMMANDS = {
    "quickstart": "quickstart",
    "download": "download_isic",
    "convert": "convert_isic",
    "look": "look",
    "audit": "audit",
    "masks2coco": "masks2coco",
    "configs": "configs",
    "train": "train",
    "folds": "folds",
    "test": "test",
    "predict": "predict",
    "export": "export",
    "compare": "compare",
    "evaluate": "evaluate",
    "agreement": "agreement",
    "demo": "demo",
    "annotate": "annotate",
    "draw-phantoms": "draw_phantoms",
    "benchmark": "benchmark",
    "doctor": "check_env",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a tool by its name; `lesionseg COMMAND --help` tells about each.

    Returns:
        the tool's exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in COMMANDS:
        _parser().parse_args(arguments or ["--help"])
    command, *rest = arguments
    path = shipped("tools") / f"{COMMANDS[command]}.py"
    tool = runpy.run_path(str(path))
    # Usage and messages name the command as it was typed.
    sys.argv[0] = f"lesionseg {command}"
    code: int = tool["main"](rest)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lesionseg",
        description="Skin-lesion segmentation: convert, train, measure, predict and export.",
        epilog="`lesionseg COMMAND --help` tells about each.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, file in COMMANDS.items():
        commands.add_parser(name, help=_about(file), add_help=False)
    return parser


def _about(file: str) -> str:
    """The first paragraph of a tool's docstring."""
    tree = ast.parse((shipped("tools") / f"{file}.py").read_text(encoding="utf-8"))
    return " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
