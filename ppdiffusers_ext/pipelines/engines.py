"""What runs the networks of a pipeline: Paddle as it is, or a compiled engine."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import paddle

from ppdiffusers_ext.engine import bound_sessions
from ppdiffusers_ext.engine.backends import BACKENDS, Backend
from ppdiffusers_ext.engine.cache import ExportCache, default_folder
from ppdiffusers_ext.engine.calibration import Calibration, NotCalibrated
from ppdiffusers_ext.engine.compiled import CompiledFunction, EngineError
from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.engine.quantised import INT8, QuantisedFunction
from ppdiffusers_ext.environment import available_cores, return_freed_memory
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.pipelines.options import AUTOMATIC, ENGINES

logger = logging.getLogger(__name__)

# What `auto` runs, and what it goes by to tell whether an export pays: how many times as fast a call is as in Paddle,
# and the seconds that an export takes, for itself and for each gigabyte of weights, beside one call in Paddle.
_SPEED, _EXPORT_SECONDS, _EXPORT_SECONDS_PER_GB = 1.4, 2, 2
# So many times what an export takes must be saved where a function has been called once: first calls are slow.
_DOUBT = 2

_Result = TypeVar("_Result")


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


class EagerEngine:
    """Runs functions of networks as they are, with weights loaded when they are first needed.

    Attributes:
        name: of what runs the functions.
        fixed_shapes: whether new shapes cost time, so that the last few of something are better filled up.
        needs_weights: whether the networks' weights are needed in any case.
        loads_ahead: whether they had better be read before the first call.
        preparation_seconds: what exports have taken so far, beside the calls themselves.
    """

    fixed_shapes, needs_weights, loads_ahead, preparation_seconds, name = False, True, True, 0.0, "eager"

    def check(self, network: Network) -> None:
        """Raises InputError for a network that this engine cannot run."""

    def run(
        self,
        network: Network,
        what: str,
        function: Callable[..., list[paddle.Tensor]],
        inputs: dict[str, paddle.Tensor],
        calls: int = 1,
        in_8_bits: bool = False,
        **settings: Any,
    ) -> list[paddle.Tensor]:
        """The list of tensors that `function(*inputs.values())` returns.

        Args:
            network: a `Network`.
            what: name of the function, which is one of the network's.
            function: of tensors, to a list of tensors.
            inputs: name -> tensor.
            calls: how often it will be called in all.
            in_8_bits: whether it is worth quantising, for an engine that does.
            settings: what else the function depends on.
        """
        network.load()
        return function(*inputs.values())

    def calibrated(self, run: Callable[[], _Result], rehearsal: Callable[[], Callable[[], object]]) -> _Result:
        """What `run` returns. If exports in int8 are missing for it, a rehearsal goes first.

        Args:
            run: may be called again from the beginning.
            rehearsal: called before, gives a function that calls what `run` does, with inputs as it has them, of which
                the exports are made.
        """
        return run()

    def release(self, network: Network) -> None:
        """Take a network out of memory, where it can be read again."""
        network.release()

    def rest(self, network: Network) -> None:
        """Free what an engine works with between calls for a network; its weights stay."""

    def is_compiled(self, network: Network) -> bool:
        """Whether functions of a network run in exports, which new shapes cost time."""
        return False


class CompiledEngine:
    """Runs functions of networks in an engine, each exported once for each set of shapes.

    Args:
        backend: a `Backend`.
        cache: an `ExportCache`.
        threads: of the processor.
        precision: "float32", "bfloat16" or "float16", which it computes in.
        wider: a `Backend` in fp32 for functions that are not good enough in this precision, if they are not refused.
        weights: "int8" for functions that are worth it in 8 bits.
    """

    fixed_shapes, needs_weights, loads_ahead = True, False, False

    def __init__(
        self,
        backend: Backend,
        cache: ExportCache,
        threads: int,
        precision: str = "float32",
        wider: Backend | None = None,
        weights: str | None = None,
    ) -> None:
        self._calibration = Calibration(cache.folder) if weights == INT8 else None
        self._wider = wider
        self._backend, self._cache, self._threads, self._precision = backend, cache, threads, precision
        self.name = backend.name if backend.device is None else f"{backend.name} on {backend.device}"
        self._functions: dict[tuple[Network, str, bool], CompiledFunction] = {}
        self._seconds_before = 0.0

    @property
    def preparation_seconds(self) -> float:
        """See `EagerEngine`."""
        return self._seconds_before + sum(_seconds(function) for function in self._functions.values())

    def check(self, network: Network) -> None:
        """As `EagerEngine.check`."""
        _check_exportable(self._backend, network)

    def run(
        self,
        network: Network,
        what: str,
        function: Callable[..., list[paddle.Tensor]],
        inputs: dict[str, paddle.Tensor],
        calls: int = 1,
        in_8_bits: bool = False,
        **settings: Any,
    ) -> list[paddle.Tensor]:
        """As `EagerEngine.run`."""
        compiled = self._function(network, what, in_8_bits)
        try:
            return compiled(function, inputs, **settings)
        except EngineError as error:
            if self._wider is None:
                raise
            logger.warning("%s; this function is computed in fp32", error)
        key = self._key(network, what, in_8_bits)
        self._functions[key] = self._make_function(network, what, self._wider, "float32")
        return self._functions[key](function, inputs, **settings)

    def calibrated(self, run: Callable[[], _Result], rehearsal: Callable[[], Callable[[], object]]) -> _Result:
        """As `EagerEngine.calibrated`."""
        if self._calibration is None:
            return run()
        rehearse = rehearsal()
        with self._calibration.awaited():
            try:
                return run()
            except NotCalibrated as missing:
                logger.warning(
                    "%s in int8 is made once for these shapes: some steps go first, for its ranges", missing
                )
            with self._calibration.rehearsal():
                rehearse()
            return run()

    def release(self, network: Network) -> None:
        """As `EagerEngine.release`."""
        for function in [key for key in self._functions if key[0] is network]:
            self._seconds_before += _seconds(self._functions.pop(function))
        network.release()

    def rest(self, network: Network) -> None:
        """As `EagerEngine.rest`."""
        for (owner, *_), function in self._functions.items():
            if owner is network:
                function.rest()
        return_freed_memory()

    def is_compiled(self, network: Network) -> bool:
        """As `EagerEngine.is_compiled`."""
        return True

    def has(self, network: Network, what: str, inputs: dict[str, paddle.Tensor], **settings: Any) -> bool:
        """Whether the export of a function for inputs of these shapes is at hand."""
        return self._function(network, what).has(inputs, **settings)

    def _function(self, network: Network, what: str, in_8_bits: bool = False) -> CompiledFunction:
        key = self._key(network, what, in_8_bits)
        if key not in self._functions:
            self.check(network)
            made = self._make_function(network, what, self._backend, self._precision)
            is_quantised = in_8_bits and self._calibration is not None
            self._functions[key] = QuantisedFunction(made, self._calibration) if is_quantised else made
        return self._functions[key]

    def _key(self, network: Network, what: str, in_8_bits: bool) -> tuple[Network, str, bool]:
        return network, what, in_8_bits and self._calibration is not None

    def _make_function(self, network: Network, what: str, backend: Backend, precision: str) -> CompiledFunction:
        title = f"{type(network.model).__name__}.{what}"
        return CompiledFunction(title, network, backend, self._cache, self._threads, precision)


def _check_exportable(backend: Backend, network: Network) -> None:
    """Raises InputError for a network that has no exports."""
    dtype, device = next(iter(network.model.parameters())).dtype, paddle.device.get_device()
    if dtype != paddle.float32 or device != "cpu":
        raise InputError(
            f"engine {backend.name} makes exports of fp32 weights on a CPU, and those of this "
            f"{type(network.model).__name__} are {str(dtype).partition('.')[2]} on {device}; fp32 weights with "
            "device cpu, or engine eager, are accepted"
        )


def _seconds(function: CompiledFunction) -> float:
    # The first run of an export is a call like any other.
    return sum(seconds for what, seconds in function.report if what != "run")


class AutoEngine:
    """Runs functions in a compiled engine where an export is at hand, or is made because it pays, and else in Paddle.

    Whether it pays shows when a function has been called: what the calls to come would take less must be more than
    what the export takes. From the first export of a network on, all of its functions run in exports: else its
    weights would be in memory twice.

    Args:
        backend: a `Backend`.
        make_compiled: makes the `CompiledEngine`, and the folder of exports, when they are first needed.
        folder: of exports.

    Attributes:
        backend: as given.
        chosen: a list of one dict: a function with its shapes -> how often it was called, the fewest seconds in
            Paddle, and whether it is compiled. Another engine that is given the same goes on alike.
    """

    fixed_shapes = True

    def __init__(self, backend: Backend, make_compiled: Callable[[], CompiledEngine], folder: Path) -> None:
        self.backend, self._make_compiled, self._folder, self._eager = backend, make_compiled, folder, EagerEngine()
        self.name = f"{backend.name} or {self._eager.name}"
        self._compiled: CompiledEngine | None = None
        self.needs_weights = False  # until a network turns out that cannot be compiled
        self.chosen: list[dict[str, dict[str, Any]]] = [{}]
        self._exported: set[Network] = set()
        self._refused: set[tuple[Network, str]] = set()  # functions that have no export that agrees with Paddle
        self._has_told = False

    @property
    def loads_ahead(self) -> bool:
        """See `EagerEngine`."""
        return self.needs_weights or not self._has_exports

    @property
    def preparation_seconds(self) -> float:
        """See `EagerEngine`."""
        return 0.0 if self._compiled is None else self._compiled.preparation_seconds

    def check(self, network: Network) -> None:
        """As `EagerEngine.check`: what cannot be compiled runs in Paddle."""
        try:
            _check_exportable(self.backend, network)
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
        in_8_bits: bool = False,
        **settings: Any,
    ) -> list[paddle.Tensor]:
        """As `EagerEngine.run`."""
        if self.needs_weights:
            return self._eager.run(network, what, function, inputs)
        key = f"{type(network.model).__name__}.{what} {[*((name, x.shape) for name, x in inputs.items())]} {settings}"
        record = self.chosen[0].setdefault(key, {"calls": 0, "seconds": None, "compiled": False})
        if (network, key) not in self._refused and self._is_better_compiled(
            network, what, inputs, settings, calls, record
        ):
            try:
                outputs = self._get_compiled().run(network, what, function, inputs, **settings)
                record.update(calls=record["calls"] + 1, compiled=True)
                self._exported.add(network)
                return outputs
            except (ValueError, OSError) as error:  # another result than Paddle's, or a disk without room
                logger.warning("%s; it runs in Paddle", error)
                self._refused.add((network, key))
        network.load()
        start = time.monotonic()
        outputs = self._eager.run(network, what, function, inputs)
        seconds = time.monotonic() - start
        fewest = seconds if record["seconds"] is None else min(seconds, record["seconds"])
        record.update(calls=record["calls"] + 1, seconds=fewest, compiled=False)
        return outputs

    def calibrated(self, run: Callable[[], _Result], rehearsal: Callable[[], Callable[[], object]]) -> _Result:
        """As `EagerEngine.calibrated`."""
        return run()

    def release(self, network: Network) -> None:
        """As `EagerEngine.release`."""
        (self._compiled or self._eager).release(network)

    def rest(self, network: Network) -> None:
        """As `EagerEngine.rest`."""
        (self._compiled or self._eager).rest(network)

    def is_compiled(self, network: Network) -> bool:
        """As `EagerEngine.is_compiled`."""
        return network in self._exported

    @property
    def _has_exports(self) -> bool:
        folder = self._folder / "exports"
        return folder.is_dir() and any(folder.iterdir())

    def _get_compiled(self) -> CompiledEngine:
        if self._compiled is None:
            self._compiled = self._make_compiled()
        return self._compiled

    def _is_better_compiled(
        self,
        network: Network,
        what: str,
        inputs: dict[str, paddle.Tensor],
        settings: dict[str, Any],
        calls: int,
        record: dict[str, Any],
    ) -> bool:
        if record["compiled"] or network in self._exported:
            return True
        done = record["calls"] % calls  # of this clip
        if not done and self._has_exports and self._get_compiled().has(network, what, inputs, **settings):
            self._tell("%s runs exports that are at hand", self.backend.name)
            return True
        if record["seconds"] is None:
            return False
        seconds, to_come = record["seconds"], calls - done
        weights = sum(parameter.size * 4 for parameter in network.model.parameters()) / 1e9
        export = _EXPORT_SECONDS + _EXPORT_SECONDS_PER_GB * weights + seconds
        pays = to_come * seconds * (1 - 1 / _SPEED) > export * (_DOUBT if record["calls"] == 1 else 1)
        if pays:
            words = "%s runs the %s from here on: %d calls of %.1f s in Paddle pay for its export"
            self._tell(words, self.backend.name, type(network.model).__name__, to_come, seconds)
        return pays

    def _tell(self, words: str, *values: Any) -> None:
        level = logging.INFO if self._has_told else logging.WARNING
        logger.log(level, f"engine auto: {words}", *values)
        self._has_told = True


Engine = EagerEngine | CompiledEngine | AutoEngine
