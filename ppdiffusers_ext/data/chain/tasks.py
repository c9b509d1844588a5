"""What engines take and give: tasks, and what became of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ppdiffusers_ext.data.chain.steps import Row
from ppdiffusers_ext.data.chain.work import Job, Outcome


@dataclass(frozen=True, eq=False)
class Task:
    """A row to work on.

    Attributes:
        row: its columns.
        names: of the steps of the job that are wanted.
        seconds: that the work may take.
        made_of: step -> digest of what the row is made of; see `tables`.
    """

    row: Row
    names: Sequence[str]
    seconds: float
    made_of: dict[str, str]


class Engine(Protocol):
    """Runs jobs."""

    def run(self, job: Job, tasks: Iterable[Task]) -> Iterator[tuple[Task, dict[str, Outcome]]]:
        """Each task with its outcome for each of its steps, in any order; takes tasks as they are needed.

        Raises:
            InputError: the job cannot begin, or something is wrong that every row would meet, as a full disk.
        """

    def close(self) -> None:
        """End all workers."""


def failed(task: Task, reason: str) -> dict[str, Outcome]:
    """The outcomes of a task that did not come to an end."""
    return {name: {"error": reason} for name in task.names}


def too_long(task: Task) -> str:
    """The reason of a task that was given up for its time."""
    return f"it took longer than {task.seconds:.0f} seconds; --row-timeout allows more"
