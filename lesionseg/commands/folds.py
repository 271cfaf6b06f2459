"""Settles what `tools/folds.py` is to do before anything runs: configs, images and folds."""

import hashlib
import json
from pathlib import Path

from mmengine.config import Config

import lesionseg.openmmlab  # noqa: F401
from lesionseg.commands.fold_plan import Choice, Job, Labelled, Plan
from lesionseg.data.datasets.preflight import check_masks
from lesionseg.data.names import find_masks
from lesionseg.data.release.data_set_folder import read_groups_of
from lesionseg.data.release.folds import FOLDS, assign_folds, folds_text, read_folds
from lesionseg.engine.before_run import backbone_weights
from lesionseg.engine.config import SUBSET, Options, check_schedule, load_config, told_as_misfit
from lesionseg.engine.families import family_of
from lesionseg.engine.resuming import training_settings
from lesionseg.engine.work_dir import config_path
from lesionseg.errors import DataError, first_names
from lesionseg.files import file_sha256, real_path, write_text
from lesionseg.inference.inputs import find_inputs


def make_plan(choice: Choice) -> Plan:
    """Settle everything; nothing is written but `folds.csv`.

    Folds are of the training images. Those of the validation do not join: where there is no test, they are it.

    Raises:
        DataError: a config cannot be used, or not with the others; images are missing; the work_dir holds other folds.
        OSError: a file cannot be read or written.
    """
    names = [Path(config_path(config)).stem for config in choice.configs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{first_names(twice)}: given twice, expected every config once. Leave one out.")
    path = choice.work_dir / FOLDS
    cfgs = [_load(choice, config) for config in choice.configs]
    labelled, places = _find_images(cfgs[0], "train_dataloader"), [_places(cfg) for cfg in cfgs]
    if others := [name for name, place in zip(names, places, strict=True) if place != places[0]]:
        raise DataError(
            f"{first_names(others)}: other images than {names[0]} has, expected the same for all configs. Set "
            "data_root (--cfg-options data_root=DIR)."
        )
    tested_cfg, split = cfgs[0], Path(places[0][1]).name
    if not Path(places[0][1]).is_dir():
        split = "validation"
        tested_cfg = load_config(Options(choice.configs[0], cfg_options=choice.cfg_options, split=split))
    tested = _find_images(tested_cfg, "test_dataloader")
    ids = [image.id for image in labelled.images]
    folds = assign_folds(ids, read_groups_of(cfgs[0].train_dataloader.dataset.data_root), choice.folds, choice.seed)
    if path.is_file() and read_folds(path, folds) != folds:
        raise DataError(
            f"{path}: other folds than those of now, expected the same images, groups, --folds and --seed as before. "
            "Give them, or choose another --work-dir."
        )
    for images, name in ((labelled, "training"), (tested, split)):
        check_masks([(str(image.path), str(images.masks[image.id])) for image in images.images], name)
    write_text(path, folds_text(folds))
    masks = [file_sha256(labelled.masks[id]) for id in ids]
    jobs: list[Job] = []
    for model, (config, cfg) in enumerate(zip(choice.configs, cfgs, strict=True)):
        start = _sha256(backbone_weights(cfg), cfg.get("load_from"), cfg.get("randomness"), masks)
        settings = _sha256(start, training_settings(cfg), _sizes(labelled), file_sha256(path))
        looks = _sha256(cfg.model.get("test_cfg"), cfg.test_dataloader.dataset.pipeline, _sizes(labelled, tested))
        for fold in range(choice.folds):
            folder = choice.work_dir / names[model] / f"fold_{fold}"
            options = Options(
                config, str(folder), cfg_options=(*choice.cfg_options, f"fold={path}:{fold}"), amp=choice.amp
            )
            jobs.append(Job(len(jobs), model, fold, folder, options, start, settings, looks))
    tasks = tuple(family_of(cfg).task for cfg in cfgs)
    return Plan(choice, tuple(names), tasks, tuple(jobs), labelled, tested, split, folds)


def _sha256(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _sizes(*splits: Labelled) -> list[tuple[str, int]]:
    """What tells images from other ones, wherever they lie: their ids and the sizes of their files in bytes."""
    return [(image.id, image.path.stat().st_size) for images in splits for image in images.images]


def _load(choice: Choice, config: str) -> Config:
    if taken := [option for option in choice.cfg_options if option.partition("=")[0] in SUBSET]:
        raise DataError(
            f"--cfg-options {first_names(taken)}: chooses training images, expected the folds to do so. Leave it out."
        )
    cfg = load_config(Options(config, cfg_options=choice.cfg_options, amp=choice.amp))
    with told_as_misfit(config):
        check_schedule(cfg, config)
        family_of(cfg)
        if cfg.train_dataloader.dataset.get("findings"):
            raise DataError(f"{config}: tells several findings apart, expected one lesion. Name another config.")
    return cfg


def _places(cfg: Config) -> tuple[str, str]:
    """The folders of the images that are trained on and tested on."""
    prefix = family_of(cfg).image_prefix
    train, test = (
        str(real_path(Path(cfg[loader].dataset.data_root, cfg[loader].dataset.data_prefix[prefix])))
        for loader in ("train_dataloader", "test_dataloader")
    )
    return train, test


def _find_images(cfg: Config, loader: str) -> Labelled:
    dataset, family = cfg[loader].dataset, family_of(cfg)
    folder = Path(dataset.data_root, dataset.data_prefix[family.image_prefix])
    # MMDetection's training sets read no masks.
    masks = dataset.data_prefix.get(family.mask_prefix) or f"annotations/{folder.name}"
    inputs = find_inputs([str(folder)])
    images = tuple(sorted(inputs.images, key=lambda image: image.id))
    return Labelled(images, find_masks(Path(dataset.data_root, masks), [image.id for image in images]))
