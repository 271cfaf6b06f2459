"""A path -> the method that it means. Nothing heavy is imported before it is known which."""

import os
from collections.abc import Sequence
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesionseg.cli import MOST_THREADS
from lesionseg.engine.config import Options, check_checkpoint
from lesionseg.engine.families import family_for
from lesionseg.engine.screen import screen
from lesionseg.engine.work_dir import chosen_checkpoint, config_path
from lesionseg.errors import DataError
from lesionseg.files import file_sha256
from lesionseg.inference.ensemble_card import CARD, EnsembleCard, is_ensemble
from lesionseg.late_imports import late_imports

if TYPE_CHECKING:
    from lesionseg.inference.finder import Finder
    from lesionseg.inference.network import Network
    from lesionseg.inference.runtimes.model import Model

MODEL_FILE = "model.onnx"
# A method by its name. The file or folder of that name is `./otsu-blue`, or a Path of it.
OTSU_BLUE = "otsu-blue"
# OpenVINO computes in bfloat16 on CPUs that have it if it is let.
ENGINES = ONNXRUNTIME, OPENVINO, OPENVINO_BF16 = ("onnxruntime", "openvino", "openvino-bf16")


def open_finder(
    model: str | PathLike,
    checkpoint: str | PathLike | None = None,
    *,
    tta: bool = False,
    min_score: float | None = None,
    instances: str | None = None,
    engine: str = ONNXRUNTIME,
    device: str | None = None,
    threads: int | None = None,
    findings: Sequence[str] = (),
) -> "Finder":
    """Open a method.

    Args:
        model: an ONNX file of `tools/export.py`, the folder that it wrote, a config, the `ensemble` that
            `tools/folds.py` made, a folder of masks, or `otsu-blue`.
        checkpoint: a `.pth` file, for a config.
        tta: of a network, average over the image and its three flipped copies.
        min_score: see `lesionseg.inference.network.Network`.
        instances: see `lesionseg.inference.network.Network`.
        engine: what runs an ONNX file, one of `ENGINES`.
        device: for PyTorch, such as `cpu`; None takes the GPU where there is one.
        threads: CPU threads; None lets the engine choose.
        findings: of masks, which are told apart; a folder in the folder each.

    Raises:
        DataError: there is no such model, or it cannot be used, or the threads are too many.

    Example:
        >>> finder = open_finder("model.onnx", tta=True)
        >>> finder.task
        'semantic'
    """
    model, checkpoint = find_paths(model, checkpoint)
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise DataError(f"threads: {threads}, expected a whole number from 1 to {MOST_THREADS}. Correct it.")
    if is_ensemble(model):
        if min_score is not None or instances is not None:
            raise DataError(
                f"{model}: an ensemble has no instances to choose from, expected a Mask R-CNN. Leave out min_score and "
                "instances (--min-score, --top1)."
            )
        from lesionseg.inference.ensemble import Ensemble
        from lesionseg.inference.quality import open_map, read_quality

        card, folder = EnsembleCard.read(model), Path(model)
        members = []
        for member in card.members:
            weights = folder / member.checkpoint if member.checkpoint else None
            members.append(_open_network(folder / member.model, weights, tta, engine, device, threads))
        maps = read_quality(folder / CARD, file_sha256(folder / CARD))
        return Ensemble(card, members, model, tta, open_map(maps, tta))
    if model == OTSU_BLUE or is_mask_folder(model):
        if tta or min_score is not None or instances is not None:
            raise DataError(
                f"{model}: its masks can be neither averaged nor chosen from, expected a network. Leave out tta, "
                "min_score and instances (--tta, --min-score, --top1)."
            )
        if model == OTSU_BLUE:
            from lesionseg.inference.otsu import OtsuBlue

            return OtsuBlue()
        from lesionseg.inference.mask_folder import MaskFolder

        return MaskFolder(model, findings)
    choice = dict(min_score=min_score, instances=instances)
    return _open_network(model, checkpoint, tta, engine, device, threads, **choice)


def find_paths(
    model: str | PathLike, checkpoint: str | PathLike | None = None
) -> tuple[str | PathLike, str | PathLike | None]:
    """Find what `open_finder` needs, and whether it is there, without importing anything heavy.

    Returns:
        model and checkpoint; of the work_dir of a training, its config, and its best checkpoint where none is given.

    Raises:
        DataError: there is no such model or checkpoint, or one of the two is missing or too many.
    """
    config = config_path(str(model))
    if Path(config).suffix == ".py" and not is_onnx(model):
        if checkpoint is None and os.path.isdir(model):
            checkpoint = chosen_checkpoint(model)
        if checkpoint is None:
            raise DataError(f"{model}: a config alone has no weights, expected a checkpoint, too. Add the .pth file.")
        Options(config).check_path()
        check_checkpoint(checkpoint)
        return config, checkpoint
    if checkpoint is not None:
        raise DataError(f"{model}: needs no checkpoint, but there is {checkpoint}, expected it alone. Leave it out.")
    if is_ensemble(model):
        EnsembleCard.read(model).check_members(model)
    elif model != OTSU_BLUE and not is_mask_folder(model):
        onnx_file(model)
    return model, None


def check_predicting(model: str | PathLike) -> None:
    """Raise DataError for what is no model: masks are a method that can be scored, but nothing is predicted by them."""
    if is_mask_folder(model):
        raise DataError(
            f"{model}: PNG files and no {MODEL_FILE}, expected a model. Give an ONNX file, or the folder that "
            f"tools/export.py wrote; masks are scored by tools/evaluate.py TRUTH {model}."
        )
    if model != OTSU_BLUE and not is_ensemble(model):
        onnx_file(model)


