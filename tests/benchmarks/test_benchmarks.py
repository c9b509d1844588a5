"""The benchmark command: what it writes, and what it answers to bad input. No timing is asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments, **environment):
    environment = {**{name: value for name, value in os.environ.items() if name != "PEER_PYTHON"}, **environment}
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_denoising_step_measures_ours_and_the_peer_and_writes_their_ratio(tmp_path):
    path = tmp_path / "result.json"
    done = run("denoising_step", "--small", "--size", "8", "--frames", "2", "--repeats", "1", "--json", str(path))
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert result["benchmark"] == "denoising_step"
    for row in (result["ours"], result["ours_with_reference"], *result["peers"].values()):
        assert row["seconds"] > 0 and row["peak_bytes"] > 10**7
    assert list(result["peers"]) == ["ppdiffusers_UNetMotionModel"]
    for name, ratio in result["ratios"].items():
        assert ratio == pytest.approx(result["peers"][name]["seconds"] / result["ours"]["seconds"])
    assert "PEER_PYTHON" in done.stdout


def test_clip_memory_measures_both_lengths_and_their_growth(tmp_path):
    path = tmp_path / "result.json"
    done = run("clip_memory", "--frames", "1", "2", "--steps", "1", "--json", str(path))
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    short, long = (result["frames"][length]["peak_bytes"] for length in ("1", "2"))
    assert result["growth"] == pytest.approx(long / short - 1)
    assert result["ours"]["peak_bytes"] == long


@pytest.mark.parametrize(
    ("arguments", "environment", "word"),
    [
        (["denoising"], {}, "denoising_step"),
        (["denoising_step", "--frames", "33"], {}, "--frames 33"),
        (["clip_memory", "--frames", "4", "2"], {}, "4 2"),
        (["denoising_step"], {"PEER_PYTHON": "/nonexistent/python"}, "PEER_PYTHON"),
        (["denoising_step"], {"PEER_PYTHON": "false"}, "PEER_PYTHON"),
    ],
)
def test_bad_input_is_refused_with_one_line(arguments, environment, word):
    done = run(*arguments, **environment)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(errors) == 1 and word in errors[0], done.stderr
