"""The engine `auto`: a compiled one where that pays, and else Paddle."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paddle

from ppdiffusers_ext.engine.backends import Backend
from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.compiled_engine import CompiledEngine, EagerEngine, Result, check_exportable

logger = logging.getLogger(__name__)

# What `auto` runs, and what it goes by to tell whether an export pays: how many times as fast a call is as in Paddle,
# and the seconds that an export takes, for itself and for each gigabyte of weights, beside one call in Paddle.
_SPEED, _EXPORT_SECONDS, _EXPORT_SECONDS_PER_GB = 1.4, 2, 2
# So many times what an export takes must be saved where a function has been called once: first calls are slow.
_DOUBT = 2
_LEAST_GAIN = 10  # seconds, that are worth other digits than Paddle's; short clips stay the same from run to run


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

    def loads_ahead(self, network: Network) -> bool:
        """As `EagerEngine.loads_ahead`."""
        return self.needs_weights or not (self._has_exports and self._get_compiled().has_any(network))

    @property
    def preparation_seconds(self) -> float:
        """See `EagerEngine`."""
        return 0.0 if self._compiled is None else self._compiled.preparation_seconds

    def check(self, network: Network) -> None:
        """As `EagerEngine.check`: what cannot be compiled runs in Paddle."""
        try:
            check_exportable(self.backend, network)
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

    def calibrated(self, run: Callable[[], Result], rehearsal: Callable[[], Callable[[], object]]) -> Result:
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
        if to_come * seconds <= _LEAST_GAIN:  # whatever the export takes; weights take long to count
            return False
        weights = sum(parameter.size * 4 for parameter in network.model.parameters()) / 1e9
        export = _EXPORT_SECONDS + _EXPORT_SECONDS_PER_GB * weights + seconds
        gain = to_come * seconds * (1 - 1 / _SPEED) - export * (_DOUBT if record["calls"] == 1 else 1)
        pays = gain > _LEAST_GAIN
        if pays:
            words = "%s runs the %s from here on: %d calls of %.1f s in Paddle pay for its export"
            self._tell(words, self.backend.name, type(network.model).__name__, to_come, seconds)
        return pays

    def _tell(self, words: str, *values: Any) -> None:
        level = logging.INFO if self._has_told else logging.WARNING
        logger.log(level, f"engine auto: {words}", *values)
        self._has_told = True