def pair_checkpoints(words: Sequence[str]) -> list[list[str]]:
    """Read the models of a command line, where each config is followed by its checkpoint.

    Example:
        >>> pair_checkpoints(["config.py", "best.pth", "model.onnx"])
        [['config.py', 'best.pth'], ['model.onnx']]
    """
    models: list[list[str]] = []
    for word in words:
        if word.endswith((".pth", ".pt")) and models and len(models[-1]) == 1:
            models[-1].append(word)
        else:
            models.append([word])
    return models


def open_model(path: str | PathLike, engine: str = ONNXRUNTIME, threads: int | None = None) -> "Model":
    """Open an exported model.

    Args:
        path: an ONNX file of `tools/export.py`, or the folder that it wrote.
        engine: one of `ENGINES`.
        threads: CPU threads that one run may use; None for all cores.

    Raises:
        DataError: see `lesionseg.inference.runtimes.onnx_model.OnnxModel`; or no such engine.
    """
    if engine not in ENGINES:
        raise DataError(f"{engine}: no such engine, expected {' or '.join(ENGINES)}. Choose one.")
    file = onnx_file(path)
    from lesionseg.inference.runtimes.onnx_model import OnnxModel, OpenVinoModel

    if engine == ONNXRUNTIME:
        return OnnxModel(file, threads)
    return OpenVinoModel(file, threads, "bf16" if engine == OPENVINO_BF16 else "f32")


def is_onnx(path: str | PathLike) -> bool:
    """Whether a path means an exported model: an ONNX file, or a folder of `tools/export.py`."""
    return Path(path).suffix == ".onnx" or (Path(path) / MODEL_FILE).is_file()


def is_mask_folder(path: str | PathLike) -> bool:
    """Whether a path means masks from elsewhere: a folder that holds PNG files and no model."""
    return (
        Path(path).is_dir()
        and not is_onnx(path)
        and not is_ensemble(path)
        and next(Path(path).rglob("*.png"), None) is not None
    )


def needs_no_config(path: str | PathLike) -> bool:
    """Whether a path is opened by `open_finder` alone: a method, an exported model or a folder, and no checkpoint."""
    return path == OTSU_BLUE or is_onnx(path) or Path(path).is_dir()


def check_tested(path: str | PathLike) -> None:
    """Raise DataError where there is no checkpoint, nor anything else that may be scored in its place."""
    if path != OTSU_BLUE:
        check_checkpoint(path)


def what_computes(path: str | PathLike) -> str:
    """What finds the lesions where a path that needs no config is opened, for a report."""
    if path == OTSU_BLUE:
        import cv2

        return f"OpenCV {cv2.__version__}"
    if is_ensemble(path):
        return "those of each member of the ensemble"
    return f"{ONNXRUNTIME} {version(ONNXRUNTIME)}" if is_onnx(path) else "none: masks from elsewhere"


def what_defines(path: str | PathLike) -> Path:
    """The file or folder whose bytes say what a path means, for a report: of a method, the module that it stands in."""
    if path == OTSU_BLUE:
        return Path(__file__).with_name("otsu.py")
    # Its folder may hold reports, too.
    return Path(path) / CARD if is_ensemble(path) else Path(path)


def onnx_file(path: str | PathLike) -> Path:
    """The ONNX file that a path means.

    Raises:
        DataError: there is none.
    """
    path = Path(path)
    file = path / MODEL_FILE if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        raise DataError(
            f"{path}: a folder without {MODEL_FILE}, expected an exported model. Give the ONNX file, or the folder "
            "that tools/export.py wrote."
        )
    if not file.is_file():
        raise DataError(f"{file}: no such model, expected an ONNX file. Export one: tools/export.py CONFIG CHECKPOINT.")
    if path.suffix in (".pth", ".pt"):
        raise DataError(
            f"{path}: a checkpoint alone, expected its config, too. Give CONFIG CHECKPOINT, or export it: "
            "tools/export.py CONFIG CHECKPOINT."
        )
    return file


def check_task(found: str, expected: str, path: str | PathLike) -> None:
    """Refuse a model of another task than a config's.

    Raises:
        DataError: it is one.
    """
    if found != expected:
        names = {task: family_for(task).purpose for task in (found, expected)}
        raise DataError(
            f"{path}: a model for {names[found]}, expected one for {names[expected]}. Use a config for {names[found]}."
        )


def _open_checkpoint(
    config: str | PathLike, checkpoint: str | PathLike, device: str | None, threads: int | None
) -> "Model":
    # As in lesionseg.openmmlab, which the config imports later.
    with screen.held_back(), late_imports():
        import torch

        from lesionseg.inference.runtimes.torch_model import TorchModel

    if threads:
        torch.set_num_threads(threads)
    if device is not None:
        check_device(device)
    return TorchModel(Options(str(config)), checkpoint, device)


def _open_network(
    model: str | PathLike,
    checkpoint: str | PathLike | None,
    tta: bool,
    engine: str,
    device: str | None,
    threads: int | None,
    **choice: Any,
) -> "Network":
    from lesionseg.inference.network import Network

    opened = _open_checkpoint(model, checkpoint, device, threads) if checkpoint else open_model(model, engine, threads)
    return Network(opened, tta=tta, **choice)


def check_device(device: str) -> None:
    """Raise DataError for a device that torch does not know, or that is not there."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{device}: no such device here ({reason}), expected cpu or cuda. Choose another.") from error
