"""Seconds that the stages of a run take, as it tells them; see `watching`."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator

from ppdiffusers_ext.environment import peak_memory
from ppdiffusers_ext.observability.events import logged
from ppdiffusers_ext.pipelines.watching import Watch, watched_by


class StageTimes(Watch):
    """
    Args:
        tell: called with the name of each stage that ends, and how long it took.

    Attributes:
        seconds: stage -> how long it took so far, all of its times together. What is not of a stage counts for the one
            before.
    """

    def __init__(self, tell: Callable[[str, float], object] = lambda stage, seconds: None) -> None:
        self._tell = tell
        self._stage: str | None = None
        self._begun = 0.0
        self.seconds: dict[str, float] = {}

    def stage(self, name: str, total: int) -> None:
        if name != self._stage:
            self.end()
            self._stage, self._begun = name, time.monotonic()

    def end(self) -> None:
        """The run is over, and so is its last stage."""
        if self._stage is not None:
            seconds = time.monotonic() - self._begun
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + seconds
            self._tell(self._stage, seconds)
            self._stage = None


@contextlib.contextmanager
def logged_run(path: str | os.PathLike | None, command: str) -> Iterator[None]:
    """Within it, events of a run are written to a file, if one is named: its stages, too. See `events.logged`."""
    with logged(path, command) as log:
        if log is None:
            yield
            return

        def tell(stage: str, seconds: float) -> None:
            log.write("stage_finished", stage=stage, seconds=round(seconds, 3), memory_bytes=peak_memory())

        times = StageTimes(tell)
        with watched_by(times):
            yield
        times.end()
