"""Function of a network in a compiled engine: exported and compared with eager mode once per set of shapes."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from tqdm import tqdm

from ppdiffusers_ext.engine.decibels import signal_to_noise
from ppdiffusers_ext.engine.tracing import trace
from ppdiffusers_ext.environment import return_freed_memory
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.channels_last import channels_last
from ppdiffusers_ext.models.layers import attention_in_parts
from ppdiffusers_ext.version import __version__

if TYPE_CHECKING:
    from paddle import nn

    from ppdiffusers_ext.engine.backends import Backend
    from ppdiffusers_ext.engine.cache import ExportCache
    from ppdiffusers_ext.engine.network import Network


logger = logging.getLogger(__name__)

_BAR = "{desc}: {n_fmt} of {total_fmt} done{postfix} [{elapsed}]"
# What the sessions of a function may have of weights: so much of the network's, or so many bytes.
_ROOM, _LEAST_ROOM = 1.3, 10**9
# What an export may differ by from eager mode: in fp32 by so much of the largest value, in half precision by so little
# that the ratio of signal to noise is this at least.
TOLERANCE, LEAST_DECIBELS = 1e-3, 30


Function = Callable[..., list[paddle.Tensor]]
Tensors = Mapping[str, paddle.Tensor]


class EngineError(InputError):
    """Outputs of an export differ from those of the network."""


class CompiledFunction:
    """Runs a function of a network in an engine.

    The network's weights are loaded only for a new export, and released before the engine reads its own. An engine has
    its own weights for each set of shapes. The least recently used sessions are closed when the weights of all open
    sessions exceed the network's by more than a third. Opening one again takes a second or two.

    Args:
        name: of the function, part of the key in the cache.
        network: a `Network`, whose weights the function uses.
        backend: a `Backend`.
        cache: an `ExportCache`.
        threads: number of CPU threads.
        precision: "float32", "bfloat16" or "float16", the engine's compute dtype; inputs and outputs are fp32.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        backend: Backend,
        cache: ExportCache,
        threads: int,
        precision: str = "float32",
    ) -> None:
        self._name, self._network, self._backend, self._cache, self._threads = name, network, backend, cache, threads
        self._precision = precision
        # Shapes and settings -> (session, bytes of its weights), the one used last at the end.
        self._sessions: dict[str, tuple[Callable, int]] = {}
        # (What was done, seconds), for those who want to know where the time went.
        self.report: list[tuple[str, float]] = []

    def __call__(self, function: Function, inputs: Tensors, **settings: Any) -> list[paddle.Tensor]:
        """Outputs of `function(*inputs.values())`.

        Args:
            function: of tensors, to a list of tensors.
            inputs: name -> tensor.
            settings: constants of the function, part of the key.

        Returns:
            List of fp32 tensors.

        Raises:
            EngineError: the new export disagrees with eager mode.
        """
        arrays, known, outputs = self._arrays(inputs), self._known(inputs, settings), None
        if known in self._sessions:
            self._sessions[known] = self._sessions.pop(known)
        else:
            key = self._key(_shapes(inputs), settings)
            self._sessions[known], outputs = self._open(function, inputs, arrays, key)
        session, _ = self._sessions[known]
        outputs = outputs or self._call(session, arrays, inputs)
        return [_tensor(array) for array in outputs]

    def _call(self, session: Callable, arrays: dict[str, np.ndarray], inputs: Tensors) -> list[np.ndarray]:
        return session(arrays, inputs) if self._backend.device else session(arrays)

    def has(self, inputs: Tensors, **settings: Any) -> bool:
        """True if there is an undamaged export for inputs of these shapes."""
        if self._known(inputs, settings) in self._sessions:
            return True
        # Without any export at all, the weights need not be read for the key.
        return not self._cache.is_empty and self._cache.find(self._key(_shapes(inputs), settings)) is not None

    def prepare(self, function: Function, inputs: Tensors, **settings: Any) -> Path:
        """Folder of the export for inputs of these shapes, which is made if it is missing; no session stays open."""
        if not self.has(inputs, **settings):
            self(function, inputs, **settings)
        self._sessions.clear()
        return_freed_memory()
        return self._cache.folder_of(self._key(_shapes(inputs), settings))

    def rest(self) -> None:
        """Free the working memory of open sessions, without weights, in engines that can; later calls retake it."""
        for session, _ in self._sessions.values():
            if hasattr(session, "rest"):
                session.rest()

    @staticmethod
    def _arrays(inputs: Tensors) -> dict[str, np.ndarray]:
        return {name: np.ascontiguousarray(_view(x)) for name, x in inputs.items()}

    @staticmethod
    def _known(inputs: Tensors, settings: dict[str, Any]) -> str:
        """What tells sessions apart."""
        return str((_shapes(inputs), settings))

    def _key(self, shapes: dict[str, list], settings: dict[str, Any]) -> dict[str, Any]:
        return {
            "function": self._name,
            **self._network.digest(self._cache),
            "inputs": shapes,
            "settings": settings,
            "engine": self._backend.name,
            "precision": self._precision,
            "transposed": self._backend.transposes,
            "stored": self._backend.stores(self._precision),
            "fused": self._backend.fuses_attention,
            "channels_last": self._backend.channels_last,
            "versions": {"ppdiffusers_ext": __version__, **self._backend.versions},
        }

    def _open(
        self, function: Function, inputs: Tensors, arrays: dict[str, np.ndarray], key: dict[str, Any]
    ) -> tuple[tuple[Callable, int], list[np.ndarray] | None]:
        """The session with the bytes of its weights, and the outputs, where they have been computed on the way."""
        with self._cache.entry(key):
            folder = self._cache.find(key)
            if folder is not None:
                self._network.release()
                try:
                    return self._timed("open", lambda: self._open_export(folder)), None
                except Exception as error:  # whatever an engine raises at a file that it cannot read
                    logger.warning("%s cannot open %s (%s): it is made again", self._backend.name, folder, error)
                    self._cache.discard(key)
            return self._make(function, inputs, arrays, key)

    def _make(
        self, function: Function, inputs: Tensors, arrays: dict[str, np.ndarray], key: dict[str, Any]
    ) -> tuple[tuple[Callable, int], list[np.ndarray]]:
        self._make_room(self._network_bytes())
        title = f"exporting {self._name} for {self._backend.name}, once for these shapes"
        logger.info("%s", title)
        with tqdm(total=5, desc=title, leave=False, disable=None, bar_format=_BAR) as bar:  # only in a terminal
            layer = self._timed("load", self._network.load, bar)
            self._timed("export", lambda: self._export(layer, function, inputs, key), bar)
            with paddle.no_grad():
                expected = self._timed("run eagerly", lambda: _arrays(function(*inputs.values())), bar)
            folder = self._cache.folder_of(key)
            # A function that uses few of the weights leaves them to the exports to come.
            if self._backend.weigh(folder) > self._network_bytes() / 4:
                self._network.release()
            opened = self._timed("open", lambda: self._open_export(folder), bar)
            outputs = self._timed("run", lambda: self._call(opened[0], arrays, inputs), bar)
        try:
            compare(self._name, self._backend.name, outputs, expected, self._precision)
        except EngineError:
            self._cache.discard(key)
            raise
        return opened, outputs

    def _open_export(self, folder: Path) -> tuple[Callable, int]:
        weights = self._backend.weigh(folder)
        self._make_room(weights)
        return self._backend.open(folder, self._threads, self._precision), weights

    def _make_room(self, weights: int) -> None:
        """Close what was not needed for longest, until there is room for so many bytes more."""
        limit = max(_ROOM * self._network_bytes(), _LEAST_ROOM)
        while self._sessions and sum(open_weights for _, open_weights in self._sessions.values()) + weights > limit:
            del self._sessions[next(iter(self._sessions))]
            return_freed_memory()

    def _network_bytes(self) -> int:
        return sum(parameter.size * 4 for parameter in self._network.model.parameters())

    def _export(self, layer: nn.Layer, function: Function, inputs: Tensors, key: dict[str, Any]) -> None:
        with attention_in_parts(not self._backend.fuses_attention), channels_last(self._backend.channels_last):
            traced = trace(layer, function, inputs)
        folder, stored = None, {}
        if self._backend.shares_weights:
            folder, index = self._cache.weights(layer, key["weights"], key["transposed"], key["stored"])
            stored = {id(tensor): index[name] for name, tensor in layer.state_dict().items()}
        with self._cache.write(key, folder) as temporary:
            self._backend.write(traced, temporary, stored)

    def _timed(self, what: str, call: Callable[[], Any], bar: tqdm | None = None) -> Any:
        start = time.monotonic()
        if bar is not None:
            bar.set_postfix_str(what)
        result = call()
        if bar is not None:
            bar.update()
        self.report.append((what, time.monotonic() - start))
        logger.debug("%s: %s took %.1f s", self._name, what, self.report[-1][1])
        return result


