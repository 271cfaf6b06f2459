"""Find the lesion in images: a mask file for each, and a table of all."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lesionseg.cli import (
    EXIT_DONE,
    EXIT_FAILED,
    add_launcher,
    add_mask_arguments,
    amount,
    name,
    one_line,
    path,
    positive,
    share,
    threads,
    tool,
)
from lesionseg.engine.processes import Processes, join_processes
from lesionseg.engine.screen import announce
from lesionseg.engine.work_dir import config_path
from lesionseg.inference.ensemble_card import is_ensemble
from lesionseg.inference.inputs import find_inputs
from lesionseg.inference.opening import ENGINES, ONNXRUNTIME, OTSU_BLUE, check_predicting, find_paths

EPILOG = """\
examples:
  an exported model and a folder of images:
    python tools/predict.py work_dirs/export photos --out masks --overlay
  a checkpoint, and the images of several folders:
    python tools/predict.py configs/mask2former/mask2former_r50_1xb4-20k_isic2018-512x512.py best.pth \\
      'photos/*/dermoscopy/*.jpg' --out masks --tta
  each nail cut out, such as a classifier takes it:
    python tools/predict.py work_dirs/nails/model.onnx photos --out masks --crops crops --min-area 0.0005
  one lesion without holes, and no specks:
    python tools/predict.py model.onnx photos --out masks --fill-holes --largest --min-area 0.0005

