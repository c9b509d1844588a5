"""The pipeline of the last run, kept with its weights for the next one that needs the same.

    kept = WarmPipeline()
    with kept.used():
        animate(config)   # loads
        animate(other)    # does not, if the networks, their files, dtypes, engine and memory rung are the same

A run that needs others frees what is kept before it loads its own. One of the same options, but for its inputs, its
seed and its texts, and of unchanged files, takes the description of the networks, too: making them takes longer than
a short clip.
"""

import contextlib
import contextvars
import dataclasses
import gc
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ppdiffusers_ext.environment import return_freed_memory
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.packaged import located
from ppdiffusers_ext.pipelines.existing import OF_RESULTS
from ppdiffusers_ext.weights.selection import chosen_key
from ppdiffusers_ext.weights.shards import files_of

# Fields of options that say nothing of networks.
_NOT_OF_NETWORKS = OF_RESULTS | {"seed", "prompt", "negative_prompt"}
_MOST_DEPTH = 2  # of the folders of a model, in each of which it has files

_current: contextvars.ContextVar = contextvars.ContextVar("warm_pipeline", default=None)


class WarmPipeline:
    """At most one pipeline, and what it was made of; beside it networks that find people."""

    def __init__(self) -> None:
        self._beside: tuple[Any, Any] | None = None
        self._described: tuple[Any, dict[str, Any]] | None = None  # of the pipeline: what it goes by, and the parts
        self._pipeline: Any = None
        self._key: Any = None

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Within it, runs take the pipeline that is kept, or leave theirs here."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @property
    def is_empty(self) -> bool:
        return self._pipeline is None

    def free(self) -> None:
        """Give up the pipeline and the memory of its weights."""
        if self._pipeline is not None:
            self._pipeline = self._key = self._described = None
            gc.collect()
            return_freed_memory()

    def take(self, key: Any) -> Any:
        """The pipeline of a key; None, and none is kept any more, where it is another one."""
        if self._key != key:
            self.free()
        return self._pipeline

    def keep(self, key: Any, pipeline: Any) -> None:
        self._pipeline, self._key = pipeline, key

    def parts(self, of: Any) -> dict[str, Any] | None:
        """The parts of the pipeline that is kept, where this is what they were described by."""
        return self._described[1] if self._described is not None and self._described[0] == of else None

    def pipeline_of(self, parts: dict[str, Any]) -> Any:
        """The pipeline that is kept, if it was made of these very parts, or None."""
        return self._pipeline if self._described is not None and self._described[1] is parts else None

    def described_by(self, of: Any, parts: dict[str, Any]) -> None:
        """Remember what the parts of the pipeline that is kept were described by."""
        self._described = of, parts

    def beside(self, key: Any, open_new: Callable[[], Any]) -> Any:
        """What a run needs beside its pipeline: that of the last run if it had the same key, or a new one."""
        if self._beside is None or self._beside[0] != key:
            self._beside = None
            self._beside = key, open_new()
        return self._beside[1]

    @property
    def bytes(self) -> int:
        """Bytes of the weights that are kept."""
        if self._pipeline is None:
            return 0
        models = [getattr(self._pipeline, name) for name in self._pipeline.network_names]
        tensors = [tensor for model in models for tensor in model.parameters() if tensor._is_initialized()]
        return sum(math.prod(tensor.shape) * tensor.element_size() for tensor in tensors)


def current_warm() -> WarmPipeline | None:
    """The `WarmPipeline` of the block that this is called in, or None."""
    return _current.get()


def warm_bytes() -> int:
    """Bytes of the weights that are kept; a run either has them for its own or frees them before it loads."""
    kept = current_warm()
    return 0 if kept is None else kept.bytes


def described(kind: type, config: Any, runtime: Any, describe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The parts of a run: those of the pipeline that is kept if options and files are the same, or described anew.

    Args:
        kind, config, runtime: see `opened`.
        describe: makes them.
    """
    kept = current_warm()
    parts = None if kept is None else kept.parts(_description_of(kind, config, runtime))
    return describe() if parts is None else parts


def _description_of(kind: type, config: Any, runtime: Any) -> Any:
    """What the parts of a run depend on: options, and sizes and times of the files that these name."""
    fields = {
        item.name: getattr(config, item.name)
        for item in dataclasses.fields(config)
        if item.name not in _NOT_OF_NETWORKS
    }
    facts: list[Any] = []
    for value in _texts_of(fields):
        with contextlib.suppress(OSError, ValueError, InputError):
            facts += _facts_below(located(value), _MOST_DEPTH)
    return kind, runtime.device, runtime.dtype, runtime.exports_on, chosen_key(), repr(fields), facts


def _texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, (str, os.PathLike)):
        yield os.fspath(value)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts_of(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts_of(each)


def _facts_below(path: Any, depth: int) -> Iterator[Any]:
    """Names, sizes and times of a file, or of those in a folder."""
    status = os.stat(path)
    if not os.path.isdir(path):
        yield str(path), status.st_size, status.st_mtime_ns
    elif depth >= 0:
        for name in sorted(os.listdir(path)):
            yield from _facts_below(os.path.join(path, name), depth - 1)


def opened(kind: type, config: Any, runtime: Any, parts: dict[str, Any], open_new: Callable[[], Any]) -> Any:
    """The pipeline of a run: the one that is kept if it was made of the same, with the run's own scheduler, or anew.

    Args:
        kind: class of the pipeline.
        config, runtime, parts: see `NetworkPipeline.open`.
        open_new: makes one.
    """
    kept = current_warm()
    if kept is None:
        return open_new()
    pipeline = kept.pipeline_of(parts)
    if pipeline is None:
        of, key = _description_of(kind, config, runtime), _key_of(kind, config, runtime, parts)
        pipeline = kept.take(key)
        if pipeline is None:
            pipeline = open_new()
            kept.keep(key, pipeline)
            kept.described_by(of, parts)
            return pipeline
        kept.described_by(of, parts)
    for name, value in kind._read_others(config, parts).items():  # type: ignore[attr-defined]
        setattr(pipeline, name, value)
    return pipeline


def _key_of(kind: type, config: Any, runtime: Any, parts: dict[str, Any]) -> Any:
    """What a pipeline is made of; the files by name, size and time, for their contents would take long to read."""
    networks = []
    for name, part in sorted(parts.items()):
        paths = [*getattr(part, "files", ()), *(path for path, _ in part.loras)]
        files = [file for path in map(located, paths) for file in files_of(Path(path))]
        facts = tuple((str(file), (of := os.stat(file)).st_size, of.st_mtime_ns) for file in files)
        dtypes = tuple(str(tensor.dtype) for tensor in part.model.parameters())
        networks.append((name, type(part), part.describe(), dtypes, facts, tuple(map(tuple, part.loras))))
    own = (config.engine, config.engine_cache, config.memory, runtime.device, runtime.dtype, runtime.exports_on)
    return kind, own, chosen_key(), getattr(config, "vae_tiling", None), config.weights, tuple(networks)
