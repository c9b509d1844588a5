"""Who watches a run is told of it and may end it; pipelines stay warm for the next run that needs the same."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.pipelines import memory_plan
from ppdiffusers_ext.pipelines.animate_anyone import run as pose2vid
from ppdiffusers_ext.pipelines.animate_anyone.options import DEMO, Pose2VidConfig
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.previews import preview_of
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from ppdiffusers_ext.pipelines.warm import WarmPipeline, warm_bytes
from ppdiffusers_ext.pipelines.watching import RunStopped, Watch, current_watch, watched_by


class Notes(Watch):
    """Writes down what it is told, and may stop the run at something."""

    def __init__(self, stops_at=None):
        self.told, self.steps, self.previews, self.stops_at = [], [], [], stops_at

    def _note(self, *words):
        self.told.append(words)
        if words[:2] == self.stops_at:
            raise RunStopped

    def planned(self, rung, peak, available):
        self._note("planned", rung, 0 < peak < available)

    def stage(self, name, total):
        self._note("stage", name, total)

    def advance(self, count=1):
        self._note("advance", count)

    def after_step(self, pipeline, latents, step, count):
        self.previews.append(preview_of(pipeline, latents))
        self._note("step", step, count)


@pytest.fixture
def config(tmp_path):
    options = {"width": 64, "height": 96, "num_frames": 2, "num_inference_steps": 2, "device": "cpu"}
    inputs = {"reference_image": "assets/reference.png", "pose_video": "assets/pose.mp4"}
    return Pose2VidConfig.load(DEMO, **options, **inputs, output=str(tmp_path / "out.mp4"))


def test_stages_units_and_steps_are_told(config):
    notes = Notes()
    with watched_by(notes):
        pose2vid.animate(config, show_progress=False)
    assert notes.told == [
        ("planned", "high", True),
        *(("stage", "loading", 1), ("advance", 1)),
        *(("stage", "denoising", 2), ("advance", 0), ("advance", 1), ("step", 1, 2), ("advance", 1), ("step", 2, 2)),
        *(("stage", "decoding", 2), ("advance", 1), ("advance", 1)),
    ]
    assert [picture.shape for picture in notes.previews] == [(96, 64, 3)] * 2
    last, result = notes.previews[-1].astype(int), next(iter(pose2vid.open_frames(config.output))).astype(int)
    assert np.abs(last - result).mean() < 25  # it shows what the video becomes, but of a frame that is near
    assert type(current_watch()) is Watch


@pytest.mark.parametrize("what", [("step", 1), ("stage", "decoding")])
def test_a_run_that_is_stopped_leaves_no_result(config, tmp_path, what):
    with watched_by(Notes(what)), pytest.raises(RunStopped):
        pose2vid.animate(config, show_progress=False)
    assert [name for name in os.listdir(tmp_path) if not name.startswith(".")] == []


def test_a_warm_pipeline_serves_runs_of_the_same_and_makes_the_same(config, tmp_path, monkeypatch):
    opened = []
    open_new = Pose2VideoPipeline.open.__func__
    monkeypatch.setattr(
        Pose2VideoPipeline, "open", classmethod(lambda cls, *given: opened.append(1) or open_new(cls, *given))
    )
    runs = {
        "first": config,
        "seed": replace(config, seed=7),
        "other": replace(config, num_inference_steps=3, width=80, guidance_scale=2.0, scheduler="Euler"),
        "again": config,
    }
    kept, frames = WarmPipeline(), {}
    with kept.used():
        for name, each in runs.items():
            target = str(tmp_path / f"{name}.mp4")
            pose2vid.animate(replace(each, output=target), show_progress=False)
            frames[name] = list(pose2vid.open_frames(target))
        assert len(opened) == 1 and warm_bytes() == kept.bytes > 10**6
        has = memory_plan.psutil.Process().memory_info().rss
        assert memory_plan.resident_memory() < has - kept.bytes // 2
        pose2vid.animate(replace(config, output=str(tmp_path / "low.mp4"), memory="low"), show_progress=False)
        assert len(opened) == 2
        kept.free()
        assert kept.is_empty and kept.bytes == 0
    cold = tmp_path / "cold.mp4"
    pose2vid.animate(replace(runs["other"], output=str(cold)), show_progress=False)
    assert warm_bytes() == 0
    np.testing.assert_array_equal(frames["first"], frames["again"])
    np.testing.assert_array_equal(frames["other"], list(pose2vid.open_frames(cold)))
    assert not np.array_equal(frames["first"], frames["seed"])


def test_weights_that_change_are_loaded_anew(config, tmp_path, monkeypatch):
    loaded = []
    load = Pose2VideoPipeline.open.__func__
    monkeypatch.setattr(Pose2VideoPipeline, "open", classmethod(lambda cls, *a: loaded.append(1) or load(cls, *a)))
    source = tmp_path / "guider.safetensors"
    source.write_bytes(Path(config.pose_guider_path).read_bytes())
    own = replace(config, pose_guider_path=str(source))
    with WarmPipeline().used():
        for i in range(3):
            if i == 2:
                os.utime(source, ns=(1, 1))
            pose2vid.animate(replace(own, output=str(tmp_path / f"{i}.mp4")), show_progress=False)
    assert len(loaded) == 2


@pytest.mark.parametrize(
    "kind, shape", [(Pose2VideoPipeline, [1, 4, 5, 40, 24]), (StableAnimatorPipeline, [1, 5, 4, 40, 24])]
)
def test_an_outline_is_shown_where_the_decoder_is_not_at_hand(kind, shape):
    latents = paddle.zeros(shape)
    middle = latents[:, :, 2] if kind.frame_axis == 2 else latents[:, 2]
    middle[..., 10:30, 6:18] = 1.0
    pipeline = type("Bare", (), {"frame_axis": kind.frame_axis, "_releases": True})()
    latents = paddle.stack([middle if i == 2 else paddle.randn(middle.shape) for i in range(5)], axis=kind.frame_axis)
    picture = preview_of(pipeline, latents)
    assert picture.shape == (40, 24, 3) and len(np.unique(picture)) == 2
    assert (picture[10:30, 6:18] == picture[20, 10]).all() and (picture[:10] != picture[20, 10]).all()
