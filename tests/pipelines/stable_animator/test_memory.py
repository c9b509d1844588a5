"""The plan of StableAnimator's memory: how its figures hang together, and what is answered where it does not fit."""

import json
from dataclasses import replace

import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.loading import models_of
from ppdiffusers_ext.pipelines.stable_animator import memory as stable_memory_plan
from ppdiffusers_ext.pipelines.stable_animator.loading import describe_parts
from ppdiffusers_ext.pipelines.stable_animator.memory import check_memory, plan_memory
from ppdiffusers_ext.pipelines.stable_animator.options import RefinementConfig, StableAnimationConfig
from ppdiffusers_ext.runtime import Runtime
from scripts import plan_memory as command
from scripts.command import run
from tests.pipelines.stable_animator.test_pipeline import CONFIG

CPU = Runtime("cpu", "float32")


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Configurations without weights, at a size at which every stage takes more than the program itself."""
    monkeypatch.setattr(stable_memory_plan, "resident_memory", lambda: 600_000_000)
    for name in ("vae", "unet", "image_encoder"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(CONFIG["args"][name]))
    return StableAnimationConfig(
        svd=str(tmp_path),
        unet="unet.pth",
        pose_net="pose_net.pth",
        face_encoder="face_encoder.pth",
        width=1024,
        height=1024,
    )


def networks(config):
    return models_of(describe_parts(config))


def planned(config, *arguments):
    return plan_memory(networks(config), config, *arguments)


def host(config, frames=24, rung="high", runtime=CPU):
    (plan,) = planned(config, frames, runtime, [rung])
    assert plan.rung == rung and plan.device == 0
    return plan.host


@pytest.mark.parametrize("less", [{"width": 512}, {"height": 512}, {"decode_chunk_size": 1}], ids=str)
def test_less_work_takes_less_memory(config, less):
    assert host(replace(config, **less)) < host(config)


def test_frames_beyond_a_window_take_memory_for_their_poses_and_latents_only(config):
    positions, channels = 128 * 128, 32 + 6 * 4
    assert host(config, 240) - host(config, 24) == 216 * positions * channels * 4


def test_networks_that_leave_and_halves_take_less(config):
    high, low, minimal = (host(config, rung=rung) for rung in ("high", "low", "minimal"))
    assert high > low >= minimal


def test_optimising_faces_takes_most(config):
    refined = replace(config, refinement=RefinementConfig("recognizer.pth"))
    (plan,) = planned(refined, 24, CPU, ["high"])
    assert plan.stage == "optimisation of faces" and plan.host > 3 * host(config)
    # UNet and VAE take turns, so that both stay on every rung.
    large = replace(refined, width=64, height=64)
    unet = sum(4 * tensor.size for tensor in networks(config)["unet"].state_dict().values())
    assert host(large, 1, "low") > host(replace(large, refinement=None), 1, "low") + 260e6 + 0.2 * unet


def test_on_a_gpu_the_networks_are_on_the_gpu(config):
    (plan,) = planned(config, 24, Runtime("gpu:0", "float32"), ["high"])
    assert plan.host == 600_000_000 < plan.device


def test_what_does_not_fit_is_refused(config):
    with pytest.raises(
        InputError, match="no rung of --memory fits; .* or a smaller --tile_size or --decode_chunk_size, are accepted"
    ):
        check_memory(networks(config), replace(config, width=64000, height=64000), 24, CPU)
    large = replace(config, width=64000, height=64000, ignore_memory=True)
    check_memory(networks(config), large, 24, CPU)


def test_command_plans_this_system(config, tmp_path, capsys):
    paths = {"svd": str(tmp_path), "unet": "unet.pth", "pose_net": "pose_net.pth", "face_encoder": "face_encoder.pth"}
    (tmp_path / "stable.yaml").write_text(json.dumps({**paths, "width": 576, "height": 1024}))
    words = ["--system", "stable_animator", "--config", str(tmp_path / "stable.yaml"), "-L", "48"]
    assert run(command.make_parser(), command.work, words) == 0
    first, *rungs = capsys.readouterr().out.splitlines()
    assert first == "576x1024, 48 frames, engine auto on cpu" and len(rungs) == 4
    assert all("most of all in the decoding of frames" in rung for rung in rungs)
