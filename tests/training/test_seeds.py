"""The seed that is drawn for --seed -1."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.training.seeds import choose_seed

ROOT = Path(__file__).parents[2]
SCRIPT = """
import paddle
from types import SimpleNamespace
from ppdiffusers_ext.training.seeds import choose_seed

paddle.distributed.init_parallel_env()
choice = SimpleNamespace(seed=-1, overwrite_output_dir=True, resume_from_checkpoint=None, output_dir="none")
print("drawn:", choose_seed(choice))
"""


def arguments(folder, **others):
    usual = {"seed": -1, "overwrite_output_dir": False, "resume_from_checkpoint": None, "output_dir": str(folder)}
    return SimpleNamespace(**{**usual, **others})


def write_checkpoint(folder, seed):
    hidden = checkpoints.hidden_folder_of(folder, 2)
    hidden.mkdir(parents=True)
    checkpoints.complete(hidden, checkpoints.folder_of(folder, 2), {"seed": seed}, 2)


def test_given_seed_stays(tmp_path):
    assert choose_seed(arguments(tmp_path, seed=0)) == 0


def test_drawn_seeds_differ_and_are_in_the_range(tmp_path):
    seeds = {choose_seed(arguments(tmp_path)) for _ in range(5)}
    assert len(seeds) == 5 and all(0 <= seed < 2**32 for seed in seeds)


def test_run_that_goes_on_has_its_seed_again(tmp_path):
    write_checkpoint(tmp_path / "out", 0)
    assert choose_seed(arguments(tmp_path / "out")) == 0
    assert choose_seed(arguments(tmp_path, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))) == 0
    assert choose_seed(arguments(tmp_path / "out", overwrite_output_dir=True)) != 0


def test_note_says_whether_the_seed_is_drawn_or_the_checkpoints(tmp_path, caplog):
    write_checkpoint(tmp_path / "out", 0)
    with caplog.at_level("INFO", logger="ppdiffusers_ext"):
        choose_seed(arguments(tmp_path / "out"))
        assert caplog.messages == ["seed 0 is that of the checkpoint from which the run goes on"]
        drawn = choose_seed(arguments(tmp_path / "new"))
    assert caplog.messages[1] == f"seed {drawn} is drawn; --seed {drawn} does the same again"


@pytest.mark.long
def test_all_processes_draw_the_same(tmp_path):
    (tmp_path / "draw.py").write_text(SCRIPT)
    words = ["-m", "scripts.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path), str(tmp_path / "draw.py")]
    run = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, env=with_project())
    assert run.returncode == 0, run.stdout + run.stderr
    drawn = [re.findall(r"drawn: (\d+)", (tmp_path / f"workerlog.{rank}").read_text()) for rank in range(2)]
    assert len(drawn[0]) == 1 and drawn[0] == drawn[1]


def with_project():
    """The environment, with the project on the path of a script that lies elsewhere."""
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}
