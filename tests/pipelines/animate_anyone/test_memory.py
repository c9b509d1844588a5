"""The plan of an animation's memory: how its figures hang together, and what is answered where it does not fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from ppdiffusers_ext.engine.backends import BACKENDS
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines import engines
from ppdiffusers_ext.pipelines.animate_anyone import memory as memory_plan
from ppdiffusers_ext.pipelines.animate_anyone.loading import describe_parts
from ppdiffusers_ext.pipelines.animate_anyone.memory import check_memory, plan_memory
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig, rung_options
from ppdiffusers_ext.pipelines.loading import models_of
from ppdiffusers_ext.pipelines.memory import RUNGS
from ppdiffusers_ext.pipelines.memory_plan import GB, available_memory
from ppdiffusers_ext.runtime import Runtime

ROOT = Path(__file__).parents[3]
CPU = Runtime("cpu", "float32")


@pytest.fixture
def config(monkeypatch):
    """The demo's, with guidance, at a size at which every stage takes more than the program itself."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(memory_plan, "resident_memory", lambda: 600_000_000)
    return Pose2VidConfig.load("configs/inference/demo.yaml", width=1024, height=1024, guidance_scale=3.5)


def networks(config):
    return models_of(describe_parts(config))


def plan(config, *arguments):
    return plan_memory(networks(config), config, *arguments)


def checked(config, *arguments, **options):
    return check_memory(networks(config), config, *arguments, **options)


def host(config, rung="high", runtime=CPU):
    (planned,) = plan(config, runtime, [rung])
    assert planned.rung == rung and planned.device == 0
    return planned.host


def test_every_rung_takes_less_than_the_one_above(config):
    plans = plan(config, CPU)
    assert [item.rung for item in plans] == list(RUNGS)
    figures = [item.host for item in plans]
    assert figures == sorted(figures, reverse=True) and len(set(figures)) == len(figures)


@pytest.mark.parametrize(
    "less",
    [
        {"width": 512},
        {"height": 512},
        {"context_frames": 12},
        {"num_frames": 12},
        {"guidance_scale": 1.0},
        {"sequential_guidance": True},
    ],
    ids=str,
)
def test_less_work_takes_less_memory(config, less):
    assert host(replace(config, **less)) < host(config)


def test_frames_beyond_a_window_take_memory_for_their_poses_and_latents_only(config):
    more = host(replace(config, num_frames=240)) - host(replace(config, num_frames=24))
    features, latents = 128 * 128 * 96, 4 * 256 * 256 * 12  # a feature for each patch of two by two latents
    assert more == 216 * (features + latents) * 4


def test_latents_in_patches_are_fewer_positions_of_the_unets(config):
    """The UNets then take much less, and a quarter of the poses' features is kept."""
    models = networks(config)
    plans = {}
    for size in (2, 1):
        for name in ("reference_unet", "denoising_unet"):
            models[name].register_to_config(patch_size=size)
        for frames in (24, 240):
            (plans[size, frames],) = plan_memory(models, replace(config, num_frames=frames), CPU, ["high"])
    patched, whole = plans[2, 24], plans[1, 24]
    assert whole.stage == "denoising UNet" and patched.host < whole.host / 2, patched.host / whole.host
    features = 256 * 256 * 96
    more = {size: plans[size, 240].host - plans[size, 24].host for size in (1, 2)}
    assert more[1] - more[2] == 216 * (features - features // 4) * 4


def test_a_rung_that_the_user_chose_keeps_the_options_that_the_user_chose(config):
    chosen = replace(config, memory="low", sequential_guidance=False)
    assert host(chosen, "low") > host(config, "low")
    assert host(chosen, "medium") == host(config, "medium")


def test_half_precision_halves_the_weights_of_the_unets(config):
    small = replace(config, width=64, height=64, num_frames=1)
    full, half = (host(small, runtime=Runtime("cpu", dtype)) for dtype in ("float32", "bfloat16"))
    weights = (ROOT / "assets/demo_model/unet/diffusion_paddle_model.safetensors").stat().st_size  # in fp16
    assert weights < full - half


def test_auto_is_planned_with_the_weights_that_it_may_stay_with(config, monkeypatch):
    monkeypatch.setattr(engines, "AUTOMATIC", "onnx")
    monkeypatch.setitem(BACKENDS, "onnx", replace(BACKENDS["onnx"], precisions=("float32", "bfloat16")))
    small = replace(config, width=64, height=64, num_frames=1)
    peaks = {
        (engine, dtype): host(replace(small, engine=engine), "high", Runtime("cpu", dtype))
        for engine in ("auto", "eager")
        for dtype in ("float32", "bfloat16")
    }
    assert peaks["auto", "bfloat16"] == peaks["auto", "float32"] == peaks["eager", "float32"]
    assert peaks["eager", "bfloat16"] < peaks["eager", "float32"]
    on_gpu = [plan(replace(small, engine=name), Runtime("gpu:0", "bfloat16"), ["high"]) for name in ("auto", "eager")]
    assert on_gpu[0] == on_gpu[1]


def test_half_precision_in_an_engine_halves_what_stays_but_not_what_exports_are_made_of(config):
    small = replace(config, width=64, height=64, num_frames=1, engine="openvino")
    half = Runtime("cpu", "bfloat16")
    assert host(small, "high", half) < host(small, "high")
    assert host(small, "low", half) == host(small, "low")  # one network at a time


def test_on_a_gpu_the_networks_are_on_the_gpu(config):
    (planned,) = plan(config, Runtime("gpu:0", "float32"), ["high"])
    assert planned.host < planned.device
    assert " GB on the GPU" in str(planned)


def test_what_fits_is_accepted_and_told(config):
    planned = checked(config, CPU, available=host(config))
    assert str(planned) == f"memory high takes about {planned.host / GB:.1f} GB, most of all in the {planned.stage}"


def test_what_does_not_fit_is_refused_with_the_highest_rung_that_does(config):
    plans = {item.rung: item for item in plan(config, CPU)}
    with pytest.raises(InputError, match=r"memory high takes about .* GB are free; --memory medium, .* is accepted"):
        checked(config, CPU, available=plans["high"].host - 1)
    with pytest.raises(InputError, match="--memory minimal, which takes about .* is accepted"):
        checked(config, CPU, available=plans["minimal"].host)


def test_what_fits_on_no_rung_is_refused_with_what_else_would_help(config):
    with pytest.raises(InputError, match="no rung of --memory fits; a smaller --width"):
        checked(config, CPU, available=1)
    lowest = replace(config, memory="minimal", **rung_options("minimal"))
    with pytest.raises(InputError, match="no rung of --memory fits"):
        checked(lowest, CPU, available=1)


def test_the_user_may_try_nevertheless(config):
    assert checked(replace(config, ignore_memory=True), CPU, available=1).rung == "high"


def test_what_the_program_has_taken_before_counts(config, monkeypatch):
    before, (planned,) = host(config), plan(config, Runtime("gpu:0", "float32"), ["high"])
    assert planned.host == 600_000_000
    monkeypatch.setattr(memory_plan, "resident_memory", lambda: 700_000_000)
    assert host(config) == before + 100_000_000


def test_available_memory_is_that_of_this_machine_and_of_this_program():
    program = memory_plan.resident_memory()
    assert 1e8 < program < program + 1e8 < available_memory() < 1e14
