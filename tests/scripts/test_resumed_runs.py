"""Runs that are stopped and started again, of all three systems: their files are those of a run that was not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.pipelines import resuming
from ppdiffusers_ext.pipelines.easy_animate import run as easy_run
from ppdiffusers_ext.pipelines.state_folder import StateFolder
from scripts import pose2vid, predict_i2v, predict_t2v
from scripts.command import run
from tests.pipelines.stable_animator.test_pipeline import pipeline
from tests.scripts.test_predict import models
from tests.scripts.test_stable_animator import call as call_stable
from tests.scripts.test_stable_animator import folder

__all__ = ["folder", "models", "pipeline"]  # fixtures

ROOT = Path(__file__).parents[2]
STEPS = 4


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(resuming, "INTERVAL", 0.0)  # keep every state
    monkeypatch.setattr(resuming, "SHARE", 0)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """person.png, other.png, pose.mp4 and config.yaml of the demo model at a small size."""
    folder, random = tmp_path_factory.mktemp("inputs"), np.random.default_rng(0)
    for name in ("person", "other"):
        write_image(folder / f"{name}.png", random.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    with VideoWriter(folder / "pose.mp4", 12.5, 64, 64) as writer:
        writer.write(random.integers(0, 255, (6, 64, 64, 3), dtype=np.uint8))
    demo = yaml.safe_load((ROOT / "configs/inference/demo.yaml").read_text())
    changes = {"test_cases": {}, "width": 64, "height": 64, "num_frames": 6, "num_inference_steps": STEPS}
    windows = {"context_frames": 4, "context_overlap": 2}
    (folder / "config.yaml").write_text(yaml.safe_dump({**demo, **changes, **windows, "output": None}))
    return folder


def animate_anyone(inputs, output, *more, picture="person.png"):
    given = ["--config", inputs / "config.yaml", "--pose-video", inputs / "pose.mp4", "--output", output / "out.mp4"]
    words = [*given, "--reference-image", inputs / picture, "--guidance-scale", 2, *more]
    return run(pose2vid.make_parser(), pose2vid.work, list(map(str, words)))


@pytest.fixture
def make(request, inputs, folder, models):
    """Call it to run a system into a folder, with more options: the exit code."""

    def animate(output, *more):
        more = [*more, *request.param[1:]]
        return animate_anyone(inputs, output, *more)

    def stable(output, *more):
        words = ["--num_inference_steps", STEPS, "--tile_size", 2, "--frames_overlap", 1, "--decode_chunk_size", 2]
        words += [word for option in more for word in (option, None)]
        return call_stable(folder, output, *words, *request.param[1:])

    def easy(output, *more):
        command, *given = request.param[1:]
        config = {"model": str(models / "v4"), "width": 64, "height": 48, "frames": 16, "segment": 8, "overlap": 2}
        (output.parent / "easy.yaml").write_text(yaml.safe_dump({**config, "steps": STEPS, "device": "cpu"}))
        words = ["--config", output.parent / "easy.yaml", "--output", output / "out.mp4", "--prompt", "a person"]
        given = [str(models / word) if str(word).endswith(".png") else word for word in given]
        return command.main([str(word) for word in (*words, *more, *given)])

    return {"animate_anyone": animate, "stable_animator": stable, "easy_animate": easy}[request.param[0]]


def systems(*cases):
    return pytest.mark.parametrize("make", cases, indirect=True, ids=lambda case: " ".join(map(str, case))[:40])


def files_of(folder):
    """Name -> content of all files but records, whose order may differ."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".made_of.jsonl"
    }


class Stop:
    """Raises KeyboardInterrupt when a method has been called so often."""

    def __init__(self, monkeypatch, cls, name, count):
        original, self.calls = getattr(cls, name), 0

        def stopping(*arguments, **options):
            self.calls += 1
            if self.calls == count:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        monkeypatch.setattr(cls, name, stopping)


ALL = [
    ("animate_anyone",),
    ("stable_animator",),
    ("easy_animate", predict_i2v, "--start-image", "start.png"),
]
MORE = [
    ("animate_anyone", "--step-cache-interval", "2"),
    ("animate_anyone", "--scheduler", "DPM-Solver++"),
    ("animate_anyone", "--scheduler", "DDPMScheduler"),
    ("stable_animator", "--optimize-face", None, "--num_optimization_iter", 1),
    ("easy_animate", predict_i2v, "--start-image", "start.png", "--block-cache-threshold", 0.5),
    ("easy_animate", predict_t2v, "--scheduler", "Euler A"),
]


POINTS = [(StateFolder, "write_index", 2), (StateFolder, "write", 1), (VideoWriter, "write", 2)]
IN_ANOTHER_PART = (resuming.RunState, "after_step", 3)


