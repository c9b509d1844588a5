"""Has ppdiffusers and paddlenlp read weights with the safe reader, where they would run what is in a pickle.

`AutoencoderKL.from_pretrained`, LoRA loaders, text encoders and the rest of both libraries call a few functions for
that, which `secure` replaces for the whole process, now or when their modules are imported: the package calls it
before anything of it can load. What else these libraries unpickle (states of optimisers, vocabularies, ...) is read
as they do it, and may name nothing but what tensors are made of.

This module imports nothing but Python's own, so that it costs nothing where no weights are read.
"""

import importlib.abc
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.errors import InputError, printable
from ppdiffusers_ext.library_imports import WrappedLoader

if TYPE_CHECKING:
    import numpy as np
    import paddle

_LIBRARIES = ("ppdiffusers", "paddlenlp", "ppdiffusers_ext")
# Modules by which the libraries unpickle: who calls these is who wants to read a file.
_READERS = ("pickle", "paddle.framework", "paddle.base", "numpy", "joblib", "torch", "dill", "cloudpickle")
_HELPERS = ("functools", "contextlib", "gzip", "bz2", "lzma", "zipfile", "decorator")


# Classes that paddlenlp copies by pickling them; what they are made of is JSON.
_COPIED = ("tokenizers.pre_tokenizers", "tokenizers.decoders")


def _owned(path: str) -> "tuple[dict[str, paddle.Tensor], str]":
    """The tensors of a checkpoint in memory of their own: both libraries may keep them as they are."""
    from ppdiffusers_ext.weights.loading import read_checkpoint  # needs Paddle, which takes seconds to import

    checkpoint = read_checkpoint(path)
    return {name: _own(tensor) for name, tensor in checkpoint.tensors.items()}, checkpoint.layout


def _own(tensor: "paddle.Tensor") -> "paddle.Tensor":
    from ppdiffusers_ext.weights.arrays import FLOAT8_BITS

    is_float8 = str(tensor.dtype).removeprefix("paddle.") in FLOAT8_BITS  # which neither library knows
    return tensor.astype("float32") if is_float8 else tensor.clone()


def _load_into(
    checkpoint_file: str,
    state_dict: "dict[str, paddle.Tensor]",
    tensor_parallel_split_mapping: "Mapping[str, Callable[[paddle.Tensor], paddle.Tensor]] | None" = None,
    ignore_keys: Iterable[str] | None = None,
) -> str:
    tensors, layout = _owned(checkpoint_file)
    for name, tensor in tensors.items():
        if not any(name.startswith(prefix) for prefix in ignore_keys or ()):
            split = (tensor_parallel_split_mapping or {}).get(name)
            state_dict[name] = split(tensor) if split else tensor
    return "pd" if layout == "paddle" else "pt"


def _smart_load(
    path: str,
    map_location: Any = None,
    return_numpy: bool = False,
    return_global_step: bool = False,
    return_is_torch_weight: bool = False,
) -> dict[str, Any]:
    owned, layout = _owned(path)
    tensors: dict[str, Any] = dict(owned)
    if return_numpy:
        tensors = {name: tensor.numpy() for name, tensor in tensors.items()}
    if return_is_torch_weight:
        tensors["is_torch_weight"] = layout == "torch"
    return tensors


def _load_numpy(path: str, **_: Any) -> "dict[str, np.ndarray]":
    return {name: tensor.numpy() for name, tensor in _owned(path)[0].items()}


def _load(path: str, map_location: str = "cpu") -> Any:
    from ppdiffusers_ext.weights.loading import SUFFIXES, read_state

    if not str(path).endswith(SUFFIXES):  # what is kept of an optimiser
        return read_state(path)
    return _load_numpy(path) if map_location in ("np", "numpy") else _owned(path)[0]


# Module in which a loader is defined -> its name -> what stands there instead.
_REPLACED: dict[str, dict] = {
    "ppdiffusers.models.modeling_utils": {"load_state_dict": _load_into},
    "ppdiffusers.utils.load_utils": {"smart_load": _smart_load, "torch_load": _load_numpy},
    "paddlenlp.transformers.utils": {"paddlenlp_load": _load},
    "paddlenlp.utils.serialization": {"load_torch": _load_numpy},
}


_changes: dict[str, Callable] = {}  # module -> what is done to it after it is imported


def after_import(name: str, change: Callable[[ModuleType], None]) -> None:
    """Have a module of one of the libraries changed: now if it is imported, or else as soon as it is.

    Args:
        name: of the module. The second time, nothing is done.
        change: called with the module.
    """
    secure()
    if name not in _changes:
        _changes[name] = change
        if name in sys.modules:
            change(sys.modules[name])


def secure() -> None:
    """Replace the loaders of ppdiffusers and paddlenlp, imported or not. Doing it twice is as good as once."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    sys.addaudithook(_refuse_imports)
    replaced = {}  # id of a loader -> what stands in its place
    for name, loaders in _REPLACED.items():
        there = {key: getattr(sys.modules.get(name), key, None) for key in loaders}
        replaced.update({id(original): loaders[key] for key, original in there.items() if original is not None})
    for name, module in list(sys.modules.items()) if replaced else ():
        if name.partition(".")[0] in _LIBRARIES:
            for key, value in list(vars(module).items()):  # wherever one of them was imported to
                if id(value) in replaced:
                    setattr(module, key, replaced[id(value)])


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules with loaders that are replaced, as the finders behind it do."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _REPLACED and name not in _changes:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _Replacing(spec.loader)
                return spec
        return None


class _Replacing(WrappedLoader):
    """Replaces a module's loaders of weights before anything can import them."""

    def execute(self, module: ModuleType) -> None:
        super().execute(module)
        for key, replacement in _REPLACED.get(module.__name__, {}).items():
            setattr(module, key, replacement)
        if module.__name__ in _changes:
            _changes[module.__name__](module)


def _refuse_imports(event: str, arguments: tuple[Any, ...]) -> None:
    """Python calls this for what it does: refuse what a pickle that one of the libraries reads would import."""
    if event != "pickle.find_class":
        return
    reader, path = _find_reader(sys._getframe(1))
    if reader is None:
        return
    module, name = (str(part) for part in arguments[:2])
    from ppdiffusers_ext.weights.vocabulary import GLOBALS

    # `eval` is in the table since it is not called there.
    if not (name != "eval" and (module, name) in GLOBALS or module in _COPIED and name.isidentifier()):
        where = f"file {printable(path, 300)}" if path else f"a file that {reader} reads"
        raise InputError(
            f"{where} is a pickle that wants to import {printable(f'{module}.{name}', 200)}, which is refused: a file "
            "that holds only tensors is accepted"
        )


def _find_reader(frame: FrameType | None) -> tuple[str | None, str | None]:
    """The module of one of the libraries on whose behalf a pickle is read, or None; and the file's path, if known."""
    path = None
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name.partition(".")[0] in _LIBRARIES and name != __name__:
            return name, path
        if not _is_of(name, (*_READERS, *_HELPERS)) and name != __name__:
            return None, None
        given = frame.f_locals.get("path") or frame.f_locals.get("file")
        path = given if isinstance(given, str) else path
        frame = frame.f_back
    return None, None


def _is_of(name: str, modules: Iterable[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)
