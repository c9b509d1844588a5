"""What runs the networks of a pipeline: Paddle as it is, or a compiled engine."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import paddle

from ppdiffusers_ext.engine.backends import Backend
from ppdiffusers_ext.engine.cache import ExportCache
from ppdiffusers_ext.engine.calibration import Calibration, NotCalibrated
from ppdiffusers_ext.engine.compiled import CompiledFunction, EngineError
from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.engine.quantised import INT8, QuantisedFunction
from ppdiffusers_ext.environment import return_freed_memory
from ppdiffusers_ext.errors import InputError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class EagerEngine:
    """Runs functions of networks as they are, with weights loaded when they are first needed.

    Attributes:
        name: of what runs the functions.
        fixed_shapes: whether new shapes cost time, so that the last few of something are better filled up.
        needs_weights: whether the networks' weights are needed in any case.
        preparation_seconds: what exports have taken so far, beside the calls themselves.
    """

    fixed_shapes, needs_weights, preparation_seconds, name = False, True, 0.0, "eager"

    def check(self, network: Network) -> None:
        """Raises InputError for a network that this engine cannot run."""

    def loads_ahead(self, network: Network) -> bool:
        """Whether the weights of a network had better be read before the first call."""
        return True

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

    def calibrated(self, run: Callable[[], Result], rehearsal: Callable[[], Callable[[], object]]) -> Result:
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

    fixed_shapes, needs_weights = True, False

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
        self._functions: dict[tuple[Network, str], CompiledFunction] = {}
        self._seconds_before = 0.0

    @property
    def preparation_seconds(self) -> float:
        """See `EagerEngine`."""
        return self._seconds_before + sum(_seconds(function) for function in self._functions.values())

    def check(self, network: Network) -> None:
        """As `EagerEngine.check`."""
        check_exportable(self._backend, network)

    def loads_ahead(self, network: Network) -> bool:
        """As `EagerEngine.loads_ahead`."""
        return False

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
        self._functions[network, what] = self._make_function(network, what, self._wider, "float32")
        return self._functions[network, what](function, inputs, **settings)

    def calibrated(self, run: Callable[[], Result], rehearsal: Callable[[], Callable[[], object]]) -> Result:
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
        for (owner, _), function in self._functions.items():
            if owner is network:
                function.rest()
        return_freed_memory()

    def is_compiled(self, network: Network) -> bool:
        """As `EagerEngine.is_compiled`."""
        return True

    def has_any(self, network: Network) -> bool:
        """Whether exports of a network's weights have been made; the weights are not read for it."""
        return network.has_exports(self._cache)

    def has(self, network: Network, what: str, inputs: dict[str, paddle.Tensor], **settings: Any) -> bool:
        """Whether the export of a function for inputs of these shapes is at hand."""
        return self._function(network, what).has(inputs, **settings)

    def _function(self, network: Network, what: str, in_8_bits: bool = False) -> CompiledFunction:
        if (network, what) not in self._functions:
            self.check(network)
            made = self._make_function(network, what, self._backend, self._precision)
            calibration = self._calibration if in_8_bits else None
            self._functions[network, what] = made if calibration is None else QuantisedFunction(made, calibration)
        return self._functions[network, what]

    def _make_function(self, network: Network, what: str, backend: Backend, precision: str) -> CompiledFunction:
        title = f"{type(network.model).__name__}.{what}"
        return CompiledFunction(title, network, backend, self._cache, self._threads, precision)


def check_exportable(backend: Backend, network: Network) -> None:
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
