"""Skin-lesion segmentation with OpenMMLab.

Importing this package is cheap and enough to use mmcv without compiled operators.
`import lesionseg.openmmlab` registers the data sets, transforms, metrics and hooks.
"""

import importlib
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lesionseg.inference import Segmenter

__version__ = "0.1.0"
__all__ = ["Segmenter"]


def __getattr__(name: str) -> Any:
    """Import `Segmenter`, and all that it needs, when it is asked for."""
    if name == "Segmenter":
        return importlib.import_module("lesionseg.inference").Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _OperatorFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers `import mmcv._ext`, mmcv's compiled operators, with `lesionseg.ops`."""

    serves = "mmcv._ext"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == self.serves:
            return importlib.machinery.ModuleSpec(fullname, self, origin="lesionseg.ops")
        return None

    def exec_module(self, module: ModuleType) -> None:
        operators = importlib.import_module("lesionseg.ops")
        vars(module).update({name: getattr(operators, name) for name in operators.__all__})
        vars(module)["__getattr__"] = operators.__getattr__


# Albumentations asks a server for its newest version when it is imported, which OpenMMLab does.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

# The last place: an operator module that was really compiled is found before this is asked.
if not any(getattr(finder, "serves", None) == _OperatorFinder.serves for finder in sys.meta_path):
    sys.meta_path.append(_OperatorFinder())
