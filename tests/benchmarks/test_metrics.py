"""The benchmark of metrics' networks: what its JSON says. No time is asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_json_has_each_network_and_their_sum(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PEER_PYTHON"}
    options = ["--small", "--networks", "lpips_alex", "lpips_vgg", "--engines", "onnx", "eager", "--repeats", "1"]
    command = [sys.executable, "-m", "benchmarks", "metrics", *options, "--json", str(tmp_path / "result.json")]
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    fields = json.loads((tmp_path / "result.json").read_text())
    networks = fields["networks"]
    assert list(networks) == ["lpips_alex", "lpips_vgg"]
    assert fields["ours"]["seconds"] == sum(of["ours"]["seconds"] for of in networks.values())
    assert fields["peers"] == {} and "torch is left out: PEER_PYTHON" in process.stdout
    assert "torch and lpips and pytorch_fid" in process.stdout
    for of in networks.values():
        assert (of["ours"]["engine"], of["settings"]["small"]) == ("onnx", True)
        assert list(of["engines"]) == ["ours_eager"]
    assert process.stdout.count("ours_eager differs from ours by") == 2
