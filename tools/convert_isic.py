"""Turn a release of ISIC 2016, 2017 or 2018, any images with masks, or marked photographs into a data set folder."""

import argparse
import re
import sys
from collections.abc import Sequence
from fractions import Fraction

from lesionseg.cli import name, path_object, positive, tool
from lesionseg.commands.convert import Conversion, run_conversion, run_to_hugging_face
from lesionseg.data.names import MASK_ENDING
from lesionseg.data.release.layouts import DATA_SET, HUGGING_FACE, ISIC, LAYOUTS, MARKED, PAIRS
from lesionseg.data.release.layouts.isic import RELEASES
from lesionseg.data.release.layouts.marked import THRESHOLDS
from lesionseg.data.release.layouts.pairs import FINDING
from lesionseg.data.release.listing import SPLITS

EPILOG = """\
examples:
  the archives or extracted folders of ISIC 2018 Task 1, as they are:
    python tools/convert_isic.py data/raw/isic2018 data/isic2018
  training images shrunk to 512 pixels, validation and test as released:
    python tools/convert_isic.py data/raw/isic2018 data/isic2018_512 --short-edge 512
  HAM10000, split at random with all images of a lesion in one split:
    python tools/convert_isic.py data/raw/ham data/ham --layout pairs \\
      --images 'HAM10000_images_part_*' --masks HAM10000_segmentations_lesion_tschandl \\
      --split 0.7,0.15,0.15 --group-csv data/raw/ham/HAM10000_metadata.csv
  PH2, a folder for every image:
    python tools/convert_isic.py data/raw/ph2 data/ph2 --layout pairs \\
      --images '*/*_Dermoscopic_Image' --masks '*/*_lesion' --mask-suffix _lesion
  images and masks in folders train, val and test, whose names tell the split:
    python tools/convert_isic.py data/raw/mine data/mine --layout pairs

  images of several findings, each with masks in folders of its own, <finding>_test/label:
    python tools/convert_isic.py data/raw/skin data/skin --layout pairs --images '{finding}_test/image' \\
      --masks '{finding}_test/label' --mask-suffix _mask
  photographs as taken, 0001_org_acne.jpg, and as marked by hand, 0001_39_acne.jpg; the masks are where they differ:
    python tools/convert_isic.py data/raw/marked data/marked --layout marked --threshold acne=20 hemo=10 mela=22

  a data set folder for Hugging Face's load_dataset, as people exchange data there, and back:
    python tools/convert_isic.py data/marked --to-hf data/marked_hf
    python tools/convert_isic.py --from-hf data/marked_hf data/again

  masks of class numbers, where 1 is the lesion, or drawn in red:
    python tools/convert_isic.py data/raw/mine data/mine --layout pairs --foreground 1
    python tools/convert_isic.py data/raw/mine data/mine --layout pairs --foreground '#ff0000'

OUT gets images/<split>/<id>.jpg, annotations/<split>/<id>.png with masks of 0 and 255, splits/<split>.txt,
index.csv with the size, lesion share and number of components of every released pair, and look.html, a page to look
at before training. Where findings are told
apart, masks are annotations/<split>/<finding>/<id>.png: one that is not there was not looked for, a black one has none.
Marked photographs also get marks.jpg, a contact sheet of them and their masks.
Files are copied, without taking space where the disk can share blocks (Btrfs, XFS), so RAW stays as it is whatever
is done to OUT. With --link they are the very files of RAW: editing one in place then changes the original.
"""


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = vars(_parse(argv))
    run = run_to_hugging_face if args["layout"] == DATA_SET else run_conversion
    run(Conversion(**args))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "raw",
        metavar="RAW",
        type=path_object,
        nargs="?",
        help="the folder that holds the release or the pictures; with --to-hf a data set folder; none with --from-hf",
    )
    parser.add_argument(
        "out", metavar="OUT", type=path_object, nargs="?", help="the data set folder to make; none with --to-hf"
    )
    hugging_face = parser.add_argument_group("Hugging Face data sets (extra hf)").add_mutually_exclusive_group()
    hugging_face.add_argument(
        "--to-hf",
        metavar="DIR",
        type=path_object,
        help="write the data set folder RAW there as Parquet files, and id2label.json: columns id, image and label, a "
        "PNG of class indices, or label_<finding> where findings overlap or are not labelled in every image",
    )
    hugging_face.add_argument(
        "--from-hf",
        metavar="DIR",
        type=path_object,
        help="make OUT of that data set: what load_dataset or load_from_disk reads, with id2label.json in it",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an earlier OUT, and what was added to it, once the new one is complete",
    )
    parser.add_argument(
        "--link",
        action="store_true",
        help="hard-link files in place of copying them: no space is needed, but editing them in OUT changes those of "
        "RAW",
    )
    parser.add_argument(
        "--short-edge",
        metavar="PIXELS",
        type=positive,
        help="shrink larger training pairs until their shorter edge has that length; "
        "validation and test keep the size that scores count",
    )
    parser.add_argument(
        "--workers", metavar="N", type=positive, help="how many files are decoded at once (default: one a core)"
    )
    parser.add_argument(
        "--max-pixels",
        metavar="N",
        type=positive,
        help="refuse pictures of more pixels, which may take all memory (default: 268435456, as 16384x16384)",
    )
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        default=ISIC,
        help="a release (default), any images and masks, or photographs as taken and as marked",
    )

    parser.add_argument(
        "--splits",
        metavar="SPLIT,...",
        type=_splits,
        help="only these of training,validation,test (default: all there)",
    )

    _add_mask_arguments(parser.add_argument_group("masks that are not gray 0 = skin and 255 = lesion"))

    release = parser.add_argument_group("--layout isic")
    release.add_argument("--year", type=int, choices=sorted(RELEASES), help="which one, where RAW holds several")

    pairs = parser.add_argument_group("--layout pairs, and --layout marked where the photographs lie in two folders")
    pairs.add_argument(
        "--images",
        metavar="DIR",
        type=name,
        help="folder of the images, from RAW, or a quoted pattern such as '*/image' for several; sub-folders become "
        "part of the ids (default: the folder in RAW that is called like images); of marked photographs those as taken",
    )
    pairs.add_argument(
        "--masks",
        metavar="DIR",
        type=name,
        help="the same for the masks, or the photographs as marked; may be the folder of the images. {finding} in it, "
        "such as 'masks/{finding}', stands for a folder a finding and is no part of the ids",
    )
    pairs.add_argument(
        "--mask-suffix",
        metavar="_ENDING",
        default=MASK_ENDING,
        help="what ends the names of masks; those without it are taken as they are (default: %(default)s)",
    )
    pairs.add_argument(
        "--allow-unlabelled",
        action="store_true",
        help="images may be without a mask: they go to images/unlabelled, for predictions and pre-training",
    )

    marked = parser.add_argument_group("--layout marked")
    marked.add_argument(
        "--threshold",
        metavar="FINDING=N",
        nargs="+",
        type=_threshold,
        help="what is marked differs from the photograph as taken by more than that, of 255; mela in gray, all others "
        "in the channel that differs most. N or auto alone are for all others, auto is Otsu's threshold of each "
        f"picture (default: {' '.join(f'{name}={value}' for name, value in THRESHOLDS.items() if name)}, "
        f"others {THRESHOLDS['']})",
    )
    marked.add_argument("--fill-outlines", action="store_true", help="what a closed outline encloses is lesion too")

    split = parser.add_argument_group("random split, for data without an official one")
    kind = split.add_mutually_exclusive_group()
    kind.add_argument(
        "--split",
        metavar="F,F[,F]",
        type=_fractions,
        help="two fractions are training,validation, three are training,validation,test, and 0,0,1 is all test "
        "(default: the official split, that of folders called train, val and test, or all training)",
    )
    kind.add_argument(
        "--validation",
        metavar="F",
        type=_share,
        help="that share of the training images becomes the validation, as of ISIC 2016, which has none",
    )
    split.add_argument("--seed", type=int, default=0, help="another seed gives another split (default: 0)")
    groups = parser.add_argument_group("images that belong together")
    groups.add_argument(
        "--group-csv",
        metavar="FILE",
        type=path_object,
        help="table with a column image_id: a random split, and a training on a share of the images, keep those of a "
        "group together",
    )
    groups.add_argument(
        "--group-column",
        metavar="NAME",
        type=name,
        help="its column of groups (default: patient_id, lesion_id or else group)",
    )
    args = parser.parse_args(argv)
    _set_paths(parser, args)
    _check_together(parser, args)
    return args


