"""The benchmark of the data chain: both ways come to the same clips, and its figures follow from its rows."""

import argparse
import json

import pytest

from benchmarks import data_chain, harness
from ppdiffusers_ext.errors import InputError


def options(*words):
    parser = argparse.ArgumentParser()
    data_chain.add_arguments(parser)
    return parser.parse_args([*words])


@pytest.fixture
def rows(monkeypatch):
    """The contestants work in this process; what each gave, by its title."""
    found = {}

    def run_contestant(module, name, settings, title=None):
        found.setdefault(title or name, []).append(data_chain.CONTESTANTS[name](json.loads(json.dumps(settings))))
        return found[title or name][-1]

    monkeypatch.setattr(harness, "run_contestant", run_contestant)
    real = data_chain._options
    monkeypatch.setattr(data_chain, "_options", lambda settings, folder: real({**settings, "workers": 0}, folder))
    return found


def test_both_ways_come_to_the_same_clips_and_ratios_follow_from_the_rows(rows, capsys):
    small = ("--small", "--videos", "1", "--scenes", "2", "--rows", "20", "--measures", "sharpness", "fingerprint")
    fields = data_chain.compete(options(*small))
    output = capsys.readouterr().out
    assert {row["clips"] for row in fields["all"].values()} == {2}
    ours, original = fields["all"]["2 workers"], fields["all"]["original's way"]
    assert fields["ratios"] == {"original's way": original["seconds"] / ours["seconds"]}
    assert fields["workers_ratio"] == fields["all"]["1 worker"]["seconds"] / ours["seconds"]
    assert list(original["stages"]) == ["cuts", "split", "sharpness", "fingerprint"]
    assert [row["rows"] for row in fields["made_up"].values()] == [20, 200]
    assert all(0 < row["kept"] < row["rows"] for row in fields["made_up"].values())
    assert "PyAV" in fields["cutter"] or "ffmpeg" in fields["cutter"]
    assert "clips per second, original's way" in output


def test_ffmpeg_that_does_not_run_is_refused():
    with pytest.raises(InputError, match="--ffmpeg /nowhere/ffmpeg does not run"):
        data_chain.compete(options("--ffmpeg", "/nowhere/ffmpeg"))
