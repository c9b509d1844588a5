"""What runs the networks of a pipeline: Paddle as it is, or a compiled engine."""

import logging
import os
import time
from collections.abc import Callable
from typing import Any

import paddle

from ppdiffusers_ext.engine.backends import BACKENDS, Backend
from ppdiffusers_ext.engine.cache import ExportCache
from ppdiffusers_ext.engine.compiled import CompiledFunction, EngineError
from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.environment import available_cores, return_freed_memory
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.pipelines.options import ENGINES

logger = logging.getLogger(__name__)

# What `auto` runs, and what it goes by to tell whether an export pays: how many times as fast a call is as in Paddle,
# and the seconds that an export takes, for itself and for each gigabyte of weights, beside one call in Paddle with
# which it is compared. As measured on two cores of an AMD EPYC, cautiously.
_AUTOMATIC, _SPEED, _EXPORT_SECONDS, _EXPORT_SECONDS_PER_GB = "openvino", 1.4, 2, 2


def check_engine(engine: str) -> None:
    """Raises InputError for an engine that is not known or not installed."""
    if engine not in ENGINES:
        raise InputError(f"engine {shown(engine)} is not known; use one of {', '.join(ENGINES)}")
    if engine in BACKENDS:
        BACKENDS[engine].check_installed()


def make_engine(
    engine: str, cache_folder: str | os.PathLike | None = None, threads: int | None = None, precision: str = "float32"
) -> "Engine":
    """An `EagerEngine`, a `CompiledEngine` or an `AutoEngine`.

    Args:
        engine: one of `ENGINES`.
        cache_folder: of exports; the user's cache folder if left out.
        threads: of a compiled engine; as many as there are cores if left out.
        precision: "float32" or "bfloat16", which a compiled engine computes in.

    Raises:
        InputError: no such engine, it is not installed, or it cannot compute in this precision.
    """
    check_engine(engine)
    backend = _choose_backend(engine, precision)
    if backend is None:
        return EagerEngine()
    compiled = CompiledEngine(backend, ExportCache(cache_folder), threads or available_cores(), precision)
    return AutoEngine(compiled) if engine == "auto" else compiled


def weights_dtype(engine: str, dtype: str) -> str:
    """What weights are loaded in, for networks that are to compute in `dtype`: exports are made of fp32 weights.

    Raises:
        InputError: as `check_engine`.
    """
    check_engine(engine)
    return dtype if _choose_backend(engine, dtype) is None else "float32"


def _choose_backend(engine: str, precision: str) -> Backend | None:
    """The `Backend` that an engine runs exports in, or None if it runs none."""
    if engine == "eager":
        return None
    backend = BACKENDS[_AUTOMATIC if engine == "auto" else engine]
    if engine == "auto":
        fits = not backend.missing and precision in backend.precisions and paddle.device.get_device() == "cpu"
        return backend if fits else None
    if precision not in backend.precisions:
        able = " or ".join([*(name for name, other in BACKENDS.items() if precision in other.precisions), "eager"])
        raise InputError(f"engine {engine} cannot compute in {precision}; dtype fp32, or engine {able}, is accepted")
    return backend


class EagerEngine:
    """Runs functions of networks as they are, with weights loaded when they are first needed.

    Attributes:
        fixed_shapes: whether new shapes cost time, so that the last few of something are better filled up.
        needs_weights: whether the networks' weights are needed in any case.
        preparation_seconds: what exports have taken so far, beside the calls themselves.
    """

    fixed_shapes, needs_weights, preparation_seconds = False, True, 0.0

    def check(self, network: Network) -> None:
        """Raises InputError for a network that this engine cannot run."""

    def run(
        self,
        network: Network,
        what: str,
        function: Callable[..., list[paddle.Tensor]],
        inputs: dict[str, paddle.Tensor],
        calls: int = 1,
        **settings: Any,
    ) -> list[paddle.Tensor]:
        """The list of tensors that `function(*inputs.values())` returns.

        Args:
            network: a `Network`.
            what: name of the function, which is one of the network's.
            function: of tensors, to a list of tensors.
            inputs: name -> tensor.
            calls: how often it will be called in all.
            settings: what else the function depends on.
        """
        network.load()
        return function(*inputs.values())

    def release(self, network: Network) -> None:
        """Take a network out of memory, where it can be read again."""
        network.release()

    def rest(self, network: Network) -> None:
        """Free what an engine works with between calls for a network; its weights stay."""


