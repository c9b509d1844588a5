"""Worker processes: a row that ends its worker, or takes too long, fails alone; results are those of one process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.chain_steps import Chain

TEXTS = {"a.mp4": "xy", "b.mp4": "pq", "c.mp4": "st"}


@pytest.fixture
def chain(tmp_path):
    return Chain(tmp_path, TEXTS)


def test_workers_die_hang_and_give_what_one_process_gives(chain):
    chain.order("y", "die")
    chain.order("p", "hang")
    chain.run(workers=2, row_timeout=1.0)
    errors = chain.errors("score")
    assert errors.keys() == {"a_1.mp4", "b_0.mp4"}
    assert errors["a_1.mp4"].startswith("its worker ended twice (by SIGKILL)")
    assert "longer than 1 seconds; --row-timeout" in errors["b_0.mp4"]
    assert chain.calls().count("a_1.mp4") == 2
    for name in ("y", "p"):
        (chain.orders / name).unlink()
    chain.run(workers=2, retry_failed=True)
    assert [line for line in chain.calls() if "caption" not in line] == ["a_1.mp4", "b_0.mp4"]
    several = results_of(chain)
    chain.output = chain.output.with_name("one")
    chain.run()
    assert results_of(chain) == several


def results_of(chain):
    """Path -> content of all files of a run but those that name its folder."""
    return {name: content for name, content in chain.files().items() if name not in ("chain.yaml", "report.html")}


PROGRAM = """
import sys
from pathlib import Path
from ppdiffusers_ext.data.chain import tables
from tests.support.chain_steps import Chain

if __name__ == "__main__":
    chain = Chain(Path(sys.argv[1]), {})
    tables.PART_ROWS = 1
    chain.run(workers=1)
"""


def test_killed_run_goes_on_from_its_parts(chain, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    chain.order("q", "hang")
    run = subprocess.Popen([sys.executable, "program.py", str(tmp_path)], cwd=tmp_path, env=_environment())
    parts = chain.output / "tables/score.parts"
    # A part that is being written has another name, with the same ending.
    assert _comes(lambda: len([path for path in parts.glob("*.jsonl") if path.stem.isdigit()]) >= 3, run)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (chain.output / "tables/score.jsonl").exists()
    (chain.orders / "q").unlink()
    chain.calls()
    chain.run()
    assert [line for line in chain.calls() if "caption" not in line] == ["b_1.mp4", "c_0.mp4", "c_1.mp4"]
    assert len(chain.table("score")) == 6


def _environment():
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root}


def _comes(condition, run):
    for _ in range(400):
        if condition():
            return True
        assert run.poll() is None
        time.sleep(0.05)
    return False


def test_program_without_a_guard_is_told_what_it_lacks(chain, tmp_path):
    program = PROGRAM.replace('if __name__ == "__main__":\n', "if True:\n").replace("chain.run(", "x = chain.run(")
    (tmp_path / "program.py").write_text(program)
    run = subprocess.run(
        [sys.executable, "program.py", str(tmp_path)], cwd=tmp_path, env=_environment(), capture_output=True, text=True
    )
    assert run.returncode and 'behind `if __name__ == "__main__":`' in run.stderr
