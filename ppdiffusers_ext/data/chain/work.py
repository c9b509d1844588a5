"""What a worker does with a row: the work of one step, or of several that share a decoding, and how it ends."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ppdiffusers_ext.data.chain.steps import Columns, Place, Row, Step, StopRun
from ppdiffusers_ext.data.outputs import moved_by
from ppdiffusers_ext.errors import InputError, one_line
from ppdiffusers_ext.workers.tasks import Outcome, Stop, is_of_disk

_MOST_OF_REASON = 600


@dataclass
class StepJob:
    """The `Job` of one step."""

    step: Step
    place: Place

    @property
    def names(self) -> tuple[str, ...]:
        return (self.step.name,)

    @property
    def is_network(self) -> bool:
        return self.step.is_network

    def open(self) -> None:
        """Open the step."""
        self.step.open(self.place)

    def __call__(self, row: Row, names: Sequence[str]) -> dict[str, Outcome]:
        return {self.step.name: outcome_of(lambda: self.step(row, self.place))}


def outcome_of(work: Callable[[], Columns | list[Columns]]) -> Outcome:
    """What work gives, as JSON has it, or the reason for which it fails.

    Raises:
        Stop: the disk is full or read-only.
    """
    try:
        with moved_by("output"):  # so that messages about a full disk name it
            found = json.loads(json.dumps(work(), allow_nan=False, default=_plain))
    except Exception as error:
        return failure_of(error)
    return {"rows": found} if isinstance(found, list) else {"columns": found}


def failure_of(error: Exception) -> Outcome:
    """The outcome of an error. Raises Stop for one that the next row would meet, too."""
    if isinstance(error, (Stop, StopRun)):
        raise Stop(str(error)) from error
    if is_of_disk(error):
        told = str(error) if isinstance(error, InputError) else f"the disk takes no more ({error}); free some space"
        raise Stop(f"{told}: the same command goes on with what is missing") from error
    if isinstance(error, MemoryError):
        return {"error": "out of memory"}
    words = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return {"error": one_line(words, _MOST_OF_REASON)}


def _plain(value: Any) -> Any:
    """A number or an array of numpy as JSON has it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no plain value")