class CompiledEngine:
    """Runs functions of networks in an engine, each exported once for each set of shapes.

    Args:
        backend: a `Backend`.
        cache: an `ExportCache`.
        threads: of the processor.
        precision: "float32" or "bfloat16", which it computes in.
    """

    fixed_shapes, needs_weights = True, False

    def __init__(self, backend: Backend, cache: ExportCache, threads: int, precision: str = "float32") -> None:
        self._backend, self._cache, self._threads, self._precision = backend, cache, threads, precision
        self._functions: dict[tuple[Network, str], CompiledFunction] = {}
        self._seconds_before = 0.0

    @property
    def preparation_seconds(self) -> float:
        """See `EagerEngine`."""
        return self._seconds_before + sum(_seconds(function) for function in self._functions.values())

    def check(self, network: Network) -> None:
        """As `EagerEngine.check`."""
        dtype, device = next(iter(network.model.parameters())).dtype, paddle.device.get_device()
        if dtype != paddle.float32 or device != "cpu":
            raise InputError(
                f"engine {self._backend.name} makes exports of fp32 weights on a CPU, and those of this "
                f"{type(network.model).__name__} are {str(dtype).partition('.')[2]} on {device}; fp32 weights with "
                "device cpu, or engine eager, are accepted"
            )

    def run(
        self,
        network: Network,
        what: str,
        function: Callable[..., list[paddle.Tensor]],
        inputs: dict[str, paddle.Tensor],
        calls: int = 1,
        **settings: Any,
    ) -> list[paddle.Tensor]:
        """As `EagerEngine.run`."""
        return self._function(network, what)(function, inputs, **settings)

    def release(self, network: Network) -> None:
        """As `EagerEngine.release`."""
        for function in [key for key in self._functions if key[0] is network]:
            self._seconds_before += _seconds(self._functions.pop(function))
        network.release()

    def rest(self, network: Network) -> None:
        """As `EagerEngine.rest`."""
        for (owner, _), function in self._functions.items():
            if owner is network:
                function.rest()
        return_freed_memory()

    def has(self, network: Network, what: str, inputs: dict[str, paddle.Tensor], **settings: Any) -> bool:
        """Whether the export of a function for inputs of these shapes is at hand."""
        return self._function(network, what).has(inputs, **settings)

    def _function(self, network: Network, what: str) -> CompiledFunction:
        if (network, what) not in self._functions:
            self.check(network)
            title = f"{type(network.model).__name__}.{what}"
            compiled = CompiledFunction(title, network, self._backend, self._cache, self._threads, self._precision)
            self._functions[network, what] = compiled
        return self._functions[network, what]


def _seconds(function: CompiledFunction) -> float:
    # The first run of an export is a call like any other.
    return sum(seconds for what, seconds in function.report if what != "run")


class AutoEngine:
    """Runs functions in a compiled engine where an export is at hand, or is made because it pays, and else in Paddle.

    Whether it pays shows when a function has been called once and again: what the calls to come would take less must
    be more than what the export takes.

    Args:
        compiled: a `CompiledEngine`.
    """

    fixed_shapes = True

    def __init__(self, compiled: CompiledEngine) -> None:
        self._compiled, self._eager = compiled, EagerEngine()
        self.needs_weights = False  # until a network turns out that cannot be compiled
        self._seconds: dict[tuple, list[float]] = {}  # function, with shapes -> seconds of its calls in Paddle
        self._refused: set[tuple] = set()  # functions whose exports disagree with Paddle

    @property
    def preparation_seconds(self) -> float:
        """See `EagerEngine`."""
        return self._compiled.preparation_seconds

    def check(self, network: Network) -> None:
        """As `EagerEngine.check`: what cannot be compiled runs in Paddle."""
        try:
            self._compiled.check(network)
        except InputError as error:
            logger.info("%s", error)
            self.needs_weights = True

    def run(
        self,
        network: Network,
        what: str,
        function: Callable[..., list[paddle.Tensor]],
        inputs: dict[str, paddle.Tensor],
        calls: int = 1,
        **settings: Any,
    ) -> list[paddle.Tensor]:
        """As `EagerEngine.run`."""
        if self.needs_weights:
            return self._eager.run(network, what, function, inputs)
        key = network, what, str({name: x.shape for name, x in inputs.items()}), str(settings)
        seconds = self._seconds.setdefault(key, [])
        if key not in self._refused and self._is_better_compiled(network, what, inputs, settings, calls, seconds):
            try:
                return self._compiled.run(network, what, function, inputs, **settings)
            except EngineError as error:
                logger.warning("%s; it runs in Paddle", error)
                self._refused.add(key)
        start = time.monotonic()
        outputs = self._eager.run(network, what, function, inputs)
        seconds.append(time.monotonic() - start)
        return outputs

    def release(self, network: Network) -> None:
        """As `EagerEngine.release`."""
        self._compiled.release(network)

    def rest(self, network: Network) -> None:
        """As `EagerEngine.rest`."""
        self._compiled.rest(network)

    def _is_better_compiled(
        self,
        network: Network,
        what: str,
        inputs: dict[str, paddle.Tensor],
        settings: dict[str, Any],
        calls: int,
        seconds: list[float],
    ) -> bool:
        if not seconds:
            return self._compiled.has(network, what, inputs, **settings)
        weights = sum(parameter.size * 4 for parameter in network.model.parameters()) / 1e9
        export = _EXPORT_SECONDS + _EXPORT_SECONDS_PER_GB * weights + seconds[-1]
        # The first call may have loaded the weights.
        saved = (calls - len(seconds)) * seconds[-1] * (1 - 1 / _SPEED) if len(seconds) > 1 else 0
        return saved > export or self._compiled.has(network, what, inputs, **settings)


Engine = EagerEngine | CompiledEngine | AutoEngine
