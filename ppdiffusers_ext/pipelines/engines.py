"""Choice of what runs the networks of a pipeline."""

import logging
import os
from pathlib import Path

import paddle

from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.engine import bound_sessions
from ppdiffusers_ext.engine.backends import BACKENDS, Backend
from ppdiffusers_ext.engine.cache import ExportCache, default_folder
from ppdiffusers_ext.engine.quantised import INT8
from ppdiffusers_ext.environment import available_cores
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.pipelines.auto_engine import AutoEngine
from ppdiffusers_ext.pipelines.compiled_engine import CompiledEngine, EagerEngine
from ppdiffusers_ext.pipelines.options import AUTOMATIC, ENGINES

logger = logging.getLogger(__name__)


def check_engine(engine: str) -> None:
    """Raises InputError for an engine that is not known or not installed."""
    if engine not in ENGINES:
        raise InputError(f"engine {shown(engine)} is not known; use one of {', '.join(ENGINES)}")
    if engine in BACKENDS:
        BACKENDS[engine].check_installed()


def check_weights(weights: str | None, engine: str, is_stored: bool = False) -> None:
    """Raises InputError for weights in 8 bits that an engine cannot have.

    Args:
        weights: "int8", "fp8" or None.
        engine: one of `ENGINES`.
        is_stored: whether eager mode keeps weights of this model in 8 bits.
    """
    able = sorted(name for name, backend in BACKENDS.items() if backend.quantise) if weights == INT8 else []
    able += ["eager"] if is_stored else []
    if weights is None or engine in able:
        return
    if not able:
        raise InputError(f"weights {shown(weights)} are not for this model; weights int8 with engine openvino are")
    accepted = f"engine {' or '.join(able)} with them, or none of them, is accepted"
    raise InputError(f"engine {engine} has no weights in {shown(weights)}; {accepted}")


def make_engine(
    engine: str,
    cache_folder: str | os.PathLike | None = None,
    threads: int | None = None,
    precision: str = "float32",
    device: str = "cpu",
    weights: str | None = None,
) -> "Engine":
    """An `EagerEngine`, a `CompiledEngine` or an `AutoEngine`.

    Args:
        engine: one of `ENGINES`.
        cache_folder: of exports; the user's cache folder if left out.
        threads: of a compiled engine; as many as there are cores if left out.
        precision: "float32", "bfloat16" or "float16", which a compiled engine computes in.
        device: "cpu" or "gpu:N", on which it does.
        weights: "int8" for weights and activations of a compiled engine in 8 bits, where that pays.

    Raises:
        InputError: no such engine, it is not installed, or it cannot compute in this precision or in 8 bits.
    """
    check_engine(engine)
    backend = _choose_backend(engine, precision, device)
    if backend is None:
        return EagerEngine()
    check_weights(weights, engine)

    def compiled() -> CompiledEngine:
        # fp16 has a small range, which some networks leave.
        wider = bound_sessions.backend_on(device, "float32") if precision == "float16" else None
        cache = ExportCache(cache_folder)
        return CompiledEngine(backend, cache, threads or available_cores(), precision, wider, weights)

    if engine != "auto":
        return compiled()
    try:
        return AutoEngine(backend, compiled, Path(cache_folder or default_folder()))
    except InputError as error:  # no place for exports
        logger.warning("engine auto is Paddle: %s", error)
    return EagerEngine()


def weights_dtype(engine: str, dtype: str, device: str = "cpu") -> str:
    """What weights are loaded in, for networks that are to compute in `dtype`: exports are made of fp32 weights.

    Raises:
        InputError: as `check_engine`.
    """
    check_engine(engine)
    return "float32" if makes_exports(engine, dtype, device) else dtype


def makes_exports(engine: str, dtype: str, device: str = "cpu") -> bool:
    """Whether an engine runs networks in exports, on a device, or `auto` may."""
    return _choose_backend(engine, dtype, device) is not None


def _choose_backend(engine: str, precision: str, device: str = "cpu") -> Backend | None:
    """The `Backend` that an engine runs exports in, or None if it runs none."""
    if engine == "eager":
        return None
    if engine == "auto":
        if current_ranks().count > 1:
            return None  # what pays is found by measuring, which ranks would not agree on
        backend = automatic_backend(device)
        return None if backend is None or backend.missing or precision not in backend.precisions else backend
    if engine == bound_sessions.ENGINE and device != "cpu":
        return bound_sessions.backend_on(device, precision)
    backend = BACKENDS[engine]
    if precision not in backend.precisions:
        able = " or ".join([*(name for name, other in BACKENDS.items() if precision in other.precisions), "eager"])
        raise InputError(f"engine {engine} cannot compute in {precision}; dtype fp32, or engine {able}, is accepted")
    return backend


def automatic_backend(device: str = "cpu") -> Backend | None:
    """The `Backend` that `auto` may run exports in, installed or not; None where there is none, as on a GPU."""
    return BACKENDS.get(AUTOMATIC) if device == paddle.device.get_device() == "cpu" else None


Engine = EagerEngine | CompiledEngine | AutoEngine
