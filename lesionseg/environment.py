"""What is installed here, and how to mend what is wrong: the logic of `tools/check_env.py`.

It has to work where any package is missing or broken, so everything but the standard library is imported late.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from lesionseg.tables import named_values
from lesionseg.workers import usable_cores

ROOT = Path(__file__).resolve().parents[1]
SHOWN = (
    "lesionseg",
    "torch",
    "torchvision",
    "onedl-mmengine",
    "onedl-mmcv",
    "onedl-mmsegmentation",
    "onedl-mmdetection",
    "numpy",
    "opencv-python-headless",
    "albumentations",
    "pycocotools",
)
SHOWN_IF_INSTALLED = (
    "transformers",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "mmdeploy",
    "gradio",
)
# An original and its fork share an import name, so one overwrites files of the other.
FORKS = {
    "mmengine": "onedl-mmengine",
    "mmcv": "onedl-mmcv",
    "mmcv-full": "onedl-mmcv",
    "mmcv-lite": "onedl-mmcv",
    "mmsegmentation": "onedl-mmsegmentation",
    "mmdet": "onedl-mmdetection",
}
OPENCV = "opencv-python-headless"
OTHER_OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


class Fault(NamedTuple):
    """Something wrong with the environment: what, in one line, and the command that mends it."""

    what: str
    command: str


class Report(NamedTuple):
    """What there is, as (label, text), and what is wrong with it."""

    facts: list[tuple[str, str]]
    faults: list[Fault]

    def __str__(self) -> str:
        lines = named_values(self.facts, indent="")
        for number, fault in enumerate(self.faults, 1):
            lines += ["", f"fault {number}: {fault.what}", f"  run: {fault.command}"]
        verdict = {0: "all is well", 1: "1 fault"}.get(len(self.faults), f"{len(self.faults)} faults")
        return "\n".join([*lines, "", verdict])


def inspect_environment() -> Report:
    """Look at the packages, the operators and the machine. Nothing is changed."""
    installed = installed_versions()
    requirements = importlib.metadata.requires("lesionseg") if "lesionseg" in installed else None
    faults = [*requirement_faults(requirements, installed), *original_faults(installed), *opencv_faults(installed)]
    torch, torch_faults = _import("torch", "torch", installed)
    operators, operator_faults = _operators(installed)
    gpus = _nvidia_gpus()
    cuda_works, reason = _cuda(torch)
    facts = [
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        *((name, installed.get(name, "not installed")) for name in SHOWN),
        *((name, installed[name]) for name in SHOWN_IF_INSTALLED if name in installed),
        ("CUDA of torch", getattr(torch.version, "cuda", None) or "none" if torch else "none"),
        ("operators", operators),
        ("GPU", _gpu_names(torch) if torch and cuda_works else "none: the small configs run on the CPU"),
        ("CPU cores", str(usable_cores())),
        ("free disk", f"{shutil.disk_usage('.').free / 1e9:.0f} GB in {os.getcwd()}"),
    ]
    faults += [*torch_faults, *operator_faults]
    if torch and gpus and not cuda_works:
        faults.append(gpu_fault(gpus, torch.version.cuda, os.environ.get("CUDA_VISIBLE_DEVICES"), reason))
    return Report(facts, faults)


def keep_hugging_face_offline() -> None:
    """Have Hugging Face's libraries, when they are imported afterwards, open no connection."""
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")


def compiled_operators() -> ModuleType | None:
    """The module of mmcv's compiled operators, or None where lesionseg.ops stands in for it."""
    return None if operators_in_use() == "lesionseg.ops" else importlib.import_module("mmcv._ext")


def operators_in_use() -> str:
    """Whose operators mmcv calls: `lesionseg.ops`, or the path of the compiled ones."""
    spec = importlib.import_module("mmcv._ext").__spec__
    return (spec and spec.origin) or "unknown"


def installed_versions() -> dict[str, str]:
    """Version of every installed distribution, by its name in lower case with hyphens."""
    # The first one found is the one that Python imports.
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        if name := distribution.metadata["Name"]:
            versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return versions


def requirement_faults(requirements: Iterable[str] | None, installed: Mapping[str, str]) -> list[Fault]:
    """Compare the installed versions with what a distribution requires.

    Args:
        requirements: As the distribution's metadata has them; None where it is not installed.
            Those of an extra count only where the package is there.
        installed: Version by name, as from `installed_versions`.
    """
    if requirements is None:
        return [Fault("lesionseg: is not installed, expected it and what it depends on.", _install("-e", str(ROOT)))]
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return [Fault("packaging: is not installed, expected it to compare versions.", _install("packaging"))]
    faults = []
    for requirement in map(Requirement, requirements):
        wanted = f"{requirement.name}{requirement.specifier}"
        version = installed.get(re.sub(r"[-_.]+", "-", requirement.name).lower())
        optional = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        if requirement.name in OTHER_OPENCV and OPENCV in installed:
            optional = True  # They give the same module.
        if version is None and not optional:
            faults.append(Fault(f"{requirement.name}: is not installed, expected {wanted}.", _install(wanted)))
        elif version is not None and not requirement.specifier.contains(version, prereleases=True):
            faults.append(Fault(f"{requirement.name}: version {version}, expected {wanted}.", _install(wanted)))
    return faults


