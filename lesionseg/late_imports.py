"""Packages that OpenMMLab imports for parts that few use: they are imported when what they bring is first used.

For lanes and tracking alone, MMDetection would otherwise load scikit-learn, pandas and numba at every start.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

# Whole, with all modules below them. None is the base of a class, but in code that needs an older transformers.
_LATE = ("albumentations", "imagecorruptions", "imgaug", "matplotlib", "sklearn", "tifffile", "timm")
# Their modules below are said to be missing: MMDetection's import from `transformers.modeling_utils` fails with the
# real one, too, from transformers 5 on, and MMDetection does without.
_LATE_TOP = ("transformers",)


@contextmanager
def late_imports() -> Iterator[None]:
    """While the block runs, let packages that are imported for rare parts wait; afterwards they are as any other.

    One that was imported before stays as it is.
    """
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        finder.end()


class _Finder(MetaPathFinder, Loader):
    """Answers the import of a late package that is installed with a stand-in."""

    def __init__(self) -> None:
        self.names = {name for name in (*_LATE, *_LATE_TOP) if name not in sys.modules}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top = fullname.partition(".")[0]
        if top not in self.names or PathFinder.find_spec(top) is None:
            return None
        return ModuleSpec(fullname, self, is_package=top in _LATE)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _LateModule(spec.name, self)

    def exec_module(self, module: ModuleType) -> None:
        pass

    def end(self, top: str | None = None) -> None:
        """Have one package, or all, imported for real from now on."""
        self.names -= {top} if top else set(self.names)
        if not self.names and self in sys.meta_path:
            sys.meta_path.remove(self)
        for name, module in list(sys.modules.items()):
            if isinstance(module, _LateModule) and name.partition(".")[0] not in self.names:
                del sys.modules[name]


class _LateModule(ModuleType):
    """Stands for a module until one of its parts is used."""

    def __init__(self, name: str, finder: _Finder) -> None:
        super().__init__(name)
        self.__dict__["_finder"] = finder

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        finder = self.__dict__["_finder"]
        if self.__name__.partition(".")[0] in finder.names:
            return _LatePart(self.__name__, name, finder)
        return getattr(importlib.import_module(self.__name__), name)


class _LatePart:
    """Stands for a class or function of a late module."""

    def __init__(self, module: str, name: str, finder: _Finder) -> None:
        self._module, self._name, self._finder = module, name, finder

    def _real(self) -> Any:
        self._finder.end(self._module.partition(".")[0])
        return getattr(importlib.import_module(self._module), self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def __mro_entries__(self, bases: tuple) -> tuple:
        return (self._real(),)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._real())
