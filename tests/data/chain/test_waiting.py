"""Steps that wait for a server work on several rows at a time, and lose no answer when the server is gone."""

import threading

import pytest

from ppdiffusers_ext.data.chain.waiting import WaitingEngine
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.workers.tasks import Stop, Task


class Job:
    """Answers some rows when as many are there as are to be worked on at a time; gives up at the row `stop`.

    Args:
        at_a_time: how many.
        together: keys of these rows.
    """

    names = ("captions",)

    def __init__(self, at_a_time, together):
        self.barrier, self.together, self.opened = threading.Barrier(at_a_time), together, 0

    def open(self):
        self.opened += 1

    def __call__(self, row, names):
        if row["key"] in self.together:
            self.barrier.wait(10)
        if row["key"] == "stop":
            raise Stop("the server is gone")
        return {"captions": {"columns": {"caption": row["key"]}}}


def tasks(*keys):
    return [Task({"key": key}, ("captions",), 10.0, {}) for key in keys]


def test_rows_are_worked_on_at_a_time():
    job = Job(3, "abcdef")
    done = {task.row["key"]: outcomes for task, outcomes in WaitingEngine(3).run(job, tasks(*"abcdef"))}
    assert done == {key: {"captions": {"columns": {"caption": key}}} for key in "abcdef"} and job.opened == 1


def test_nothing_is_opened_for_no_rows():
    job = Job(1, "")
    assert [*WaitingEngine(1).run(job, [])] == [] and job.opened == 0


def test_answers_that_are_there_are_kept_when_the_server_is_gone():
    done = []
    with pytest.raises(InputError, match="the server is gone"):
        for task, _ in WaitingEngine(3).run(Job(3, ("a", "stop", "b")), tasks("a", "stop", "b", "c", "d", "e")):
            done.append(task.row["key"])
    assert {"a", "b"} <= {*done}
