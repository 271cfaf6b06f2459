"""Config and flags -> the settings of a run."""

import argparse
import os
import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesionseg.engine.families import family_of
from lesionseg.engine.options import apply_options
from lesionseg.engine.work_dir import config_path, describe_missing_config
from lesionseg.errors import DataError, is_out_of_memory
from lesionseg.files import open_file, real_path

if TYPE_CHECKING:
    from mmengine.config import Config, ConfigDict

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
# Which images are trained on, and the same in `lesionseg.data.datasets.subset`.
SUBSET = {"train_fraction": "fraction", "train_fraction_seed": "seed", "train_list": "list_file", "fold": "fold"}


@dataclass(frozen=True)
class Options:
    """What the flags of `tools/train.py` and `tools/test.py` have in common; see their `--help`.

    `config` is a path, the name of one of this package's configs, or the work_dir of a training, and becomes its path.
    `split` is which images a test or an export takes in place of those of the config.

    Example:
        >>> options = Options("config.py", cfg_options=["data_root=data/MINE", "max_iters=5000"], amp=True)
        >>> options.work_dir  # None: what the config says, or work_dirs/config
    """

    config: str
    work_dir: str | None = None
    cfg_options: Sequence[str] = ()
    launcher: str = "none"
    local_rank: int | None = None
    amp: bool = False
    trust_checkpoint: bool = False
    verbose: bool = False
    split: str | None = None

    def __post_init__(self) -> None:
        if self.work_dir is None and os.path.isdir(self.config):
            # Of a training that may have moved since: what its config says of it may be old.
            object.__setattr__(self, "work_dir", self.config)
        object.__setattr__(self, "config", config_path(self.config))

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Options":
        """Take the flags that `lesionseg.cli.add_config_arguments` or `add_run_arguments` made.

        Raises:
            DataError: there is no such config, which is told before anything heavy is imported.
        """
        options = cls(**{name: value for name, value in vars(args).items() if name in cls.__dataclass_fields__})
        options.check_path()
        return options

    def check_path(self) -> None:
        """Raise DataError where there is no such config."""
        if not Path(self.config).is_file():
            raise DataError(describe_missing_config(self.config))


def load_config(options: Options) -> "Config":
    """Load a config and lay the flags over it.

    `--cfg-options data_root=... max_iters=...` reach everything that repeats them: in MMEngine the variables
    of a config are not links, so that setting these alone would silently change nothing.

    Raises:
        DataError: no such file, it does not load, or the flags do not fit it.

    Example:
        >>> path = "configs/mask2former/mask2former_r50_1xb4-20k_isic2018-512x512.py"
        >>> cfg = load_config(Options(path, cfg_options=["max_iters=5000"]))
        >>> cfg.train_cfg.max_iters, cfg.work_dir
        (5000, 'work_dirs/mask2former_r50_1xb4-20k_isic2018-512x512')
    """
    options.check_path()
    # Not before the path was looked at: it takes most of a second, and what a config imports, several.
    from mmengine.config import Config

    find_mmseg()
    path = Path(options.config)
    try:
        _check_bases(path)
        cfg = Config.fromfile(path)
    except DataError:
        raise
    except (Exception, SystemExit) as error:  # A config is code: it can fail in any way.
        raise DataError(
            f"{path}: does not load ({describe_error(error)}), expected a config in Python, as UTF-8 without a BOM, "
            "whose bases are there. Mend the config."
        ) from error
    # MMEngine writes the config into every checkpoint, and laying it out nicely takes it a second each time.
    object.__setattr__(cfg, "_format_python_code", False)
    with told_as_misfit(str(path)):
        _release_coco_metrics(cfg)
        settings = apply_options(cfg, options.cfg_options, str(path))
        _bind(cfg, settings, options)
    return cfg


def _check_bases(path: Path, above: Sequence[Path] = ()) -> None:
    """Raise DataError where a config's bases lead back to it, which MMEngine follows a thousand times."""
    from mmengine.config import Config

    place = real_path(path)
    if place in above:
        raise DataError(
            f"{above[0]}: does not load (its _base_ leads back to {path}), expected bases that end. Name another."
        )
    # Those of OpenMMLab's packages, `mmseg::...`, and those that are not there are MMEngine's to find.
    for base in Config._get_base_files(str(path)) if path.is_file() else []:
        if "::" not in base:
            _check_bases(path.parent / base, (*above, place))