def _shapes(inputs: Tensors) -> dict[str, list]:
    return {name: [str(x.dtype).removeprefix("paddle."), *x.shape] for name, x in inputs.items()}


def _view(x: paddle.Tensor) -> np.ndarray:
    """The numbers of a tensor, those in fp32 without a copy."""
    return np.from_dlpack(x.detach()) if x.dtype == paddle.float32 and x.place.is_cpu_place() else x.numpy()


def _tensor(array: np.ndarray) -> paddle.Tensor:
    """A tensor of an array's numbers, those in fp32 without a copy on a CPU."""
    if array.dtype != np.float32 or paddle.device.get_device() != "cpu":
        return paddle.to_tensor(array)
    return paddle.from_dlpack(array)  # type: ignore[arg-type]  # numpy's own types are of an older protocol


def _arrays(tensors: Sequence[paddle.Tensor]) -> list[np.ndarray]:
    return [tensor.astype("float32").numpy() for tensor in tensors]


def compare(
    name: str, engine: str, outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray], precision: str = "float32"
) -> None:
    """Compare outputs of an export with those of eager mode, both lists of arrays.

    Raises:
        EngineError: shapes differ, or numbers by more than `TOLERANCE` of the largest, in half precision by more than
            `LEAST_DECIBELS` allow, or something is not finite.
    """
    if [array.shape for array in outputs] != [array.shape for array in expected]:
        raise EngineError(
            f"the export of {name} for engine {engine} gives shapes {[array.shape for array in outputs]} instead of "
            f"{[array.shape for array in expected]}; --engine eager is accepted"
        )
    check = _compare_exactly if precision == "float32" else _compare_roughly
    for output, truth in zip(outputs, expected):
        if problem := check(output, truth):
            other = "" if precision == "float32" else "--dtype fp32 or "
            raise EngineError(f"the export of {name} for engine {engine} {problem}; {other}--engine eager is accepted")


def _compare_exactly(output: np.ndarray, truth: np.ndarray) -> str | None:
    largest, error = float(np.abs(truth).max()), float(np.abs(output - truth).max())
    if not (math.isfinite(error) and error <= TOLERANCE * largest):
        return (
            f"differs from eager mode by {error:.3g} where the largest value is {largest:.3g}, and {TOLERANCE:g} of "
            "that is allowed"
        )
    return None


def _compare_roughly(output: np.ndarray, truth: np.ndarray) -> str | None:
    decibels = signal_to_noise(output, truth)
    if not decibels >= LEAST_DECIBELS:
        return f"is {decibels:.1f} dB from eager mode in half precision, and {LEAST_DECIBELS} dB are needed"
    return None
