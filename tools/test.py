"""Score a checkpoint on a config's test set: official scores per image, pooled ones, and COCO's for instances."""

import argparse
import os
import sys
from collections.abc import Sequence
from shutil import get_terminal_size

from lesionseg.cli import add_mask_arguments, add_run_arguments, name, path, tool
from lesionseg.engine.config import Options
from lesionseg.engine.screen import announce
from lesionseg.engine.work_dir import chosen_checkpoint
from lesionseg.inference.opening import check_tested


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_run_arguments(parser)
    parser.add_argument(
        "checkpoint",
        type=path,
        nargs="?",
        help="a .pth file, such as work_dirs/<config>/best_lesion_jaccard_iter_20000.pth, an exported model.onnx, the "
        "ensemble of tools/folds.py, a folder of masks, <id>.png or <id>_segmentation.png, or otsu-blue, a baseline "
        "that has learned nothing (default, where the config is the work_dir of a training: the best checkpoint in it, "
        "or else the last)",
    )
    parser.add_argument("--split", metavar="SPLIT", type=name, help="which images, such as validation (default: test)")
    parser.add_argument(
        "--out", metavar="DIR", type=path, help="write the predicted masks, <id>_segmentation.png, gray 0 and 255"
    )
    parser.add_argument(
        "--show-dir", metavar="DIR", type=path, help="write every image with the outlines of truth and prediction"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="put the report into the work_dir also where that of another test is; without it, it then goes into a "
        "folder there that is named after what was tested, which tools/compare.py takes as well",
    )
    parser.add_argument("--tta", action="store_true", help="average over flipped copies of each image")
    parser.add_argument(
        "--fit-quality",
        action="store_true",
        help="learn from these images which Jaccard may be expected of a mask, and write it beside the checkpoint or "
        "into the ensemble: predictions, exports and later tests then tell it of every image. Needs --split, such as "
        "validation",
    )
    parser.add_argument(
        "--groups",
        metavar="METADATA",
        nargs="?",
        const="",
        help="also score by groups of images: skin tone, lesion share, touching the border, image size, and the "
        "columns of a CSV file with a row an image, such as sex and age",
    )
    add_mask_arguments(parser)
    args = parser.parse_args(argv)
    if not args.checkpoint and not os.path.isdir(args.config):
        parser.error("a config is followed by what is scored, such as a .pth file")
    if args.fit_quality and args.split in (None, "test"):
        parser.error("--fit-quality needs images that are not scored later, such as --split validation")
    return args


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    options = Options.of(args)
    checkpoint = args.checkpoint or chosen_checkpoint(args.config)
    check_tested(checkpoint)
    announce(options.config, options.launcher)
    from lesionseg.commands.test import evaluate
    from lesionseg.evaluation.failures import failure_grid
    from lesionseg.evaluation.groups import group_grids
    from lesionseg.evaluation.report import coco_table, finding_table, score_table
    from lesionseg.evaluation.seen import seen_table
    from lesionseg.inference import PostProcessing
    from lesionseg.tables import terminal_table

    tested = evaluate(
        options,
        checkpoint,
        tta=args.tta,
        out=args.out,
        show_dir=args.show_dir,
        overwrite=args.overwrite,
        postprocess=PostProcessing(args.smooth, args.fill_holes, args.min_area, args.largest),
        fit_quality=args.fit_quality,
        groups=args.groups,
    )
    if not tested.table:
        return
    print(score_table(tested.table))
    if findings := finding_table(tested.table):
        print(findings)
    if twins := seen_table(tested.table, tested.seen):
        print(twins)
    if tested.coco:
        print(coco_table(tested.coco))
    grids = [failure_grid(tested.failures)] if tested.failures else []
    for grid in [*grids, *group_grids(tested.groups or {})]:
        print(terminal_table(grid, get_terminal_size(fallback=(200, 24)).columns))
    for note in tested.notes:
        print(note)
    if tested.quality_file:
        print(
            f"what may be expected of a mask is in {tested.quality_file}; tools/predict.py and tools/export.py find it"
        )
    images = len({row.image for row in tested.table})
    print(f"scored {images} images; all on one page: {tested.folder}/report.html, and its parts beside it")


if __name__ == "__main__":
    sys.exit(main())
