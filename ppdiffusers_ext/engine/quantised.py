"""Function of a network in int8: its export is quantised once, by inputs that were recorded."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ppdiffusers_ext.engine.calibration import NotCalibrated
from ppdiffusers_ext.engine.compiled import CompiledFunction, EngineError, Function, Tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    import paddle

    from ppdiffusers_ext.engine.calibration import Calibration

logger = logging.getLogger(__name__)

INT8 = "int8"
# Below this ratio of signal to noise a tenth of the amplitude of what a function gives is noise.
LEAST_DECIBELS = 20
_RECIPE = 1  # to be raised when exports of the same inputs become other ones


class QuantisedFunction(CompiledFunction):
    """Runs a function in int8. A missing export is made of recorded inputs, or if there are none, of the call's.

    Args:
        plain: the `CompiledFunction` of the same function, whose exports are quantised.
        calibration: a `Calibration`.
    """

    def __init__(self, plain: CompiledFunction, calibration: Calibration) -> None:
        self.__dict__.update(plain.__dict__)
        self._plain, self._calibration = plain, calibration
        self._quantise: Any = plain._backend.quantise
        self._sessions, self.report = {}, plain.report

    def __call__(self, function: Function, inputs: Tensors, **settings: Any) -> list[paddle.Tensor]:
        """As `CompiledFunction.__call__`.

        Raises:
            NotCalibrated: there is no export, and a rehearsal is to come that records inputs.
            EngineError: the export is too far from fp32.
        """
        if self._calibration.records:
            self._calibration.add(self._title(inputs, settings), self._arrays(inputs))
            return self._plain(function, inputs, **settings)
        if self._calibration.awaits and not self.has(inputs, **settings):
            raise NotCalibrated(self._name)
        return super().__call__(function, inputs, **settings)

    def _title(self, inputs: Tensors, settings: dict[str, Any]) -> str:
        return f"{self._name} {id(self._network)} {self._known(inputs, settings)}"

    def _key(self, shapes: dict[str, list], settings: dict[str, Any]) -> dict[str, Any]:
        by = {"recipe": _RECIPE, "activations": self._backend.multiplies_int8()}
        return {**super()._key(shapes, settings), "quantised": {"weights": INT8, **by}}

    def _make(
        self, function: Function, inputs: Tensors, arrays: dict[str, np.ndarray], key: dict[str, Any]
    ) -> tuple[tuple[Callable, int], list[np.ndarray]]:
        samples = self._calibration.take(self._title(inputs, key["settings"])) or [arrays]
        graph = self._plain.prepare(function, inputs, **key["settings"])
        self._network.release()
        title = f"making {self._name} in int8 for {self._backend.name}, once for these shapes"
        logger.warning("%s, of %d recorded calls", title, len(samples))
        with tqdm(total=None, desc=title, leave=False, disable=None, bar_format="{desc}{postfix} [{elapsed}]") as bar:
            made = self._timed(
                "quantise",
                lambda: self._quantise(graph, self._threads, self._precision, samples, bar.set_postfix_str),
            )
        facts = {**made.facts(), "recorded_calls": len(samples)}
        if not made.decibels >= LEAST_DECIBELS:
            raise EngineError(
                f"{self._name} in int8 is {made.decibels:.1f} dB from fp32, and {LEAST_DECIBELS} dB are needed; a run "
                "without weights int8 is accepted"
            )
        with self._cache.write(key, facts=facts) as temporary:
            made.save(temporary)
        del made
        opened = self._timed("open", lambda: self._open_export(self._cache.folder_of(key)))
        return opened, self._timed("run", lambda: opened[0](arrays))

    def _open_export(self, folder: Path) -> tuple[Callable, int]:
        facts = self._cache.facts(folder)
        decibels, count, kept = float(facts["decibels"]), int(facts["layers"]), facts["layers_in_floating_point"]
        opened = super()._open_export(folder)
        logger.warning(
            "%s in int8: %.1f dB from fp32, %d of %d layers in floating point", self._name, decibels, len(kept), count
        )
        logger.info("facts of the export: %s", json.dumps(facts))
        return opened
