"""On Ray a run comes to what it comes to in one process, whatever becomes of its workers."""

import contextlib
import re
import sys

import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.workers import ray_engine
from ppdiffusers_ext.workers.tasks import Task
from tests.support.chain_steps import Chain

TABLES = ("probe", "split", "score", "captions", "filter")


@pytest.fixture
def ray(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with contextlib.closing(ray_engine.RayEngine(2)):
        yield


@pytest.mark.usefixtures("ray")
def test_ray_gives_what_one_process_gives_and_a_row_that_ends_its_worker_fails_alone(tmp_path):
    chain = Chain(tmp_path, {"a.mp4": "xy", "b.mp4": "p?", "c.mp4": "bad"})
    chain.order("y", "die")
    chain.order("weight-x", "die")
    chain.run(engine="ray", workers=2)
    assert chain.errors("score") == {
        "a_1.mp4": "its worker ended twice (WorkerCrashedError), the second time with nothing beside it",
        "b_1.mp4": "a question has no score; letters are accepted",
    }
    assert chain.errors("weight") == {
        "a_0.mp4": "its worker ended twice (ActorDiedError), the second time with nothing beside it"
    }
    assert {row.get("is_open", True) for row in chain.table("weight").values()} == {True}
    assert chain.calls().count("a_1.mp4") == 2
    for name in ("y", "weight-x"):
        (chain.orders / name).unlink()
    chain.run(engine="ray", workers=2, retry_failed=True)
    on_ray = {name: chain.table(name) for name in TABLES}
    chain.output = chain.output.with_name("one")
    chain.run()
    assert {name: chain.table(name) for name in TABLES} == on_ray


def test_ray_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'ppdiffusers_ext\[ray\]'"):
        ray_engine.RayEngine(1)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999", "[::1]:1"])
def test_cluster_that_does_not_answer_is_told_at_once(address):
    with pytest.raises(InputError, match=re.escape(f"RAY_ADDRESS={address} does not answer")):
        ray_engine._check_address("RAY_ADDRESS=", address)


@pytest.mark.parametrize("address", [":", ":1", "x", "127.0.0.1:999999", "http://x:1", "a b:1", "x:1/2"])
def test_what_is_no_address_is_told(address):
    with pytest.raises(InputError, match="RAY_ADDRESS=.* is no address of a Ray; HOST:PORT is accepted"):
        ray_engine._check_address("RAY_ADDRESS=", address)


class SilentRay:
    """A Ray whose tasks never come to an end. Remembers those that were ended by force."""

    class exceptions:
        RayError = RuntimeError

    def __init__(self):
        self.ended = []

    def put(self, value):
        return value

    def remote(self, **options):
        assert options["max_retries"] == 0
        return lambda function: self

    def wait(self, references, timeout):
        return [], references

    def cancel(self, reference, force):
        assert force
        self.ended.append(reference)


def test_row_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(ray_engine, "_SECONDS_TO_BEGIN", 0.0)
    ray = SilentRay()
    tasks = ray_engine._Tasks(ray, None, {})
    monkeypatch.setattr(tasks, "_submit", lambda task: f"reference of {task.row['key']}")
    tasks.begin(Task({"key": "slow"}, ("score",), -1.0, {}))
    tasks.begin(Task({"key": "quick"}, ("score",), 100.0, {}))
    ((task, outcomes),) = tasks.take(None, lambda task, why: None)
    assert task.row["key"] == "slow" and "--row-timeout allows more" in outcomes["score"]["error"]
    assert ray.ended == ["reference of slow"] and len(tasks.running) == 1
    tasks.close()
    assert ray.ended[1:] == ["reference of quick"]
