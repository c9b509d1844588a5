"""What engines take and give: work, tasks, and what became of them."""

import errno
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_DISK = (*FULL, errno.EROFS)

# {"columns": {...}}, {"rows": [{...}]} of work that makes rows, or {"error": reason}.
Outcome = dict[str, Any]
LOCAL, RAY = ENGINES = ("local", "ray")


class Stop(Exception):
    """Something that is wrong with the run, not with a row: a full disk."""


class Job(Protocol):
    """Work on a row, done by workers; it is copied to them."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its steps."""

    @property
    def is_network(self) -> bool:
        """Whether it loads a network, which a worker keeps for its next rows."""

    def open(self) -> None:
        """Prepare the process. Raises InputError where it cannot be done."""

    def __call__(self, row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Outcome]:
        """What becomes of a row in the steps that are named. Raises Stop."""


@dataclass(frozen=True, eq=False)
class Task:
    """A row to work on.

    Attributes:
        row: its columns.
        names: of the steps of the job that are wanted.
        seconds: that the work may take.
        made_of: step -> digest of what the row is made of.
        option: the option that allows more seconds.
    """

    row: Mapping[str, Any]
    names: Sequence[str]
    seconds: float
    made_of: Mapping[str, str]
    option: str = "--row-timeout"


Lost = Callable[[Task, str], Any]


class Engine(Protocol):
    """Runs jobs."""

    def run(
        self, job: Job, tasks: Iterable[Task], lost: Lost = lambda task, why: None
    ) -> Iterator[tuple[Task, dict[str, Outcome]]]:
        """Each task with its outcome for each of its steps, in any order; takes tasks as they are needed.

        Args:
            job: the work.
            tasks: what it is done on.
            lost: called with a task whose worker ended, and how, before it is tried once more.

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
    return f"it took longer than {task.seconds:.0f} seconds; {task.option} allows more"


def is_of_disk(error: BaseException | None, numbers: Collection[int] = _OF_DISK) -> bool:
    """Whether an error, or what caused it, is a disk that takes no more.

    numbers: of the system's errors that are meant.
    """
    while error is not None:
        if getattr(error, "errno", None) in numbers:
            return True
        error = error.__cause__ or error.__context__
    return False