def _add_mask_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--foreground",
        metavar="WHAT",
        type=_marks,
        help="what is lesion: values (of palette files indices) such as 1 or 1,3-5, colours such as '#ff0000' or red, "
        "or alpha for what is opaque",
    )
    group.add_argument(
        "--background",
        metavar="WHAT",
        type=_marks,
        help="what is not, in masks without any lesion; whatever else they hold is an error (default: black)",
    )
    group.add_argument(
        "--inverted",
        action=argparse.BooleanOptionalAction,
        help="whether black is the lesion and white the skin; asked for where most masks look like that",
    )


def _set_paths(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Let RAW and OUT be what is read and what is made, whichever way."""
    to_hf, from_hf = args.__dict__.pop("to_hf"), args.__dict__.pop("from_hf")
    if (to_hf or from_hf) and args.layout != parser.get_default("layout"):
        parser.error("--layout does not go with --to-hf and --from-hf")
    if (to_hf or from_hf) and args.out:
        parser.error("expected one folder besides that of --to-hf or --from-hf")
    if to_hf:
        args.layout, args.out = DATA_SET, to_hf
    elif from_hf:
        args.layout, args.raw, args.out = HUGGING_FACE, from_hf, args.raw
    if args.raw is None or args.out is None:
        parser.error("expected RAW OUT, RAW --to-hf DIR or --from-hf DIR OUT")


def _check_together(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    of_layouts = {
        "year": [ISIC],
        "images": [PAIRS, MARKED],
        "masks": [PAIRS, MARKED],
        "mask_suffix": [PAIRS, MARKED],
        "allow_unlabelled": [PAIRS],
        "threshold": [MARKED],
        "fill_outlines": [MARKED],
        "foreground": [ISIC, PAIRS],
        "inverted": [ISIC, PAIRS],
        "short_edge": [*LAYOUTS, HUGGING_FACE],
        "link": LAYOUTS,
    }
    for option, layouts in of_layouts.items():
        if args.layout in layouts or getattr(args, option) == parser.get_default(option):
            continue
        if args.layout in LAYOUTS:
            parser.error(f"{_flag(option)} needs --layout {' or '.join(each for each in layouts if each in LAYOUTS)}")
        parser.error(f"{_flag(option)} does not go with --{'to' if args.layout == DATA_SET else 'from'}-hf")
    for option, needed in [
        *([] if args.split or args.validation else [("seed", "split")]),
        *([] if args.group_csv else [("group_column", "group_csv")]),
        *([] if args.foreground else [("background", "foreground")]),
        *([] if args.images or args.layout != MARKED else [("masks", "images")]),
        *([] if args.masks or args.layout != MARKED else [("images", "masks")]),
    ]:
        if getattr(args, option) != parser.get_default(option):
            parser.error(f"{_flag(option)} needs {_flag(needed)}")
    if FINDING in (args.images or "") and FINDING not in (args.masks or ""):
        parser.error(f"--images with {FINDING} needs --masks with it")
    if args.background:
        from lesionseg.pixels.foreground import Foreground, Marks

        try:
            Foreground(Marks.parse(args.foreground), Marks.parse(args.background))
        except ValueError as error:
            parser.error(f"argument --background: {error}")
    args.threshold = dict(args.threshold or [])


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _threshold(text: str) -> tuple[str, int | None]:
    finding, _, number = text.rpartition("=")
    if number != "auto" and not (re.fullmatch("[0-9]{1,3}", number) and int(number) < 255):
        raise argparse.ArgumentTypeError(f"{text!r}, expected acne=20, 20 or auto, with numbers from 0 to 254")
    return finding.lower(), None if number == "auto" else int(number)


def _marks(text: str) -> str:
    """Read now, so that a wrong one is wrong usage."""
    from lesionseg.pixels.foreground import Marks

    try:
        Marks.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _splits(text: str) -> list[str]:
    splits = text.split(",")
    if not set(splits) <= set(SPLITS):
        raise argparse.ArgumentTypeError(f"{text} is not a list of {','.join(SPLITS)}")
    return splits


def _share(text: str) -> Fraction:
    if re.fullmatch(r"0?\.[0-9]{1,9}", text) and (share := Fraction(text)):
        return share
    raise argparse.ArgumentTypeError(f"{text} is not a share between 0 and 1, such as 0.2")


def _fractions(text: str) -> dict[str, Fraction]:
    """Fraction reads 0.7,0.15,0.15 without rounding, so they sum to 1 exactly."""
    # Fraction would also read 1e999999999, in hours.
    if not re.fullmatch("[0-9./, ]{1,100}", text):
        raise argparse.ArgumentTypeError(f"{text} is not two or three fractions that sum to 1")
    try:
        fractions = [Fraction(number) for number in text.split(",")]
    except (ValueError, ZeroDivisionError):
        fractions = []
    if not 2 <= len(fractions) <= 3 or sum(fractions) != 1:
        raise argparse.ArgumentTypeError(f"{text} is not two or three fractions that sum to 1")
    return {split: fraction for split, fraction in zip(SPLITS, fractions, strict=False) if fraction}


if __name__ == "__main__":
    sys.exit(main())
