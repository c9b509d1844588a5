"""Checkpoints are complete or not there, and what is damaged is passed over."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training import checkpoints

ROOT = Path(__file__).parents[2]
RUN = {"stage": 1, "width": 2}


def save(output_dir, step, content=b"weights", run=RUN):
    hidden = checkpoints.hidden_folder_of(output_dir, step)
    (hidden / "sub").mkdir(parents=True)
    (hidden / "weights.bin").write_bytes(content)
    (hidden / "sub" / "state.json").write_text("{}")
    checkpoints.complete(hidden, checkpoints.folder_of(output_dir, step), run, step)
    return checkpoints.folder_of(output_dir, step)


def test_complete_checkpoint_is_valid_and_listed(tmp_path):
    folders = {step: save(tmp_path, step) for step in (9, 100, 20)}
    assert checkpoints.steps_of(tmp_path) == [100, 20, 9]
    assert {checkpoints.problem_of(folder) for folder in folders.values()} == {None}
    assert checkpoints.newest_valid(tmp_path) == folders[100]
    assert [path.name for path in tmp_path.glob(".*")] == []
    files = json.loads((folders[9] / "manifest.json").read_text())["files"]
    assert set(files) == {"weights.bin", os.path.join("sub", "state.json")}


def test_checkpoint_knows_its_step_whatever_its_folder_is_called(tmp_path):
    renamed = save(tmp_path, 9).rename(tmp_path / "best")
    assert checkpoints.step_of(renamed) == 9


def test_all_are_removed_and_nothing_else(tmp_path):
    save(tmp_path, 3)
    (save(tmp_path, 4) / "manifest.json").unlink()
    checkpoints.hidden_folder_of(tmp_path, 5).mkdir()
    (tmp_path / "weights.safetensors").write_text("of the run")
    checkpoints.remove_all(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_folder_without_checkpoints_has_none(tmp_path):
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-3").write_text("a file")
    assert checkpoints.newest_valid(tmp_path) is None
    assert checkpoints.newest_valid(tmp_path / "nowhere") is None


DAMAGES = {
    "weights.bin is missing": lambda folder: (folder / "weights.bin").unlink(),
    "weights.bin has 3 bytes instead of 7": lambda folder: (folder / "weights.bin").write_bytes(b"wei"),
    "weights.bin is damaged": lambda folder: (folder / "weights.bin").write_bytes(b"Weights"),
    "was not written to its end": lambda folder: (folder / "manifest.json").unlink(),
    "cannot be read": lambda folder: (folder / "manifest.json").write_text('{"files": ['),
}


@pytest.mark.parametrize("problem", DAMAGES)
def test_damaged_checkpoint_is_passed_over_and_told(tmp_path, problem):
    older, newest = save(tmp_path, 5), save(tmp_path, 6)
    DAMAGES[problem](newest)
    told = []
    assert checkpoints.newest_valid(tmp_path, lambda folder, words: told.append((folder, words))) == older
    ((folder, words),) = told
    assert folder == newest
    assert problem in words


def test_checkpoint_of_the_same_step_is_replaced(tmp_path):
    save(tmp_path, 5, b"old")
    assert (save(tmp_path, 5, b"new") / "weights.bin").read_bytes() == b"new"


def test_run_that_differs_is_refused_with_what_differs(tmp_path):
    folder = save(tmp_path, 5)
    checkpoints.check_run(folder, dict(RUN))
    with pytest.raises(InputError, match="another run: seed was None, is 3; width was 2, is 1; a run that agrees"):
        checkpoints.check_run(folder, {"stage": 1, "width": 1, "seed": 3})


def test_run_of_another_number_of_processes_is_accepted(tmp_path):
    folder = save(tmp_path, 5, run={**RUN, "world_size": 2, "sharding": ["stage1"]})  # as earlier versions wrote
    checkpoints.check_run(folder, dict(RUN))


KILLED = """
import sys
from pathlib import Path
from ppdiffusers_ext.training import checkpoints

output_dir = Path(sys.argv[1])
for step in range(1, 10_000):
    hidden = checkpoints.hidden_folder_of(output_dir, step)
    hidden.mkdir(parents=True)
    for index in range(20):
        (hidden / f"{index}.bin").write_bytes(bytes(100_000))
    checkpoints.complete(hidden, checkpoints.folder_of(output_dir, step), {}, step)
    print(step, flush=True)
"""


def test_killed_in_the_middle_leaves_what_was_complete(tmp_path):
    for pause in (0.0, 0.013, 0.031, 0.047):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        step = int(process.stdout.readline())
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        newest = checkpoints.newest_valid(tmp_path)
        assert newest is not None
        assert int(newest.name.removeprefix("checkpoint-")) >= step
        checkpoints.clean(tmp_path)
        assert [path.name for path in tmp_path.glob(".saving-*")] == []
        for step in checkpoints.steps_of(tmp_path):
            folder = checkpoints.folder_of(tmp_path, step)
            assert checkpoints.problem_of(folder) is None
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()


GARBAGE = (
    "",
    "{",
    "[]",
    "7",
    "null",
    "{}",
    '{"files": {}}',
    '{"files": {}, "run": {}}',
    '{"files": {}, "run": [], "step": 2}',
    '{"files": {}, "run": {}, "step": "2"}',
    '{"files": {}, "run": {}, "step": 1e999}',
    '{"files": [], "run": {}, "step": 2}',
    '{"files": {"a": 1}, "run": {}, "step": 2}',
    '{"files": {"a\\u0000": {"size": 1, "sha256": ""}}, "run": {}, "step": 2}',
    '{"files": {"\\ud800": {"size": 1, "sha256": ""}}, "run": {}, "step": 2}',
    '{"files": {}, "run": {}, "step": ' + "9" * 5000 + "}",
    "[" * 5000,
)


@pytest.mark.parametrize("text", GARBAGE, ids=lambda text: text[:40] or "empty")
def test_damaged_manifest_is_a_problem_and_no_traceback(tmp_path, text):
    folder = checkpoints.folder_of(tmp_path, 2)
    folder.mkdir()
    (folder / "a").write_bytes(b"x")
    (folder / checkpoints.MANIFEST).write_text(text, encoding="utf-8")
    assert checkpoints.problem_of(folder)
    assert checkpoints.newest_valid(tmp_path) is None


def test_manifest_that_is_no_file_is_a_problem(tmp_path):
    folder = checkpoints.folder_of(tmp_path, 2)
    (folder / checkpoints.MANIFEST).mkdir(parents=True)
    assert checkpoints.problem_of(folder)
