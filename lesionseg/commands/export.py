"""Config and checkpoint -> ONNX file, with the proof that it equals them."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import cv2
import torch
from mmengine.config import Config

import lesionseg.openmmlab  # noqa: F401
from lesionseg.benchmarks.models import latencies, peak_memory
from lesionseg.data.names import is_picture
from lesionseg.data.phantoms.phantom import draw_phantom
from lesionseg.data.sources import list_files
from lesionseg.deploy.deploy_config import default_deploy_config, input_size, load_deploy_config, thresholds
from lesionseg.deploy.float16 import to_float16
from lesionseg.deploy.graph import finish, simplify
from lesionseg.deploy.mask_rcnn import export_mask_rcnn
from lesionseg.deploy.parity import Parity, Thresholds, compare, difference_picture
from lesionseg.deploy.segmentor import export_segmentor
from lesionseg.deploy.upstream import Upstream
from lesionseg.engine.config import Options
from lesionseg.engine.families import SEMANTIC, family_of
from lesionseg.engine.progress import describe_model
from lesionseg.engine.screen import screen
from lesionseg.errors import DataError, first_names
from lesionseg.files import file_sha256, lock_folder, scratch_folder, write_bytes, write_text
from lesionseg.inference.inputs import find_inputs
from lesionseg.inference.network import Network
from lesionseg.inference.opening import MODEL_FILE, open_model
from lesionseg.inference.prepare import prepare, resized_size
from lesionseg.inference.runtimes.model import Model
from lesionseg.inference.runtimes.model_card import ModelCard
from lesionseg.inference.runtimes.torch_model import TorchModel
from lesionseg.pixels.pictures import picture_size, read_image
from lesionseg.workers import usable_cores

UNPROVEN_FILE = "model.unproven.onnx"
# All that an export may leave. An earlier one's would be taken for the new one's.
_FILES = (
    MODEL_FILE,
    UNPROVEN_FILE,
    "deploy.json",
    "parity.json",
    "parity_worst.jpg",
)
PRECISIONS = ("float32", "float16")
_PARITY_IMAGES = 50
# Of which a simplified graph has to have the same outputs, bit by bit.
_EXAMPLES = 3
# (height, width) of the input while a detector is traced. It has no meaning for the result.
_TRACED = (192, 256)
# (height, width): landscape, portrait, square, and one larger than any input.
_PHANTOMS = [(450, 600), (600, 450), (512, 512), (767, 1022), (288, 384), (1200, 1600), (360, 640), (500, 400)]


@dataclass(frozen=True)
class Export:
    """What an export is to become.

    Attributes:
        options: config and flags.
        checkpoint: a `.pth` file.
        out: the folder to write to.
        deploy_config: a file of configs/deploy; None takes the one for onnxruntime and inputs of any size.
        precision: one of `PRECISIONS`.
        parity_images: files, folders or patterns of images to prove it on; none takes up to 50 of the config's
            validation set, or of the options' split, or phantoms where they are not there.
        threads: CPU threads of both engines in the comparison; None takes all cores.
        overwrite: replace an earlier export.
    """

    options: Options
    checkpoint: str
    out: Path
    deploy_config: str | None = None
    precision: str = "float32"
    parity_images: Sequence[str] = ()
    threads: int | None = None
    overwrite: bool = False


def export(job: Export) -> Parity:
    """Write `model.onnx`, `deploy.json`, `parity.json` and `parity_worst.jpg`.

    Raises:
        DataError: the config, the checkpoint, the deploy config or the folder cannot be used, another run writes
            into it, or the exported model is not like the original. Then it is called `model.unproven.onnx`.
    """
    with screen.calm(job.options.verbose):
        return _export(job)


def _export(job: Export) -> Parity:
    _check_out(job.out, job.overwrite)
    given = find_inputs(job.parity_images) if job.parity_images else None
    for note in given.notes if given else []:
        screen.tell(note, "note")
    with screen.held_back():
        original = TorchModel(job.options, job.checkpoint, "cpu")
    screen.tell(f"exporting {describe_model(original.module)}")
    deploy_cfg = load_deploy_config(job.deploy_config or default_deploy_config(original.card), original.card)
    engine = deploy_cfg.backend_config.type
    package = engine.split("-")[0]
    card = replace(
        original.card,
        input_size=input_size(deploy_cfg),
        precision=job.precision,
        versions={**original.card.versions, "onnx": version("onnx"), package: version(package)},
    )
    with lock_folder(job.out, "export"), scratch_folder(job.out) as scratch:
        _check_out(job.out, job.overwrite)
        model = scratch / MODEL_FILE
        images = (
            [image.path for image in given.images]
            if given
            else _config_images(original.cfg, "test" if job.options.split else "val", scratch)
        )
        _check_images(images, card)
        _write_model(model, original, deploy_cfg, card, images)
        parity, picture = _prove(model, original, engine, thresholds(deploy_cfg), images, job)
        for name in _FILES:
            (job.out / name).unlink(missing_ok=True)
        write_text(job.out / "parity.json", parity.to_json())
        write_bytes(job.out / "parity_worst.jpg", picture)
        if not parity.passed:
            os.replace(model, job.out / UNPROVEN_FILE)
            raise DataError(f"{job.out / UNPROVEN_FILE}: {_shortfall(parity)}")
        write_text(job.out / "deploy.json", _description(model, card, engine))
        os.replace(model, job.out / MODEL_FILE)
    return parity


def _check_out(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, expected a folder to write to. Choose another.")
    if folders := [str(out / name) for name in _FILES if (out / name).is_dir()]:
        raise DataError(
            f"{first_names(folders)}: a folder, expected a place for a file. Move it away, or choose another --out."
        )
    # A proof that failed leaves nothing of worth.
    if not overwrite and any(os.path.lexists(out / name) for name in (MODEL_FILE, "deploy.json")):
        raise DataError(f"{out}: holds an export already, expected an empty folder. Add --overwrite or choose another.")


def _check_images(images: Sequence[Path], card: ModelCard) -> None:
    """Raise DataError for images that cannot be read or prepared, before the minutes that all else takes."""
    faults = []
    for image in images:
        try:
            resized_size(*picture_size(image), card)
        except DataError as error:
            fault = str(error)
            faults.append(fault if fault.startswith(f"{image}: ") else f"{image}: {fault}")
    if faults:
        raise DataError(*faults)


def _write_model(path: Path, original: TorchModel, deploy_cfg: Config, card: ModelCard, images: Sequence[Path]) -> None:
    """Export, simplify, reduce the precision if asked to, and add the card."""
    raw, simple, reduced = (path.with_name(name) for name in ("raw.onnx", "simple.onnx", "reduced.onnx"))
    if card.task == SEMANTIC:
        export_segmentor(original.module, raw, deploy_cfg)
    else:
        export_mask_rcnn(original.module, deploy_cfg, raw, card.input_size or _TRACED)
    examples = [prepare(read_image(image), card).tensor[None] for image in images[:_EXAMPLES]]
    last = simple if simplify(raw, simple, examples) else raw
    if card.precision == "float16":
        to_float16(last, reduced)
        last = reduced
    finish(last, path, card)


def _prove(
    path: Path, original: TorchModel, engine: str, thresholds: Thresholds, images: Sequence[Path], job: Export
) -> tuple[Parity, bytes]:
    """Compare an exported file with its original: the report, and a picture of the worst image."""
    threads = job.threads or usable_cores()
    torch.set_num_threads(threads)
    exported = Network(open_model(path, engine, threads))
    upstream = Upstream(original.module, exported.card)
    results = compare(upstream, exported, images, thresholds)
    parity = Parity(original.card.task, engine, thresholds, results, megabytes=path.stat().st_size / 1e6)
    if parity.passed:
        parity = replace(parity, **_measure(path, original, exported.model, engine, parity.typical, threads, job))
    return parity, difference_picture(upstream, exported, parity.worst.image)


def _measure(
    path: Path, original: TorchModel, exported: Model, engine: str, image: str, threads: int, job: Export
) -> dict:
    """Time both on one image, and take their memory: what a `Parity` has of it."""
    screen.tell(f"timing both on {threads} threads, and their memory, on {Path(image).name}")
    batch = prepare(read_image(image), exported.card).tensor[None]
    latency = latencies({"pytorch": original, engine: exported}, batch)
    with screen.quiet_children():
        memory = {
            "pytorch": peak_memory(TorchModel, [job.options, job.checkpoint, "cpu"], threads, image),
            engine: peak_memory(open_model, [path, engine, threads], threads, image),
        }
    return dict(threads=threads, latency=latency, peak_memory=memory)


def _shortfall(parity: Parity) -> str:
    asked, images = parity.thresholds, parity.images
    if parity.task == SEMANTIC:
        what = f"{parity.agreement:.4%} of the pixels agree with PyTorch, expected at least {asked.min_agreement:.4%}"
    else:
        missed = sum(image.detections - image.matched for image in images)
        what = (
            f"{missed} detections above {asked.min_score} have no twin in the other model that overlaps by "
            f"{asked.min_mask_iou}, expected none"
        )
    worst = f"it differs most on {parity.worst.image}, see parity_worst.jpg"
    return f"{what}; {worst}. Do not use it; try a higher precision."


def _description(model: Path, card: ModelCard, engine: str) -> str:
    return json.dumps(dict(asdict(card), engine=engine, file=MODEL_FILE, sha256=file_sha256(model)), indent=2) + "\n"


def _config_images(cfg: Config, loader: str, scratch: Path) -> list[Path]:
    """Up to 50 images of a config's loader, `val` or `test`, spread over them, or else phantoms."""
    images = _split_images(cfg, loader, _PARITY_IMAGES)
    if images:
        return images
    screen.tell("No images of the config there: comparing on drawn phantoms. --parity-images takes others.")
    for number, size in enumerate(_PHANTOMS):
        images.append(scratch / f"phantom_{number}.png")
        cv2.imwrite(str(images[-1]), draw_phantom(number, *size)[0])
    return images


def _split_images(cfg: Config, split: str, most: int) -> list[Path]:
    """Up to so many images of a split, spread over it evenly."""
    dataset = cfg[f"{split}_dataloader"].dataset
    prefix = dataset.data_prefix
    folder = Path(dataset.data_root) / prefix[family_of(cfg).image_prefix]
    files = list_files(folder) if folder.is_dir() else []
    images = [folder / file.name for file in files if is_picture(file.name)]
    return images if len(images) <= most else [images[len(images) * number // most] for number in range(most)]
