"""The benchmark of the memory of training: its JSON, and what it answers to bad input."""

import json

import pytest

from tests.benchmarks.test_benchmarks import assert_bad_input, benchmarks

pytestmark = pytest.mark.long

TINY = ("training_memory", "--small", "--cases", "64x64x2", "--steps", "2", "--variants", "checkpointing")


def test_json_has_prediction_and_peak_of_the_trainers_process(tmp_path):
    process = benchmarks(*TINY, "--json", tmp_path / "result.json")
    assert process.returncode == 0, process.stderr
    fields = json.loads((tmp_path / "result.json").read_text())
    (row,) = fields["cases"].values()
    assert row["parts"]["weights"] > row["parts"]["gradients"] > 1e6
    assert 3e8 < row["peak_bytes"] < 3e9 and row["speed"] == 1
    assert fields["ratios"] == {"64x64x2 checkpointing": row["predicted_bytes"] / row["peak_bytes"]}
    assert "64x64x2 checkpointing" in process.stdout


def test_bad_cases_are_refused():
    assert_bad_input(benchmarks("training_memory", "--cases", "64x64"), "--cases 64x64 is no size")
    assert_bad_input(benchmarks("training_memory", "--steps", "1"), "--steps 1 is too few")
