"""On Ray a run comes to what it comes to in one process, whatever becomes of its workers."""

import contextlib
import sys

import pytest

from ppdiffusers_ext.data.chain import engine_ray
from ppdiffusers_ext.errors import InputError
from tests.support.chain_steps import Chain

TABLES = ("probe", "split", "score", "captions", "filter")


@pytest.fixture
def ray(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with contextlib.closing(engine_ray.RayEngine(2)):
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
        engine_ray.RayEngine(1)
