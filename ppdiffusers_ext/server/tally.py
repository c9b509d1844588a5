"""What the jobs of a server come to, for `GET /metrics`; counted from its start."""

import threading
from collections import Counter
from collections.abc import Mapping

from ppdiffusers_ext.observability.prometheus import COUNTER, Metric, text_of
from ppdiffusers_ext.server.records import ENDED, FAILED, STATES


class Tally:
    """Counts what ends. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._ended, self._seconds = Counter[str](), Counter[str]()
        self._lost = 0

    def ended(self, state: str, seconds: Mapping[str, float]) -> None:
        """A job ends in a state, after so many seconds of each stage."""
        with self._guard:
            self._ended[state] += 1
            self._seconds.update(seconds)

    def lost(self) -> None:
        """A worker ends in the middle of a job."""
        with self._guard:
            self._lost += 1

    def text(self, jobs: Mapping[str, int], memory: Mapping[str, int]) -> str:
        """Prometheus' text.

        Args:
            jobs: state -> how many there are now.
            memory: process -> bytes that it has now.
        """
        with self._guard:
            ended, seconds, lost = {state: self._ended[state] for state in ENDED}, dict(self._seconds), self._lost
        return text_of(
            [
                Metric("jobs", "Jobs that the server knows, by state.").add_each(
                    {state: jobs.get(state, 0) for state in STATES}, "state"
                ),
                Metric("jobs_ended_total", "Jobs that ended since the server began, by state.", COUNTER).add_each(
                    ended, "state"
                ),
                Metric("failures_total", "Jobs that failed, and workers that ended in a job.", COUNTER)
                .add(ended[FAILED], kind="job")
                .add(lost, kind="worker"),
                Metric("stage_seconds_total", "Seconds of ended jobs by stage.", COUNTER).add_each(seconds, "stage"),
                Metric("resident_memory_bytes", "Memory that the processes of the server have.").add_each(
                    memory, "process"
                ),
            ]
        )