def original_faults(installed: Mapping[str, str]) -> list[Fault]:
    """Find originals of OpenMMLab, which share their import names with the maintained forks used here."""
    return [
        Fault(
            f"{original}: version {installed[original]} is installed and shares its files with {fork}, "
            f"expected {fork} alone.",
            f"{_uninstall(original)} && {_reinstall(fork)}",
        )
        for original, fork in FORKS.items()
        if original in installed
    ]


def opencv_faults(installed: Mapping[str, str]) -> list[Fault]:
    """Find OpenCV distributions of several versions, which overwrite each other's files."""
    others = [name for name in OTHER_OPENCV if name in installed]
    found = [name for name in (OPENCV, *others) if name in installed]
    if len({installed[name] for name in found}) < 2:
        return []
    versions = " and ".join(f"{name} {installed[name]}" for name in found)
    return [
        Fault(
            f"cv2: {versions} share their files, expected {OPENCV} alone or equal versions.",
            f"{_uninstall(*others)} && {_reinstall(OPENCV)}",
        )
    ]


def gpu_fault(gpus: str, torch_cuda: str | None, visible_devices: str | None, reason: str) -> Fault:
    """Say why torch does not see a GPU that the driver lists.

    Args:
        gpus: The driver's names of the GPUs.
        torch_cuda: The CUDA version that torch was built for, None for a build without CUDA.
        visible_devices: The environment variable CUDA_VISIBLE_DEVICES.
        reason: What torch said, or nothing.
    """
    if torch_cuda is None:
        return Fault(f"torch: a build without CUDA, expected one for {gpus}.", _reinstall_torch())
    if visible_devices is not None:
        fact = f"CUDA_VISIBLE_DEVICES={visible_devices!r} hides {gpus}, expected it unset or the index of a GPU"
        return Fault(f"torch: {fact}.", "unset CUDA_VISIBLE_DEVICES")
    said = f" ({reason})" if reason else ""
    return Fault(f"torch: built for CUDA {torch_cuda} and cannot use {gpus}{said}, expected it to.", _reinstall_torch())


def _import(module: str, distribution: str, installed: Mapping[str, str]) -> tuple[ModuleType | None, list[Fault]]:
    """Import a module. A missing distribution is no fault here, as it is one among the requirements."""
    try:
        return importlib.import_module(module), []
    except Exception as error:
        if distribution not in installed:
            return None, []
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return None, [Fault(f"{module}: fails on import ({said}), expected it to load.", _reinstall(distribution))]


def _operators(installed: Mapping[str, str]) -> tuple[str, list[Fault]]:
    """Say which operators mmcv uses, and what is wrong with them."""
    for module, distribution in (("cv2", OPENCV), ("torchvision", "torchvision"), ("mmcv.ops", "onedl-mmcv")):
        _, faults = _import(module, distribution, installed)
        if faults and module == "torchvision":
            # A build for another torch, or for another CUDA: only a pair loads.
            faults = [fault._replace(command=_reinstall_torch()) for fault in faults]
        if faults or distribution not in installed:
            return "none", faults
    compiled = compiled_operators()
    return f"compiled ({compiled.__file__})" if compiled else "torchvision and plain PyTorch (lesionseg.ops)", []


def _nvidia_gpus() -> str:
    """Names of the GPUs that NVIDIA's driver lists, or nothing."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return ", ".join(line.strip() for line in listed.splitlines() if line.strip())


def _cuda(torch: ModuleType | None) -> tuple[bool, str]:
    """Whether torch can use a GPU, and its warning if it said one."""
    if torch is None:
        return False, ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    return available, " ".join(" ".join(str(warning.message).split()) for warning in caught)


def _gpu_names(torch: ModuleType) -> str:
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return ", ".join(f"{device.name} ({device.total_memory / 2**30:.0f} GiB)" for device in devices)


def _uses_pip() -> bool:
    # uv leaves pip out of the environments it makes.
    return importlib.util.find_spec("pip") is not None


def _python() -> str:
    return shlex.quote(sys.executable)


def _install(*arguments: str) -> str:
    tool = f"{_python()} -m pip install" if _uses_pip() else f"uv pip install --python {_python()}"
    return f"{tool} {shlex.join(arguments)}"


def _uninstall(*names: str) -> str:
    tool = f"{_python()} -m pip uninstall -y" if _uses_pip() else f"uv pip uninstall --python {_python()}"
    return f"{tool} {shlex.join(names)}"


def _reinstall(name: str) -> str:
    option = "--force-reinstall" if _uses_pip() else "--reinstall"
    return _install(option, "--no-deps", _requirement(name))


def _reinstall_torch() -> str:
    # uv picks the builds that suit the installed driver; pip cannot.
    names = ("torch", "torchvision")
    reinstall = [argument for name in names for argument in ("--reinstall-package", name)]
    arguments = shlex.join([*reinstall, "--torch-backend=auto", *map(_requirement, names)])
    command = f"uv pip install --python {_python()} {arguments}"
    return f"{_install('uv')} && {_python()} -m {command}" if _uses_pip() else command


def _requirement(name: str) -> str:
    """A distribution with the range of versions that lesionseg requires, as an installer takes it."""
    try:
        requirements = importlib.metadata.requires("lesionseg") or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []
    ranges = (requirement.partition(";")[0].strip() for requirement in requirements)
    return next((text for text in ranges if re.match(rf"{name}(?![\w.-])", text)), name)
