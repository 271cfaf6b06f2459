"""`--cfg-options`: what was typed -> settings of a config that something reads, of their type and in their range."""

import ast
import inspect
import math
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from lesionseg.errors import DataError, first_names

if TYPE_CHECKING:
    from mmengine.config import Config

# What is read at the top of a config, beside what MMEngine's Runner takes: by load_config, train, test and MMDeploy.
# All else there is a variable, of which MMEngine has long made copies.
_READ = (
    *(
        "data_root",
        "max_iters",
        "train_fraction",
        "train_fraction_seed",
        "train_list",
        "fold",
        "new_parts",
        "find_unused_parameters",
        "model_wrapper_cfg",
        "tta_model",
        "tta_pipeline",
    ),
    *("activation_checkpointing", "efficient_conv_bn_eval", "compile", "cuda_graph"),
)
# What the tools' own flags set, whatever a config says.
_FLAGS = ("resume", "launcher")
# Where settings without a `type` may have more than they have: by the end of the section's name.
_TAKES = {
    "dataloader": ("dataset", "sampler", "batch_sampler", "worker_init_fn", "collate_fn", "num_batch_per_epoch"),
    "paramwise_cfg": (
        *("custom_keys", "bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "flat_decay_mult", "bypass_duplicate"),
        *("dwconv_decay_mult", "dcn_offset_lr_mult"),
    ),
    "clip_grad": ("max_norm", "norm_type", "error_if_nonfinite", "clip_value", "type"),
    "randomness": ("seed", "diff_rank_seed", "deterministic"),
    "env_cfg": ("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"),
    "mp_cfg": ("mp_start_method", "opencv_num_threads"),
    "dist_cfg": ("backend", "timeout"),
    "log_processor": ("window_size", "by_epoch", "custom_cfg", "num_digits", "log_with_hierarchy", "mean_pattern"),
    "auto_scale_lr": ("enable", "base_batch_size"),
    "test_cfg": ("mode", "stride", "crop_size", "rpn", "rcnn", "type", "fp16"),
    "rcnn": ("score_thr", "nms", "max_per_img", "mask_thr_binary"),
    "metainfo": ("classes", "palette"),
    "data_prefix": ("seg", "seg_map_path"),
}
_FREE = ("custom_keys", "init_kwargs")
# Whole numbers, and the range of each.
_WHOLE = {
    **dict.fromkeys(("max_iters", "batch_size", "val_interval", "num_queries", "num_classes", "patience"), (1, 10**9)),
    **dict.fromkeys(("base_batch_size", "accumulative_counts", "prefetch_factor", "end", "window_size"), (1, 10**9)),
    **dict.fromkeys(("begin", "val_begin", "save_begin"), (0, 10**9)),
    **dict.fromkeys(("interval", "max_keep_ckpts"), (-1, 10**9)),
    "num_workers": (0, 1024),
    **dict.fromkeys(("seed", "train_fraction_seed"), (0, 2**32 - 1)),
}
_NEVER_NEGATIVE = ("lr", "weight_decay", "momentum", "start_factor", "eta_min", "power", "max_norm", "minutes")
# On or off, in sections that say nothing of their settings' types.
_SWITCHES = (
    *("deterministic", "diff_rank_seed", "find_unused_parameters", "cudnn_benchmark", "enable", "by_epoch"),
    "cuda_graph",
)
# What names files, folders and parts is taken as it was typed.
_AS_TYPED = re.compile(
    r"root|file|path|dir|prefix|name|from|type|checkpoint|_list$|^(img|seg|monitor|save_best|mode|fold)$"
)


def apply_options(cfg: "Config", options: Sequence[str], config: str) -> dict[str, Any]:
    """Lay what was typed after `--cfg-options` over a config, in place.

    Args:
        cfg: the config.
        options: `KEY=VALUE` each.
        config: path of the config, for messages.

    Returns:
        the settings by their full names.

    Raises:
        DataError: no such setting, nothing reads it, or the value is of another type or out of range.
    """
    settings = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals or not re.fullmatch(r"\w+(\.[\w-]+)*", key):
            raise DataError(f"--cfg-options {option}: not KEY=VALUE, expected such as a=1 b.c=2. Correct it.")
        settings[key] = value = _read(cfg, key, text, config)
        # MMEngine refuses to lay a section over None.
        whole = isinstance(value, dict) and _is_none(cfg, key)
        cfg.merge_from_dict({key: dict(value, _delete_=True) if whole else value})
    return settings


def _is_none(cfg: "Config", key: str) -> bool:
    """Whether a config has a setting that says None."""
    *parents, last = key.split(".")
    section: Any = cfg
    for part in parents:
        section = section[int(part) if isinstance(section, list | tuple) else part]
    return not isinstance(section, list | tuple) and section.get(last, "") is None


def _read(cfg: "Config", key: str, text: str, config: str) -> Any:
    """Check that there is a setting, and read its value."""
    parts = key.split(".")
    first = parts[0]
    if first in _FLAGS:
        raise DataError(f"--cfg-options {key}: set by a flag, expected --{first}. Give that instead.")
    if first not in read_keys() or (first == "data_preprocessor" and "data_preprocessor" in (cfg.get("model") or {})):
        raise _unknown(cfg, key, config)
    section: Any = cfg
    for number, part in enumerate(parts):
        if isinstance(section, list | tuple):
            if not part.isdigit() or int(part) >= len(section):
                raise _unknown(cfg, key, config)
            section = section[int(part)]
        elif isinstance(section, dict) or section is cfg:
            if part not in section:
                if number and not _takes(section, parts[:number], part, cfg):
                    raise _unknown(cfg, key, config)
                if parts[number - 1] == "custom_keys" and parts[number + 1 :] not in ([], ["lr_mult"], ["decay_mult"]):
                    raise _unknown(cfg, key, config)
                section = _default(section, parts[:number], part, cfg) if number == len(parts) - 1 else None
                break
            section = section[part]
        elif section is None:
            parent, rest = ".".join(parts[:number]), ".".join(parts[number:])
            raise DataError(
                f"--cfg-options {key}: {parent} is None in {config}, expected a section with settings. Give it whole, "
                f"such as \"{parent}={{'{rest}': ...}}\"."
            )
        else:
            raise _unknown(cfg, key, config)
    return _checked(key, text, _parsed(parts[-1], text, section), section, cfg)


def read_keys() -> set[str]:
    """The names at the top of a config that something reads."""
    from mmengine.runner import Runner

    return {*inspect.signature(Runner.__init__).parameters, *_READ} - {"self", "cfg"}


def _takes(section: dict, names: list[str], key: str, cfg: "Config") -> bool:
    """Whether a section may have a setting that it does not have yet."""
    name = next((name for name in reversed(names) if not name.isdigit()), "")
    if name in _FREE:
        return True
    if name == "default_hooks":
        return key in (
            "runtime_info",
            "timer",
            "logger",
            "param_scheduler",
            "checkpoint",
            "sampler_seed",
            "visualization",
        )
    if owner := _owner(section, name, cfg):
        return key in _parameters(owner) or (name.endswith("dataloader") and key in _TAKES["dataloader"])
    if "type" in section:
        return True
    ending = next((ending for ending in _TAKES if name.endswith(ending)), None)
    return ending is not None and key in _TAKES[ending]


def _default(section: dict, names: list[str], key: str, cfg: "Config") -> Any:
    """The value of a setting that a section does not have yet, as the class that takes it says; else None."""
    owner = _owner(section, next((name for name in reversed(names) if not name.isdigit()), ""), cfg)
    default = _parameters(owner).get(key) if owner else None
    return None if default is inspect.Parameter.empty else default


def _owner(section: dict, name: str, cfg: "Config") -> type | None:
    """What a section's settings are passed to, where it is known."""
    if "type" in section or name == "optim_wrapper":
        return _class_of(str(section.get("type", "OptimWrapper")), cfg)
    if name.endswith("dataloader"):
        from torch.utils.data import DataLoader

        return DataLoader
    return None


def _parameters(owner: type) -> dict[str, Any]:
    """What a class and those that it passes its other arguments on to are made with, and their defaults."""
    found: dict[str, Any] = dict.fromkeys(("type", "_scope_", "priority"))
    for base in inspect.getmro(owner) if inspect.isclass(owner) else [owner]:
        function = base.__dict__.get("__init__") if inspect.isclass(base) else base
        if function is not None and base is not object:
            parameters = inspect.signature(function).parameters.values()
            found = {each.name: each.default for each in parameters} | found
            if not any(each.kind is each.VAR_KEYWORD for each in parameters):
                break
    return found


def _registries(cfg: "Config") -> Iterator[Any]:
    from importlib import import_module

    from mmengine.registry import Registry

    for scope in dict.fromkeys((cfg.get("default_scope") or "mmengine", "mmengine", "mmdet", "mmseg")):
        module = import_module(f"{scope}.registry")
        yield from (each for each in vars(module).values() if isinstance(each, Registry))


def _class_of(name: str, cfg: "Config") -> type | None:
    found = (registry.get(name) for registry in _registries(cfg))
    return next((each for each in found if each is not None), None)


def _parsed(leaf: str, text: str, old: Any) -> Any:
    """The value that a text means, as an alternative to `old`."""
    if _AS_TYPED.search(leaf) and (old is None or isinstance(old, str)):
        return None if text in ("None", "none") else text
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    if isinstance(old, list | tuple):
        from mmengine.config import DictAction

        try:
            return DictAction._parse_iterable(text)
        except AssertionError:
            return text
    return text


def _checked(key: str, text: str, value: Any, old: Any, cfg: "Config") -> Any:
    """The value, where it is one for this setting."""
    leaf = key.rpartition(".")[2]
    fault = _fault(leaf, value, old)
    if fault is None and leaf == "type" and isinstance(value, str) and _class_of(value, cfg) is None:
        alike = [registry for registry in _registries(cfg) if old in registry.module_dict]
        names = sorted({name for registry in alike or _registries(cfg) for name in registry.module_dict})
        near = get_close_matches(value, names, n=3, cutoff=0.5)
        fault = f"a type that is registered, such as {first_names(near or [str(old)])}"
    if fault:
        raise DataError(f"--cfg-options {key}={text}: not usable, expected {fault}. Correct it.")
    return value


def _fault(leaf: str, value: Any, old: Any) -> str | None:
    """What is expected in the place of a value; None where it is right."""
    if leaf in _WHOLE:
        least, most = _WHOLE[leaf]
        if value is None and old is None:
            return None
        if type(value) is not int or not least <= value <= most or (leaf == "interval" and value == 0):
            return f"a whole number from {least if least else 0}{'' if most > 10**8 else f' to {most}'}" + (
                ", and not 0" if leaf == "interval" else ""
            )
    if not _all_finite(value):
        return "finite numbers"
    if leaf in _NEVER_NEGATIVE and isinstance(value, int | float) and value < 0:
        return "a number, 0 or more"
    if leaf == "pipeline" and not value:
        return "at least one step"
    if value is None or (old is None and leaf not in _SWITCHES):
        return None
    if isinstance(old, bool) or leaf in _SWITCHES:
        return None if isinstance(value, bool) else "True or False"
    if isinstance(old, int | float) and (isinstance(value, str | bool)):
        return f"a number, such as {old}"
    if isinstance(old, dict) and not isinstance(value, dict):
        return f"its settings one by one, such as those of {first_names(list(old), 3)}, or None"
    return None


def _all_finite(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_all_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _unknown(cfg: "Config", key: str, config: str) -> DataError:
    names = [name for top in cfg if top in read_keys() for name in _names(top, cfg[top])]
    names += [name for name in _READ if name not in cfg]
    if "data_preprocessor" in (cfg.get("model") or {}):
        names = [name for name in names if not name.startswith("data_preprocessor")]
    leaf = key.rpartition(".")[2]
    near = [name for name in names if name.rpartition(".")[2] == leaf]
    near.sort(key=lambda name: -_likeness(name, key))
    near = near or get_close_matches(key, names, n=3, cutoff=0.5) or get_close_matches(leaf, names, n=3, cutoff=0)
    return DataError(
        f"{config}: --cfg-options {key}: nothing reads such a setting, expected one of the config's, such as "
        f"{first_names(near, 3)}. Give its full name."
    )


def _likeness(name: str, key: str) -> int:
    """How many parts of two names agree from the end on; then what trains goes first."""
    one, other = name.split(".")[::-1], key.split(".")[::-1]
    same = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return 2 * same + name.startswith(("train", "optim"))


def _names(name: str, value: Any) -> Iterator[str]:
    yield name
    if isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            if not isinstance(value, list | tuple) or isinstance(part, dict):
                yield from _names(f"{name}.{key}", part)
