"""The pipeline of the last run, kept with its weights for the next one that needs the same.

    kept = WarmPipeline()
    with kept.used():
        animate(config)   # loads
        animate(other)    # does not, if the networks, their files, dtypes, engine and memory rung are the same

A run that needs others frees what is kept before it loads its own.
"""

import contextlib
import contextvars
import gc
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ppdiffusers_ext.environment import return_freed_memory
from ppdiffusers_ext.packaged import located
from ppdiffusers_ext.weights.shards import files_of

_current: contextvars.ContextVar = contextvars.ContextVar("warm_pipeline", default=None)


class WarmPipeline:
    """At most one pipeline, and what it was made of; beside it networks that find people."""

    def __init__(self) -> None:
        self._beside: tuple[Any, Any] | None = None
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
            self._pipeline = self._key = None
            gc.collect()
            return_freed_memory()

    def take(self, key: Any) -> Any:
        """The pipeline of a key; None, and none is kept any more, where it is another one."""
        if self._key != key:
            self.free()
        return self._pipeline

    def keep(self, key: Any, pipeline: Any) -> None:
        self._pipeline, self._key = pipeline, key

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
    key = _key_of(kind, config, runtime, parts)
    pipeline = kept.take(key)
    if pipeline is None:
        pipeline = open_new()
        kept.keep(key, pipeline)
        return pipeline
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
    return kind, own, getattr(config, "vae_tiling", None), config.weights, tuple(networks)
