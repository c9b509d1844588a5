"""Imports of Paddle's libraries that cost less: of paddlenlp, no part is imported before it is asked for.

`import paddlenlp`, which ppdiffusers does, imports servers, tasks, data sets, metrics and tuners along with the
networks, and for them FastAPI, pandas, pyarrow and scikit-learn: more than a second of processor time at the start of
each command, and over 100 MB of memory. After `import_less`, these parts are there as before (`paddlenlp.Taskflow`,
`from paddlenlp import trainer`, `import paddlenlp.datasets`), but are imported when they are first used.

This module imports nothing but Python's own.
"""

import ast
import gc
import importlib
import importlib.abc
import os
import sys
from collections.abc import MutableMapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_DIVIDED = "paddlenlp"
# Parts import one another in two circles, which work from one part of each alone: from the first to be imported, which
# the networks need, and from the one that is imported before each of the other circle.
_FIRST = "data"
_BEFORE = {f"{_DIVIDED}.{name}": f"{_DIVIDED}.prompt" for name in ("trainer", "peft")}
_LIBRARIES = ("paddle", _DIVIDED, "ppdiffusers")
# What scikit-learn sets when it is imported, for all that use Intel's OpenMP, as Paddle does: without the first, a
# fork may crash; with the second, a second copy of it in the process is no error.
_OPENMP = {"KMP_INIT_AT_FORK": "FALSE", "KMP_DUPLICATE_LIB_OK": "True"}


def import_less(environ: MutableMapping[str, str] = os.environ) -> None:
    """Make the imports to come cost less. Libraries that are imported stay as they are. Twice is as good as once."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    for name, value in _OPENMP.items():
        environ.setdefault(name, value)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds Paddle's libraries as the finders behind it do, and parts of paddlenlp by way of what goes before them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in _BEFORE and _BEFORE[name] not in sys.modules:
            importlib.import_module(_BEFORE[name])
            # Python would import it a second time, as it is one that is found only now.
            return ModuleSpec(name, _Imported(sys.modules.pop(name))) if name in sys.modules else None
        if name not in _LIBRARIES:
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Imported(importlib.abc.Loader):
    """Gives a module that was imported while it was looked for: a second one of its name would have other classes."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class WrappedLoader(importlib.abc.Loader):
    """Loads a module as its own loader does, which the module keeps; subclasses say in `execute` what is different."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__.loader = module.__loader__ = self._loader  # type: ignore[union-attr]  # given to what is imported
        self.execute(module)

    def execute(self, module: ModuleType) -> None:
        """Execute a module, whose loader is its own again."""
        self._loader.exec_module(module)


class _Loader(WrappedLoader):
    """Loads a library without the parts of paddlenlp that can wait."""

    def execute(self, module: ModuleType) -> None:
        # All that an import makes stays: looking through it for garbage, again and again, takes a tenth of the time.
        collects = gc.isenabled()
        gc.disable()
        try:
            if not (module.__name__ == _DIVIDED and _execute_without_parts(module, self._loader)):
                super().execute(module)
        finally:
            if collects:
                gc.enable()


def _execute_without_parts(module: ModuleType, loader: Any) -> bool:
    """Execute a package without its relative imports, which become attributes; False if it is not of that form."""
    source = loader.get_source(module.__name__) if hasattr(loader, "get_source") else None
    tree = ast.parse(source or "")
    parts: dict[str, tuple[str, str | None]] = {}  # attribute -> (module, name in it, or None for the module itself)
    statements: list[ast.stmt] = []
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.level == 1:
            for alias in statement.names:
                of_package = f"{module.__name__}.{statement.module or alias.name}"
                parts[alias.asname or alias.name] = (of_package, alias.name if statement.module else None)
        else:
            statements.append(statement)
    if _FIRST not in parts or "*" in parts:
        return False
    tree.body = statements

    def get_part(name: str) -> Any:
        if name not in parts:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        part, attribute = parts[name]
        found = importlib.import_module(part)
        value = found if attribute is None else getattr(found, attribute)
        setattr(module, name, value)
        return value

    module.__getattr__ = get_part  # type: ignore[method-assign]
    module.__dir__ = lambda: sorted({*vars(module), *parts})  # type: ignore[method-assign]
    exec(compile(tree, module.__file__ or module.__name__, "exec"), vars(module))
    get_part(_FIRST)
    return True