@contextmanager
def told_as_misfit(config: str) -> Iterator[None]:
    """Tell in one line, by DataError, what settings that fit no model, data set or machine make the block raise."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if (isinstance(error, OSError) and error.strerror is not None) or is_out_of_memory(error):
            raise
        raise DataError(
            f"{config}: does not run ({describe_error(error)}), expected settings that fit each other, the data and "
            "this machine. Correct it, or what --cfg-options changes in it."
        ) from error


def describe_error(error: BaseException) -> str:
    """What was raised, and what it says, in one line; an assertion without words is told by its own code."""
    if "Original Traceback" in str(error):
        # What a loader process raises arrives with its whole traceback as the message.
        return str(error).strip().splitlines()[-1][:300]
    said = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
    return " ".join(f"{type(error).__name__}: {said}".split())[:300]


def check_checkpoint(path: str | PathLike) -> None:
    """Raise DataError where there is no such checkpoint, nor a folder of masks to be scored in its place.

    A pipe is refused as well, whose end may never come.
    """
    if not Path(path).exists():
        raise DataError(f"{path}: no such checkpoint, expected a .pth file. Train first: tools/train.py CONFIG.")
    if not Path(path).is_dir():
        open_file(path).close()


def find_mmseg() -> None:
    """Let configs inherit from `mmseg::...`: MMEngine looks for the original's distribution, not the fork's."""
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE["mmseg"] = "mmseg"


def check_schedule(cfg: "Config", path: str) -> None:
    """Refuse a training that cannot be resumed exactly, or whose learning rate ends before or after it.

    Raises:
        DataError: it or what changes the learning rate counts epochs, or the schedule does not end with it.
    """
    if "max_iters" not in (cfg.get("train_cfg") or {}):
        raise DataError(
            f"{path}: its training does not count iterations, expected them: only so a resumed training ends as one "
            "that was not stopped. Set train_cfg to an IterBasedTrainLoop, as the configs of this project do."
        )
    length, schedulers = cfg.train_cfg.max_iters, schedulers_of(cfg)
    for scheduler in schedulers:
        # MMEngine counts epochs where it is not told otherwise. A plateau is looked for after each validation.
        if scheduler.get("by_epoch", True) and "Plateau" not in scheduler["type"]:
            raise DataError(
                f"{path}: its {scheduler['type']} counts epochs, expected iterations, as the training does: the "
                "learning rate would never change. Set by_epoch=False in param_scheduler."
            )
    end = schedulers[-1].get("end", length) if schedulers else length
    if end != length:
        raise DataError(
            f"{path}: the learning rate's schedule ends after {end} iterations, expected the {length} of the training. "
            f"Set both by --cfg-options max_iters={length}."
        )


def schedulers_of(cfg: "Config") -> list[dict]:
    """The settings of what changes the learning rate, whether the config has none, one or a list of them."""
    return _as_list(cfg.get("param_scheduler"))


def config_text(cfg: "Config") -> str:
    """The config with all bases and options merged, but for where results go, which says nothing of them."""
    from mmengine.config import Config

    return Config({key: value for key, value in cfg.items() if key != "work_dir"}).pretty_text


def evaluators(cfg: "Config", split: str) -> list[dict]:
    """The settings of a split's metrics, `val` or `test`, whether the config has one or a list of them."""
    return _as_list(cfg.get(f"{split}_evaluator"))


def _as_list(settings: Any) -> list[dict]:
    return list(settings) if isinstance(settings, list | tuple) else [settings] if settings else []


def resizing_step(cfg: "Config", config: str) -> "ConfigDict":
    """The settings of the one step of the test pipeline that changes an image's size.

    Raises:
        DataError: there is none, or another than a card can tell.
    """
    steps = [step for step in cfg.test_dataloader.dataset.pipeline if "size" in step["type"].lower()]
    if len(steps) != 1 or steps[0]["type"] != "Resize" or not steps[0].get("keep_ratio"):
        names = ", ".join(step["type"] for step in steps) or "nothing"
        raise DataError(
            f"{config}: its test pipeline resizes by {names}, expected one Resize(scale=..., keep_ratio=True). "
            "Use the test pipeline of configs/_base_."
        )
    return steps[0]


def is_metric(settings: dict, name: str) -> bool:
    """Whether settings are of a metric of that name, with or without the scope of its registry."""
    return str(settings["type"]).rpartition(".")[2] == name