@systems(*ALL, *(pytest.param(case, marks=pytest.mark.long) for case in MORE))
def test_run_that_is_stopped_again_and_again_makes_the_same_files(request, make, tmp_path, monkeypatch, capsys):
    assert make(tmp_path / "whole") == 0
    whole = files_of(tmp_path / "whole")
    assert not any("unfinished" in name for name in whole)
    capsys.readouterr()
    points = [*POINTS, *([IN_ANOTHER_PART] if "easy" in request.node.callspec.id else [])]
    for number, point in enumerate(points):
        with monkeypatch.context() as patch:
            stop = Stop(patch, *point)
            assert make(tmp_path / "out", *(["--skip-existing"] if number else [])) != 0
        assert stop.calls == point[-1]
        assert list(tmp_path.glob("out/.*.unfinished"))
        assert ("an earlier run has kept" in capsys.readouterr().err) == (number > 0)
    with monkeypatch.context() as patch:
        steps = Stop(patch, resuming.RunState, "after_step", -1)
        assert make(tmp_path / "out", "--skip-existing") == 0
    assert steps.calls < 2 * STEPS  # of what was denoised before nothing is denoised again
    assert files_of(tmp_path / "out") == whole


@systems(ALL[2])
def test_run_that_is_stopped_between_its_files_makes_the_rest(make, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        Stop(patch, easy_run, "write_sheet", 1)
        assert make(tmp_path / "out") == 130
    before = files_of(tmp_path / "out")
    assert make(tmp_path / "out", "--skip-existing") == 0
    after = files_of(tmp_path / "out")
    assert set(after) == {"out.mp4", "out_sheet.png"} and after["out.mp4"] == before["out.mp4"]
    assert make(tmp_path / "out") == 2


KILLED = """
import os, signal, sys
from ppdiffusers_ext.pipelines import resuming
from ppdiffusers_ext.pipelines.state_folder import StateFolder
from scripts import pose2vid
from scripts.command import run

def animate(folder, *more):
    words = [*sys.argv[2:], "--output", os.path.join(sys.argv[1], folder, "out.mp4"), *more]
    return run(pose2vid.make_parser(), pose2vid.work, words)

def clear(self, *files):
    if files[-1]["file"].startswith("step_0000_0002"):
        os.kill(os.getpid(), signal.SIGKILL)
    original(self, *files)

resuming.INTERVAL, resuming.SHARE, original = 0.0, 0, StateFolder.clear_unnamed
if not (child := os.fork()):
    StateFolder.clear_unnamed = clear
    os._exit(animate("out"))
assert os.waitpid(child, 0)[1] == signal.SIGKILL
assert len(os.listdir(os.path.join(sys.argv[1], "out", ".out.mp4.unfinished"))) == 3
sys.exit(animate("out") or animate("whole", "--no-resume"))
"""


def test_killed_run_goes_on_with_the_same_bits(inputs, tmp_path):
    words = [tmp_path, "--config", inputs / "config.yaml", "--pose-video", inputs / "pose.mp4"]
    words += ["--reference-image", inputs / "person.png"]
    command = [sys.executable, "-c", KILLED, *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "goes on after step 2 of 4, which an earlier run has kept" in done.stderr
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


@pytest.fixture(scope="module")
def stopped_once(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(resuming, "INTERVAL", 0.0)
        patch.setattr(resuming, "SHARE", 0)
        Stop(patch, resuming.RunState, "after_step", 3)
        assert animate_anyone(inputs, folder) != 0
    return folder


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """The state folder of a run that was stopped after its second step."""
    shutil.copytree(stopped_once, tmp_path / "out")
    (kept,) = tmp_path.glob("out/.out.mp4.unfinished")
    return kept


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seed", "7"], "--seed was 42 and is 7"),
        (["--guidance-interval", "0", "0.5"], "--guidance-interval was"),
        (["--num-frames", "5"], "--num-frames was 6 and is 5"),
        (["--overwrite"], "it is not asked for"),
        (["--no-resume"], "it is not asked for"),
    ],
)
def test_state_of_another_run_is_told_and_not_used(inputs, stopped, capsys, options, words):
    kept = stopped
    assert animate_anyone(inputs, kept.parent, *options) == 0
    told = capsys.readouterr().err
    assert f"discarded the state of an earlier run in {kept}: {words}" in told and "goes on" not in told
    assert not kept.exists()


def test_state_of_another_picture_is_told_and_not_used(inputs, stopped, capsys):
    kept = stopped
    assert animate_anyone(inputs, kept.parent, picture="other.png") == 0
    assert "--reference-image has another content" in capsys.readouterr().err


def test_state_of_other_weights_or_another_version_is_told_and_not_used(inputs, stopped, capsys, monkeypatch):
    kept = stopped
    monkeypatch.setattr(resuming, "__version__", "9.9")
    weights = ROOT / "assets/demo_model/pose_guider/diffusion_paddle_model.safetensors"
    copy = inputs / "pose_guider.safetensors"
    copy.write_bytes(weights.read_bytes())
    assert animate_anyone(inputs, kept.parent, "--pose-guider-path", copy) == 0
    told = capsys.readouterr().err
    assert "version was '" in told and "the pose guider was '" in told and "the vae was" not in told


def test_short_run_keeps_nothing(inputs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(resuming, "INTERVAL", 60.0)
    claims = Stop(monkeypatch, StateFolder, "claim", -1)
    assert animate_anyone(inputs, tmp_path / "out") == 0
    assert claims.calls == 0 and "state" not in capsys.readouterr().err
