"""What programs read of a batch while it runs: events of its jobs, and its numbers for Prometheus.

Events, beside those of `observability.events`, each with the `output` and the `command` of the job:

    job_started    attempt
    job_finished   state, seconds, memory_bytes, stages, and identity and pose_error where they are known
    job_failed     attempt, failures, reason
    job_retried    reason: its worker ended, and it is tried once more when all others are done
    job_stopped    the run has ended before it
"""

import os
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ppdiffusers_ext.batch.job_list import BatchJob
from ppdiffusers_ext.batch.manifest import BEGUN, FAILED, LOST, STATES, WAITING, Entry
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.environment import peak_memory
from ppdiffusers_ext.observability.events import current_log
from ppdiffusers_ext.observability.prometheus import COUNTER, Metric, text_of

_PAUSE = 5.0  # seconds between two files of numbers


class Observer:
    """
    Args:
        name: of the list of jobs.
        entries: of its manifest.
        path: of the file of numbers, which node_exporter's textfile collector reads; None for none.
    """

    def __init__(self, name: str, entries: Collection[Entry], path: str | os.PathLike | None) -> None:
        self._name, self._entries, self._path = name, entries, path
        self._next = 0.0

    def __call__(self, what: str, job: BatchJob, entry: Entry) -> None:
        """Something happens to a job; see `Entry.happened`."""
        log = current_log()
        if log is not None:
            event, values = _event_of(what, entry)
            log.write(event, output=job.output, command=job.command, **values)
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write the numbers as they are now. Raises InputError where that cannot be done."""
        if self._path is not None:
            with output_file(self._path) as temporary:
                Path(temporary).write_text(text_of(metrics_of(self._name, self._entries)), encoding="utf-8")
        self._next = time.monotonic() + _PAUSE


def _event_of(what: str, entry: Entry) -> tuple[str, dict[str, Any]]:
    if what == BEGUN:
        return "job_started", {"attempt": entry.attempts}
    if what == WAITING:
        return "job_stopped", {}
    if what == LOST:
        return "job_retried", {"reason": entry.reason}
    if what == FAILED:
        return "job_failed", {"attempt": entry.attempts, "failures": entry.failures, "reason": entry.reason}
    facts = {"state": what, "seconds": round(entry.seconds, 3), "memory_bytes": entry.memory}
    stages = {name: round(seconds, 3) for name, seconds in entry.stages.items()}
    return "job_finished", {**facts, "stages": stages, **entry.figures}


def metrics_of(name: str, entries: Collection[Entry]) -> list[Metric]:
    """The numbers of a batch, with its name as a label: several may lie in one folder."""
    states = Counter(entry.state for entry in entries)
    stages = Counter[str]()
    for entry in entries:
        stages.update(entry.stages)
    of = {"list": name}
    retried = sum(max(0, entry.attempts - 1) for entry in entries)
    return [
        Metric("batch_jobs", "Jobs of the list by state.").add_each(
            {state: states[state] for state in STATES}, "state", **of
        ),
        Metric("batch_failures_total", "Failed attempts, ended workers among them.", COUNTER).add(
            sum(entry.failures for entry in entries), **of
        ),
        Metric("batch_retries_total", "Attempts after the first one of a job.", COUNTER).add(retried, **of),
        Metric("batch_job_seconds_total", "Seconds of finished jobs in their workers.", COUNTER).add(
            sum(entry.seconds for entry in entries), **of
        ),
        Metric("batch_stage_seconds_total", "Seconds of finished jobs by stage.", COUNTER).add_each(
            stages, "stage", **of
        ),
        Metric("batch_worker_peak_memory_bytes", "Most memory of a worker during a finished job.").add(
            max((entry.memory for entry in entries), default=0), **of
        ),
        Metric("batch_driver_peak_memory_bytes", "Most memory of the process that gives out jobs.").add(
            peak_memory(), **of
        ),
    ]