OUT gets <id>_segmentation.png, gray 0 = skin and 255 = lesion in the image's original size, predictions.csv, and
report.html, a page with all images and their outlines.
Of Mask R-CNN it also gets the instances: instances.csv with class, score, box and area of each, <id>_instances.png with
their numbers as grays (0 = none), and instances.json, a COCO file with polygons for annotation tools.
Of a model that tells several findings apart, each finding has a folder of its own in OUT with its masks.
An id is the path of an image below its INPUT without suffix, so sub-folders are kept.
A run that was ended before its end is taken up where it was when it is started again.
Started by torchrun or srun with --launcher, its processes share the images out, and one makes the tables of all.
"""


@tool
def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)
    processes = join_processes(args.launcher)
    try:
        return _predict(args, processes)
    finally:
        processes.leave()


def _predict(args: argparse.Namespace, processes: Processes) -> int:
    inputs = processes.first(lambda: find_inputs(args.inputs))
    args.model, args.checkpoint = processes.first(lambda: _find_model(args.model, args.checkpoint))
    announce(args.model, args.launcher)
    from lesionseg.commands.crops import MARGIN, Crops
    from lesionseg.commands.outputs import Outputs
    from lesionseg.commands.predict import predict_files
    from lesionseg.commands.prediction_page import prediction_page
    from lesionseg.documents.page import REPORT_PAGE, write_page
    from lesionseg.engine.families import INSTANCES
    from lesionseg.evaluation.scores import JACCARD_THRESHOLD
    from lesionseg.inference import PostProcessing, Segmenter
    from lesionseg.pixels.pictures import MAX_PIXELS

    postprocess = PostProcessing(args.smooth, args.fill_holes, args.min_area, args.largest)
    crops = None
    if args.crops:
        crops = Crops(Path(args.crops), MARGIN if args.crop_margin is None else args.crop_margin, args.mask_crops)
    outputs = Outputs(Path(args.out), args.overlay, args.probability, args.heatmap, crops=crops)
    processes.first(lambda: outputs.check(inputs, args.overwrite))
    segmenter = Segmenter(
        args.model,
        args.checkpoint,
        tta=args.tta,
        postprocess=postprocess,
        min_score=args.min_score,
        instances="top1" if args.top1 else None,
        engine=args.engine or ONNXRUNTIME,
        device=args.device or processes.device,
        threads=args.threads or processes.threads,
    )
    name = segmenter.lesion_name
    of_instances = segmenter.finder.task == INSTANCES
    if segmenter.findings or of_instances:
        outputs = replace(outputs, findings=segmenter.findings, category=name if of_instances else "")
        processes.first(lambda: outputs.check(inputs, args.overwrite))
    for note in inputs.notes if processes.is_first else ():
        print(f"note: {note}", file=sys.stderr)
    max_pixels = args.max_pixels or MAX_PIXELS
    predicted = predict_files(segmenter, inputs.images, outputs, args.batch_size, args.overwrite, max_pixels, processes)
    if not processes.is_first:
        return EXIT_DONE
    rows, faults = predicted.rows, predicted.faults
    if rows:
        settings = dict(segmenter.settings(), model=args.checkpoint or args.model)
        path = outputs.folder / REPORT_PAGE
        if write_page(path, lambda: prediction_page(outputs.folder, rows, faults, settings)):
            print(f"Look at them all: {path}")
    if faults:
        print(
            f"error: {len(faults)} of {len(inputs.images)} images were not predicted, see above. Mend them, and run it "
            "again without --overwrite: only they are predicted then.",
            file=sys.stderr,
        )
    empty = sum(row.components == 0 for row in rows)
    masks = f" ({', '.join(segmenter.findings)}: {len(rows)} masks)" if segmenter.findings else ""
    name = one_line(name)
    article = "an" if name[:1].lower() in "aeiou" else "a"
    if of_instances:
        masks = f", {predicted.instances} instances ({name})"
    if any(row.doubtful is not None for row in rows):
        doubtful = sum(bool(row.doubtful) for row in rows)
        step = ": a person should look at them, doubtful in predictions.csv" if doubtful else ""
        print(f"{doubtful} of {len(rows)} masks have an expected Jaccard below {JACCARD_THRESHOLD}{step}")
    print(
        f"predicted {len(inputs.images) - len(faults)} images{masks}, {empty} without {article} {name}; masks"
        + (", instances.csv, instances.json" if of_instances else "")
        + f" and predictions.csv are in {args.out}"
        + (f"; {predicted.crops} crops and crops.csv in {args.crops}" if crops else "")
    )
    return EXIT_FAILED if faults else EXIT_DONE


def _find_model(model: str, checkpoint: str | None) -> tuple[str | os.PathLike, str | os.PathLike | None]:
    found = find_paths(model, checkpoint)
    if not found[1]:
        check_predicting(found[0])
    return found


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EPILOG,
        usage="%(prog)s MODEL [CHECKPOINT] INPUT [INPUT ...] --out DIR [options]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        type=path,
        help="an ONNX file of tools/export.py or the folder that it wrote, the work_dir of a training, a config, "
        "followed by its CHECKPOINT, the ensemble of tools/folds.py, or otsu-blue, a baseline that has learned nothing",
    )
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        type=path,
        nargs="+",
        help="images, folders with all below them, and quoted patterns such as 'photos/**/*.png'",
    )
    parser.add_argument(
        "--split", metavar="SPLIT", type=name, help="of data set folders, only the images of this split, such as test"
    )
    parser.add_argument("--out", metavar="DIR", type=path, required=True, help="where masks and table go")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier outputs, and predictions.csv")
    parser.add_argument("--overlay", action="store_true", help="also write <id>_overlay.jpg, outlines on the image")
    parser.add_argument(
        "--probability",
        action="store_true",
        help="also write <id>_probability.png, 8-bit gray, 255 times the probability; what is above 128 is the mask "
        "as the model gave it",
    )
    parser.add_argument(
        "--heatmap", action="store_true", help="also write <id>_heatmap.jpg, the probability as colours on the image"
    )
    parser.add_argument(
        "--max-pixels",
        metavar="N",
        type=positive,
        help="refuse images of more pixels, which may take all memory (default: 268435456, as 16384x16384)",
    )
    _add_crop_arguments(parser.add_argument_group("crops"))
    _add_model_arguments(parser.add_argument_group("model"))
    add_launcher(parser)
    add_mask_arguments(parser)
    args = parser.parse_intermixed_args(argv)
    args.checkpoint = None
    is_config = config_path(args.model).endswith(".py")
    if is_config and len(args.inputs) > 1 and args.inputs[0].endswith((".pth", ".pt")):
        args.checkpoint = args.inputs.pop(0)
    elif is_config and not os.path.isdir(args.model):
        parser.error("a config is followed by its checkpoint, a .pth file, and then by images")
    if args.split:
        args.inputs = [os.path.join(folder, "images", args.split) for folder in args.inputs]
    uses = dict(engine="an exported model", device="a config and its checkpoint", threads="a network")
    if not args.crops and (args.crop_margin is not None or args.mask_crops):
        parser.error("--crop-margin and --mask-crops are for --crops")
    unused = ["engine" if is_config else "device"]
    if args.model == OTSU_BLUE or is_ensemble(args.model):
        # Members of an ensemble may be of both kinds.
        unused = [*uses] if args.model == OTSU_BLUE else []
    for flag in unused:
        if getattr(args, flag) is not None:
            parser.error(f"--{flag} is for {uses[flag]}")
    return args


def _add_crop_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--crops",
        metavar="DIR",
        type=path,
        help="also cut each instance out of the original image, <id>_1.png, <id>_2.png, ..., and write crops.csv: Mask "
        "R-CNN's instances, the best-scored first, or else the mask's 8-connected components, the largest first",
    )
    group.add_argument(
        "--crop-margin",
        metavar="MARGIN",
        type=amount,
        help="what a crop shows around the instance's box, in pixels, or below 1 as a share of its longer edge "
        "(default: 0.1)",
    )
    group.add_argument("--mask-crops", action="store_true", help="make all but the instance black in its crop")


def _add_model_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--tta", action="store_true", help="average over each image and its three flipped copies")
    group.add_argument(
        "--batch-size",
        metavar="N",
        type=positive,
        default=1,
        help="images in one run of the model, where so many of the same size follow one another: faster on a GPU "
        "(default: %(default)s)",
    )
    group.add_argument("--engine", choices=ENGINES, help="for an exported model (default: onnxruntime)")
    group.add_argument("--device", help="for a checkpoint, such as cpu or cuda:1 (default: the GPU if there is one)")
    group.add_argument("--threads", metavar="N", type=threads, help="CPU threads of the model (default: all cores)")
    group.add_argument(
        "--min-score",
        metavar="SCORE",
        type=share,
        help="Mask R-CNN: least score of an instance, 0 to 1 (default: as the model was tested)",
    )
    group.add_argument("--top1", action="store_true", help="Mask R-CNN: only the instance with the highest score")


if __name__ == "__main__":
    sys.exit(main())
