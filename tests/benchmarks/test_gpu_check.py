"""The check of GPUs, on the CPU: its table and its JSON, what it finds wrong, and what it answers without a GPU."""

import importlib
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks import dit_networks, gpu_check, gpu_networks, harness
from ppdiffusers_ext.errors import InputError

ROOT = Path(__file__).parents[2]
OPTIONS = {"device": "cpu", "systems": list(gpu_check.SYSTEMS), "repeats": 1, "small": True}


@pytest.fixture
def in_this_process(monkeypatch):
    """Contestants run here, where Paddle is loaded."""

    def run(module, name, settings, title):
        return importlib.import_module(f"benchmarks.{module}").CONTESTANTS[name](settings)

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(harness, "run_contestant", run)


@pytest.mark.parametrize("system", gpu_check.SYSTEMS)
def test_every_system_is_checked(in_this_process, monkeypatch, capsys, system):
    monkeypatch.setattr(gpu_check, "find_paths", lambda device: ([("eager", "bfloat16")], []))
    fields = gpu_check.compete(Namespace(**OPTIONS | {"systems": [system]}))
    (row,) = fields["rows"]
    assert (row["system"], row["path"]) == (system, "Paddle bf16")
    assert fields["ok"] and row["ok"] and 30 < row["decibels"] < 90, row
    assert row["seconds"] > 0 and row["peak_bytes"] > 1e8
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["system", "path", "seconds", "peak", "GB", "dB", "ok"]
    assert line.startswith(f"{system} ") and line.endswith(" yes")


def test_exports_in_half_precision_are_checked(in_this_process, monkeypatch):
    def predict(settings, engine):
        return {"call": dit_networks.make_call({**settings, **settings["speed"]}, engine)()}

    monkeypatch.setattr(gpu_check, "find_paths", lambda device: ([("onnx", "float16")], []))
    monkeypatch.setitem(gpu_networks.CHECKS, "easy_animate", predict)
    (row,) = gpu_check.compete(Namespace(**OPTIONS | {"systems": ["easy_animate"]}))["rows"]
    assert row["ok"] and 30 < row["decibels"] < 90, row
    assert row["path"] == "ONNX Runtime fp16" and row["providers"] == ["CPUExecutionProvider"]


def test_paths_of_a_cpu_are_those_that_it_has():
    paths, told = gpu_check.find_paths("cpu")
    assert paths == [("eager", "float32"), ("eager", "bfloat16"), ("onnx", "float32"), ("onnx", "float16")]
    assert told == []


def test_a_path_that_differs_or_fails_is_not_ok(monkeypatch, capsys):
    def run(module, name, settings, title):
        if settings.get("dtype") == "bfloat16":
            raise harness.ContestantError("it ended")
        return {"seconds": 1.0, "peak_bytes": 1}

    monkeypatch.setattr(harness, "run_contestant", run)
    monkeypatch.setattr(gpu_check, "_decibels", lambda *files: 39.0)
    fields = gpu_check.compete(Namespace(**OPTIONS | {"systems": ["easy_animate"]}))
    assert [row["ok"] for row in fields["rows"]] == [False, False, False, True]  # 39 dB are enough for fp16
    assert not fields["ok"]
    table = capsys.readouterr().out
    assert "failed: it ended" in table and table.count(" NO\n") == 2


def test_what_the_time_does_not_suffice_for_is_told(monkeypatch):
    monkeypatch.setattr(harness, "run_contestant", lambda *given, **named: {"seconds": 1.0, "peak_bytes": 1})
    monkeypatch.setattr(gpu_check, "SECONDS", -1)
    fields = gpu_check.compete(Namespace(**OPTIONS | {"systems": ["stable_animator"]}))
    assert {row["error"] for row in fields["rows"]} == {"there was no time left of -1 seconds"}


@pytest.mark.parametrize("told, used", [("81559\n", 81559 * 2**20), ("[N/A]", None), ("", None)])
def test_memory_is_what_the_driver_tells(monkeypatch, told, used):
    monkeypatch.setattr(subprocess, "run", lambda *given, **named: Namespace(stdout=told))
    assert gpu_check.used_memory("gpu:1") == used


def test_without_a_gpu_it_says_so():
    with pytest.raises(InputError, match="there is no GPU to check .*eager.*onnxruntime-gpu.*--device cpu is"):
        gpu_check.compete(Namespace(**OPTIONS | {"device": "gpu:0"}))


def test_the_command_takes_it():
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks", "gpu_check", "--repeats", "0"], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 2 and "1 or more is accepted" in process.stderr
