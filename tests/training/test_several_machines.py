"""Trainings on two machines, which are two launches here: as on one, in any number, and what a lost one does."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.loading import read_state
from tests.support import toy_training
from tests.support.ports import free_address, free_port

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="there is no /proc to find processes in"),
]
ROOT = Path(__file__).parents[2]
OPTIONS = {
    "do_train": True,
    "max_steps": 6,
    "save_steps": 2,
    "save_strategy": "steps",
    "per_device_train_batch_size": 1,
    "learning_rate": 0.01,
    "lr_scheduler_type": "constant",
    "logging_steps": 1,
    "device": "cpu",
    "disable_tqdm": True,
    "report_to": "none",
}


def train_here(folder, **options):
    """One process, with two accumulated batches."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {**OPTIONS, "gradient_accumulation_steps": 2, "output_dir": str(folder / "out"), **options}
    (folder / "toy.yaml").write_text(yaml.safe_dump(given))
    assert toy_training.run(str(folder / "toy.yaml")) == 0


class Launches:
    """Launches of one training in a folder; those that still run are killed with all their processes at the end."""

    def __init__(self, folder):
        self._folder, self._running = folder, []

    def start(self, name, *words, **options):
        """A launch whose output goes to a file of that name."""
        given = {**OPTIONS, "sharding": "stage1", "output_dir": str(self._folder / "out"), **options}
        (self._folder / f"{name}.yaml").write_text(yaml.safe_dump(given))
        command = [sys.executable, "-m", "scripts.launch", *words, "--log_dir", str(self._folder / "log")]
        with open(self._folder / f"{name}.txt", "w") as printed:
            process = subprocess.Popen(
                [*command, str(ROOT / "tests/support/toy_training.py"), str(self._folder / f"{name}.yaml")],
                cwd=ROOT,
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
        self._running.append(process)
        return process

    def printed(self, name):
        return (self._folder / f"{name}.txt").read_text()

    def kill(self, process):
        """Kill a launch and its processes, as if its machine was lost."""
        if process.poll() is None:
            process.send_signal(signal.SIGSTOP)  # so that it does not see them end
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for pid in (*map(int, children), process.pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def end(self):
        for process in self._running:
            self.kill(process)


@pytest.fixture
def launches(tmp_path):
    made = Launches(tmp_path)
    yield made
    made.end()


def two_machines(launches, port, *words, **options):
    common = ["--nnodes", "2", "--master", f"127.0.0.1:{port}", "--nproc_per_node", "1"]
    return [launches.start(f"machine{rank}", *common, "--rank", str(rank), *words, **options) for rank in range(2)]


def losses(printed):
    return {int(step): loss for step, loss in re.findall(r"step (\d+)/\d+: loss ([^,]+),", printed)}


def samples(folder):
    return sorted(int(word) for path in folder.glob("samples.*") for word in path.read_text().split())


def assert_close(folder, other, step=6):
    """The weights, and the optimiser's state, of a run that has one file of it."""
    state, expected = (read_state(each / f"checkpoint-{step}" / "optimizer.pdopt") for each in (folder, other))
    assert state.keys() == expected.keys()
    pairs = [(state[name], expected[name]) for name in state if name != "LR_Scheduler"]
    weights, wanted = (load_tensors(each / f"checkpoint-{step}" / "toy.safetensors") for each in (folder, other))
    pairs += [(weights[name], wanted[name]) for name in weights]
    for tensor, other in pairs:
        np.testing.assert_allclose(tensor.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)


def test_one_process_then_two_machines_then_one_process_do_what_one_does(tmp_path, launches, capsys):
    """Of a run of six steps, each with two samples: two steps by one process, two by two machines, two by one."""
    train_here(tmp_path / "whole")
    whole = losses(capsys.readouterr().err)
    shutil.copytree(tmp_path / "whole" / "out" / "checkpoint-2", tmp_path / "out" / "checkpoint-2")
    machines = two_machines(launches, free_port(), max_steps=4)
    assert [machine.wait(120) for machine in machines] == [0, 0], launches.printed("machine0")
    two = losses(launches.printed("machine0"))
    assert samples(tmp_path / "out") == [4, 5, 6, 7]
    assert len((tmp_path / "out" / "samples.0").read_text().split()) == 2
    files = {path.name for path in (tmp_path / "out" / "checkpoint-4").iterdir()}
    assert {"optimizer.shard00.pdopt", "optimizer.shard01.pdopt"} <= files and "optimizer.pdopt" not in files
    train_here(tmp_path)
    last = losses(capsys.readouterr().err)
    assert (set(two), set(last)) == ({3, 4}, {5, 6})
    together = {step: float(loss) for step, loss in {**two, **last}.items()}
    assert together == {step: pytest.approx(float(whole[step]), rel=1e-5) for step in together}
    assert samples(tmp_path / "out") == list(range(4, 12))
    assert_close(tmp_path / "out", tmp_path / "whole" / "out")

    (tmp_path / "one_machine").mkdir()
    single = Launches(tmp_path / "one_machine")
    shutil.copytree(tmp_path / "whole" / "out" / "checkpoint-2", tmp_path / "one_machine" / "out" / "checkpoint-2")
    assert single.start("machine", "--nproc_per_node", "2", max_steps=4).wait(120) == 0
    assert losses(single.printed("machine")) == two


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_machine_that_is_lost_ends_the_other_and_the_run_goes_on_when_it_is_back(tmp_path, launches):
    port, options = free_port(), {"max_steps": 60, "save_steps": 1, "save_total_limit": 3, "learning_rate": 1e-3}
    first, lost = two_machines(launches, port, "--max_restart", "1", **options)
    wait_for(lambda: len(checkpoints.steps_of(tmp_path / "out")) >= 2 or first.poll() is not None)
    launches.kill(lost)
    wait_for(lambda: "restart 1 of 1" in launches.printed("machine0") or first.poll() is not None, 60)
    said = launches.printed("machine0")
    assert first.poll() is None, said
    (error,) = set(re.findall("^error: .*", said, re.MULTILINE))
    assert re.match(
        "error: (the connection to another process of this run is lost|the machine with --rank 1 has)", error
    )
    lines = said.splitlines()
    steps = [number for number, line in enumerate(lines) if line.startswith("step ")]
    assert lines[0].startswith("waiting for the other machines") and lines.index(error) > steps[-1]
    newest = checkpoints.newest_valid(tmp_path / "out")
    assert newest is not None
    step = checkpoints.step_of(newest)
    assert step < 60
    common = ["--nnodes", "2", "--master", f"127.0.0.1:{port}", "--nproc_per_node", "1", "--rank", "1"]
    again = launches.start("machine1_again", *common, **options)
    assert (again.wait(120), first.wait(60)) == (0, 0), launches.printed("machine0")
    assert f"the run goes on from {newest}" in launches.printed("machine0")
    assert checkpoints.steps_of(tmp_path / "out")[0] == 60
    seen = samples(tmp_path / "out")
    assert set(seen) == set(range(120))
    assert len(seen) - 120 <= 2 * 2 * 2  # steps after the newest checkpoint were made again


def test_machines_with_other_options_both_refuse(launches):
    common = ["--nnodes", "2", "--master", free_address(), "--nproc_per_node", "1", "--rank"]
    machines = [
        launches.start("machine0", *common, "0"),
        launches.start("machine1", *common, "1", learning_rate=0.02),
    ]
    assert [machine.wait(120) for machine in machines] == [2, 2]
    for rank in range(2):
        assert "error: --learning_rate is not the same in all processes: 0.01 in" in launches.printed(f"machine{rank}")
