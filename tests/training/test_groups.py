"""Groups of all processes, which share their connections where these are gloo's."""

from types import SimpleNamespace

import pytest
from paddle.distributed import collective

from ppdiffusers_ext.training.groups import share_connections


@pytest.fixture
def make(monkeypatch):
    """Paddle's function, in a run of three processes, that makes what a group talks through."""
    first = SimpleNamespace(nranks=3, process_group="the first")
    monkeypatch.setattr(collective, "_get_default_group", lambda: first)
    monkeypatch.setattr(collective, "_new_process_group_impl", lambda *given, **options: (given, options))
    share_connections()
    share_connections()
    return lambda *given, **options: collective._new_process_group_impl(*given, **options)


def test_group_of_all_processes_shares_the_connections_of_the_first(make):
    assert make("gloo", "store", 1, 3, "name", pg_options=None, group_id=11) == "the first"


@pytest.mark.parametrize(
    "given", [("gloo", "store", 1, 2, "name"), ("nccl", "store", 1, 3, "name")], ids=lambda g: g[0]
)
def test_other_groups_are_made_as_before(make, given):
    assert make(*given, group_id=11) == (given, {"group_id": 11})
