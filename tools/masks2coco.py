"""Write the masks of a data set folder as COCO instances for Mask R-CNN, or turn a COCO file into masks."""

import argparse
import sys
from collections.abc import Sequence

from lesionseg.cli import check_exists, name, path_object, positive, tool

EPILOG = """\
examples:
  one lesion a mask, as in ISIC, for every split in the folder:
    python tools/masks2coco.py data/ISIC
  nails, each connected component an instance, without specks:
    python tools/masks2coco.py data/nails --instances components --min-area 20 --category nail
  what was annotated elsewhere, as masks of 0 and 255 that tools/convert_isic.py --layout pairs can read:
    python tools/masks2coco.py exported.json --to-masks data/raw/mine/masks

DATASET/annotations/instances_<split>.json holds RLE, exact to the pixel and with holes.
"""


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = _parse(argv)
    check_exists(args.source, "a data set folder, or with --to-masks a COCO file")
    from lesionseg.data.coco.convert import CATEGORY, Style, coco_to_masks, masks_to_coco

    if args.to_masks:
        made = coco_to_masks(args.source, args.to_masks, args.category)
    else:
        style = Style(args.instances, args.min_area, args.category or CATEGORY, args.polygons)
        made = masks_to_coco(args.source, style, args.overwrite)
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)
    counts = (f"{path} ({images} images, {instances} instances)" for path, (images, instances) in made.counts.items())
    print(f"Made {', '.join(counts)}")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source", metavar="DATASET", type=path_object, help="a data set folder; with --to-masks a COCO file (JSON)"
    )
    parser.add_argument(
        "--category",
        metavar="NAME",
        type=name,
        help="its name in the COCO files (default: lesion; --to-masks: the only one used)",
    )
    coco = parser.add_argument_group("masks to COCO")
    coco.add_argument(
        "--instances",
        choices=["whole", "components"],
        default="whole",
        help="whole: a mask is one instance (default); components: each 8-connected component is one",
    )
    coco.add_argument(
        "--min-area", metavar="PIXELS", type=positive, default=1, help="drop smaller instances (default: none)"
    )
    coco.add_argument(
        "--polygons", action="store_true", help="for tools that cannot read RLE; fills holes, and tells how many pixels"
    )
    coco.add_argument("--overwrite", action="store_true", help="replace earlier files")
    parser.add_argument_group("COCO to masks").add_argument(
        "--to-masks", metavar="OUT", type=path_object, help="a new folder for <id>.png, one mask an image"
    )
    args = parser.parse_args(argv)
    for option in ("instances", "min_area", "polygons", "overwrite") if args.to_masks else ():
        if getattr(args, option) != parser.get_default(option):
            parser.error(f"--{option.replace('_', '-')} does not go with --to-masks")
    return args


if __name__ == "__main__":
    sys.exit(main())
