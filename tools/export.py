"""Export a trained model to ONNX, and prove on images that it equals the original."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lesionseg.cli import add_config_arguments, add_verbose, check_exists, name, path, threads, tool
from lesionseg.engine.config import Options, check_checkpoint
from lesionseg.engine.screen import announce
from lesionseg.engine.work_dir import chosen_checkpoint


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    add_verbose(parser)
    parser.add_argument(
        "checkpoint",
        type=path,
        nargs="?",
        help="a .pth file, such as work_dirs/<config>/best_lesion_jaccard_iter_20000.pth (default, where the config is "
        "the work_dir of a training: the best one in it, or else the last)",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=path, required=True, help="folder for model.onnx, deploy.json, parity.json"
    )
    parser.add_argument(
        "--deploy-cfg",
        metavar="FILE",
        type=path,
        help="a file of configs/deploy (default: onnxruntime, inputs of any size)",
    )
    parser.add_argument("--fp16", action="store_true", help="half precision: half the file")
    parser.add_argument(
        "--parity-images",
        metavar="INPUT",
        type=path,
        nargs="+",
        default=[],
        help="files, folders or patterns to compare on (default: 50 images of the config's validation set, or drawn "
        "phantoms where there are none)",
    )
    parser.add_argument("--split", metavar="SPLIT", type=name, help="compare on 50 images of this split, such as test")
    parser.add_argument("--threads", type=threads, metavar="N", help="CPU threads of both (default: one a core)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    args = parser.parse_args(argv)
    if not args.checkpoint and not os.path.isdir(args.config):
        parser.error("a config is followed by its checkpoint, a .pth file")
    if args.split and args.parity_images:
        parser.error("--split and --parity-images both say what to compare on")
    return args


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    options = Options.of(args)
    checkpoint = args.checkpoint or chosen_checkpoint(args.config)
    check_checkpoint(checkpoint)
    if args.deploy_cfg:
        check_exists(args.deploy_cfg, "a file of configs/deploy")
    announce(options.config)
    from lesionseg.commands.export import Export, export

    parity = export(
        Export(
            options=options,
            checkpoint=checkpoint,
            out=Path(args.out),
            deploy_config=args.deploy_cfg,
            precision="float16" if args.fp16 else "float32",
            parity_images=args.parity_images,
            threads=args.threads,
            overwrite=args.overwrite,
        )
    )
    print(parity.table())
    print(f"exported and proven: model.onnx, deploy.json, parity.json and parity_worst.jpg are in {args.out}")


if __name__ == "__main__":
    sys.exit(main())
