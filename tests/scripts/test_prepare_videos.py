"""The command: what it prints, what it refuses before anything is done, and how it ends when it is stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts import prepare_videos
from scripts.command import run
from tests.support.chain_steps import Chain
from tests.support.holder import Holder


@pytest.fixture
def chain(tmp_path):
    return Chain(tmp_path, {"a.mp4": "xy", "b.mp4": "bad", "c.mp4": "z"})


def prepare(chain, *words):
    """The exit code."""
    given = [str(chain.source), str(chain.output), "--for", "easy_animate", "-j", "0", "--config", str(chain.config)]
    with chain.steps():
        return run(prepare_videos.make_parser(), prepare_videos.work, [*given, *words])


def test_it_prints_what_each_step_came_to(chain, capsys):
    assert prepare(chain) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["probe:        3 rows, 3 new, 1 failed", "split:        3 rows, 2 new"]
    assert "kept 3 of 3 clips" in lines
    assert prepare(chain) == 0
    assert "split:        3 rows, 0 new" in capsys.readouterr().out


def test_exit_code_tells_that_nothing_is_kept(chain, capsys):
    chain.configure("score: {thresholds: {score: {min: 1000}}}")
    assert prepare(chain) == 1
    assert "kept 0 of 3 clips" in capsys.readouterr().out
    assert prepare(chain, "--steps", "probe") == 0 and prepare(chain, "--shard", "1/2") == 0


def test_exit_code_tells_that_no_video_gives_a_clip(chain, capsys):
    for name in ("a.mp4", "c.mp4"):
        chain.write(name, "bad")
    assert prepare(chain) == 1
    assert "kept 0 of 0 clips" in capsys.readouterr().out


def test_damaged_record_is_written_anew(chain, capsys):
    chain.output.mkdir()
    (chain.output / "chain.yaml").write_bytes(b"\xff\xfe")
    assert prepare(chain) == 0
    assert (chain.output / "chain.yaml").read_text().startswith("# ")


@pytest.mark.parametrize(
    ("words", "config", "error"),
    [
        (["--steps", "probe,scores"], "{}", "--steps has 'scores', which is no step; did you mean 'score'?"),
        (["--steps", "captions"], "{}", "step captions needs step score; --steps with both is accepted"),
        (["--shard", "3/2"], "{}", "--shard 3/2 is above the number of parts"),
        (["--shard", "0/2"], "{}", "--shard '0/2' is not known; I/N with I from 1 to N is accepted"),
        ([], "scores: {}", "unknown step in"),
        ([], "score: {settings: {scal: 2}}", "did you mean 'scale'?"),
        ([], "score: {settings: {scale: much}}", "score.scale in"),
        ([], "score: {thresholds: {score: {least: 2}}}", "unknown key of threshold score.score"),
        ([], "score: {thresholds: {score: {min: 2, max: 1}}}", "has min 2 above max 1"),
        ([], "score: {thresholds: {score: {min: 2, reduce: sum}}}", "mean, min or max is accepted"),
        ([], "score: {thresholds: {score: {}}}", "has neither min nor max"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_done(chain, capsys, words, config, error):
    chain.configure(config)
    assert prepare(chain, *words) == 2
    told = capsys.readouterr().err
    assert error in told and told.count("\n") == 1 and not chain.output.exists()


def test_threshold_of_no_column_ends_the_run_behind_its_step(chain, capsys):
    chain.configure("score: {thresholds: {scores: {min: 1}}}")
    assert prepare(chain) == 2
    assert "a threshold score.scores, but no such column; did you mean 'score'?" in capsys.readouterr().err
    assert not (chain.output / "tables/captions.jsonl").exists()


def test_folder_without_videos_is_refused(chain, capsys):
    chain.source = chain.source.parent / "orders"
    assert prepare(chain) == 2
    assert capsys.readouterr().err.startswith(f"error: {chain.source} has no videos; a folder of videos")


def test_two_runs_on_one_output_are_refused(chain, capsys):
    chain.output.mkdir()
    holder = Holder()
    holder.hold(chain.output / "chain.yaml")
    try:
        assert prepare(chain) == 2
    finally:
        holder.end()
    assert "is being written by process" in capsys.readouterr().err


def test_full_disk_is_one_line(chain, capsys):
    chain.order("z", "full")
    assert prepare(chain) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and "No space left on device" in told and told.count("\n") == 1


PROGRAM = """
import sys
from pathlib import Path
from tests.scripts.test_prepare_videos import prepare
from tests.support.chain_steps import Chain

if __name__ == "__main__":
    sys.exit(prepare(Chain(Path(sys.argv[1]), {}), "-j", "2"))
"""


def test_stopped_run_keeps_what_is_done_and_leaves_no_process(chain, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    chain.order("z", "hang")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "program.py", str(tmp_path)], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    for _ in range(400):
        if chain.calls_file.exists() and len(chain.calls_file.read_text().splitlines()) == 3:
            break
        time.sleep(0.05)
    workers = _children_of(process.pid)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=30)[1]
    assert process.returncode == 143
    assert "note: what is done is kept; the same command goes on with the rest" in told
    assert "error: stopped by SIGTERM" in told
    assert len(workers) >= 2 and _end(workers)
    (chain.orders / "z").unlink()
    chain.calls()
    assert prepare(chain) == 0
    worked = [line for line in chain.calls() if "caption" not in line]
    assert "c_0.mp4" in worked and len(worked) <= 2  # of three: the end of one may not have been told yet


def _children_of(number):
    return [int(word) for word in Path(f"/proc/{number}/task/{number}/children").read_text().split()]


def _end(numbers):
    """Whether processes end within some seconds."""
    for _ in range(100):
        if not any(Path(f"/proc/{number}").exists() for number in numbers):
            return True
        time.sleep(0.05)
    return False