def _bind(cfg: "Config", settings: dict[str, Any], options: Options) -> None:
    """Let settings and flags reach everything that repeats them or follows from them, in place."""
    if options.split is not None:
        _choose_split(cfg, "test_dataloader", options.split)
    if cfg.get("fold") is not None and cfg.get("val_dataloader"):
        # A fold is of the training images, and what it holds out is what the training validates on.
        training = cfg.train_dataloader.dataset.data_prefix[family_of(cfg).image_prefix]
        _choose_split(cfg, "val_dataloader", Path(training).name)
        cfg.val_dataloader.dataset.subset = dict(fold=cfg.fold, held_out=True)
    if "data_root" in settings:
        for loader in LOADERS:
            if "data_root" in (cfg.get(loader) or {}).get("dataset", {}):
                cfg[loader].dataset.data_root = cfg.data_root
    for loader in LOADERS:
        if cfg.get(loader) and cfg[loader].get("num_workers", 0) == 0:
            # What is for loader processes, torch refuses without any.
            cfg[loader].pop("persistent_workers", None)
            cfg[loader].pop("prefetch_factor", None)
    if cfg.get("visualizer"):
        # Visualisers live on under their name: a second run of the process would log into the first one's folder. The
        # runner gives it a name of its own.
        cfg.visualizer.pop("name", None)
    _bind_coco_metrics(cfg)
    subset = {name: cfg[key] for key, name in SUBSET.items() if cfg.get(key) is not None}
    if subset and cfg.get("train_dataloader"):
        cfg.train_dataloader.dataset.subset = subset
    if "max_iters" in settings and "max_iters" in (cfg.get("train_cfg") or {}):
        _stretch_schedule(cfg, cfg.max_iters)
    if options.amp:
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.loss_scale = "dynamic"
    cfg.launcher = options.launcher
    # The flag goes first, then what the config says, then the config's name.
    cfg.work_dir = str(options.work_dir or cfg.get("work_dir") or Path("work_dirs") / Path(options.config).stem)


def _choose_split(cfg: "Config", loader: str, split: str) -> None:
    """Let a loader's data set be another split of its data set folder, in place."""
    dataset = cfg[loader].dataset
    images = dataset.data_prefix[family_of(cfg).image_prefix]
    configured = Path(images).name
    if not configured:
        raise DataError(
            f"{cfg.filename}: its {loader} has images in {images or 'no folder'!r}, expected images/<split>, as "
            f"tools/convert_isic.py writes them. Leave --split out, and set {loader}.dataset.data_prefix."
        )
    # The name of the split is a part of each path: images/test, annotations/instances_test.json.
    name = re.compile(rf"(?<![A-Za-z0-9]){re.escape(configured)}(?![A-Za-z0-9])")
    for key, value in dataset.data_prefix.items():
        dataset.data_prefix[key] = value and name.sub(split, value)
    if dataset.get("ann_file"):
        dataset.ann_file = name.sub(split, dataset.ann_file)


def _stretch_schedule(cfg: "Config", max_iters: int) -> None:
    """Give a training another length: warm-up, decay and stages keep their shares of it."""
    length = cfg.train_cfg.max_iters
    stages = (hook["stages"] for hook in cfg.get("custom_hooks") or [] if hook["type"] == "TrainingStagesHook")
    for part in (*schedulers_of(cfg), *(stage for hook in stages for stage in hook)):
        for key in ("begin", "end"):
            if key in part:
                # Rounded up, so that no warm-up gets the length zero.
                part[key] = -(-part[key] * max_iters // length)
    # Of a very short training the warm-up is all there is.
    cfg.param_scheduler = [each for each in schedulers_of(cfg) if each.get("begin", 0) < each.get("end", max_iters)]
    cfg.train_cfg.max_iters = max_iters
    cfg.train_cfg.val_interval = min(cfg.train_cfg.val_interval, max_iters)


def _bind_coco_metrics(cfg: "Config") -> None:
    """Let the COCO metrics that name no file read the very one that their data set reads."""
    for settings, file in _coco_metrics(cfg):
        if not settings.get("ann_file"):
            settings["ann_file"] = file


def _release_coco_metrics(cfg: "Config") -> None:
    """Undo `_bind_coco_metrics` in the config of a work_dir: with flags, its data sets may come to read others."""
    for settings, file in _coco_metrics(cfg):
        if settings.get("ann_file") == file:
            del settings["ann_file"]


def _coco_metrics(cfg: "Config") -> Iterator[tuple[dict, str]]:
    """The settings of each COCO metric, and the file that its data set reads."""
    for split in ("val", "test"):
        for settings in evaluators(cfg, split):
            if is_metric(settings, "LesionCocoMetric"):
                dataset = cfg[f"{split}_dataloader"].dataset
                yield settings, os.path.join(dataset.data_root, dataset.ann_file)
