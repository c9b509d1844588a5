"""The networks in a compiled engine, as the pipeline uses them."""

import importlib.util
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import paddle
import pytest

from ppdiffusers_ext.engine.backends import BACKENDS, Backend
from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines import auto_engine, compiled_engine, engines
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.engine_words import tell_engine
from ppdiffusers_ext.pipelines.loading import Part
from ppdiffusers_ext.runtime import Runtime
from tests.pipelines.animate_anyone.test_pipeline import WINDOWED, largest_difference, run

ROOT = Path(__file__).parents[2]

__all__ = ["run"]  # a fixture


def exports(folder):
    return len(list((folder / "exports").iterdir()))


def is_loaded(model):
    return any(parameter._is_initialized() for parameter in model.parameters())


@pytest.mark.parametrize("engine", BACKENDS)
def test_clip_is_the_same_in_every_engine(pipeline, run, tmp_path, engine):
    options = {"num_inference_steps": 2, "output_type": "pd", "decode_chunk_size": 2, **WINDOWED}
    eager = run(pipeline, **options)
    pipeline.use_engine(engine, tmp_path)
    assert 0 < largest_difference(run(pipeline, **options), eager) < 1e-3 * float(eager.abs().max())
    # What is made of the picture (2), of it for the UNet with and without guidance (3), of poses, steps, latents (3),
    # and the frames, of which the last part is filled up.
    assert exports(tmp_path) == 9
    pipeline.use_engine("eager")
    # Not bit by bit: Paddle Inference sets the number of threads, and with it the order of sums.
    assert largest_difference(run(pipeline, **options), eager) < 1e-4


@pytest.mark.parametrize("engine", BACKENDS)
def test_networks_that_take_patches_run_in_every_engine(
    make_pipeline, make_denoising_unet, make_reference_unet, make_pose_guider, run, tmp_path, engine
):
    guider = make_pose_guider(block_out_channels=(8, 8, 16, 16, 24))
    unets = {"denoising_unet": make_denoising_unet(patch_size=2), "reference_unet": make_reference_unet(patch_size=2)}
    pipeline = make_pipeline(**unets, pose_guider=guider)
    options = {"width": 96, "height": 80}
    eager = run(pipeline, **options)
    pipeline.use_engine(engine, tmp_path)
    assert 0 < largest_difference(run(pipeline, **options), eager) < 1e-3 * float(eager.abs().max())


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        {"guidance_scale": 1.0},
        {"sequential_guidance": True},
        {"context_batch_size": 2},
        {"guidance_interval": (0.4, 1.0)},
        {"step_cache_interval": 2, "step_cache_depth": 2},
    ],
    ids=str,
)
def test_all_ways_to_call_the_unet_can_be_exported(pipeline, run, tmp_path, options):
    options = {"num_inference_steps": 2, **WINDOWED, **options}
    eager = run(pipeline, **options)
    pipeline.use_engine("onnx", tmp_path)
    assert largest_difference(run(pipeline, **options), eager) < 1e-3 * float(eager.abs().max())


def test_next_clip_of_the_same_size_is_not_exported_again(pipeline, run, poses, tmp_path):
    pipeline.use_engine("onnx", tmp_path)
    run(pipeline)
    made = exports(tmp_path)
    run(pipeline, poses[3:8], image=poses[1], seed=4)
    assert exports(tmp_path) == made


def test_a_model_that_was_replaced_is_the_one_that_runs(make_pipeline, make_denoising_unet, run, tmp_path):
    pipeline = make_pipeline()
    pipeline.use_engine("onnx", tmp_path)
    first = run(pipeline)
    pipeline.denoising_unet = make_denoising_unet(seed=9)
    second = run(pipeline)
    pipeline.use_engine("eager")
    eager = run(pipeline)
    assert largest_difference(second, eager) < 1e-3 * float(eager.abs().max()) < largest_difference(second, first)


def test_models_with_the_same_weights_and_other_options_are_others(make_pipeline, make_denoising_unet, run, tmp_path):
    results = []
    for heads in (2, 4):
        pipeline = make_pipeline()
        pipeline.denoising_unet = make_denoising_unet(attention_head_dim=heads)
        pipeline.use_engine("onnx", tmp_path)
        results.append(run(pipeline))
    assert largest_difference(*results) > 0.01


@pytest.mark.parametrize(
    "engine, dtype, message",
    [
        ("tensorrt", "float32", "engine 'tensorrt' is not known; use one of auto, eager, inference, onnx, openvino"),
        (
            "onnx",
            "bfloat16",
            "engine onnx makes exports of fp32 .* DenoisingUNet3D are bfloat16 on cpu; fp32 weights with",
        ),
    ],
)
def test_engine_that_cannot_be_used_is_refused(make_pipeline, make_denoising_unet, tmp_path, engine, dtype, message):
    pipeline = make_pipeline()
    pipeline.denoising_unet = make_denoising_unet().to(dtype=dtype)
    with pytest.raises(InputError, match=message):
        pipeline.use_engine(engine, tmp_path)


@pytest.fixture
def load_demo(monkeypatch, tmp_path):
    """Call it for the demo's pipeline in an engine, whose exports are kept for the test."""
    monkeypatch.chdir(ROOT)

    def load(engine="onnx", dtype="fp32", **options):
        config = Pose2VidConfig.load(
            "configs/inference/demo.yaml", engine=engine, engine_cache=str(tmp_path / "cache"), **options
        )
        pipeline = Pose2VideoPipeline.open(config, Runtime.choose("cpu", dtype))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return load


def test_with_exports_at_hand_no_weights_are_loaded(load_demo, run, monkeypatch, tmp_path):
    options = {"width": 72, "height": 80}
    eager = run(load_demo("eager"), **options)
    run(load_demo(), **options)
    made = exports(tmp_path / "cache")
    monkeypatch.setattr(Part, "load", lambda self: pytest.fail("weights are loaded"))
    assert largest_difference(run(load_demo(), **options), eager) < 1e-3 * float(eager.abs().max())
    assert exports(tmp_path / "cache") == made


def test_half_precision_is_that_of_the_engine_and_the_picture_is_nearly_the_same(load_demo, run):
    options = {"width": 72, "height": 80, "output_type": "pd"}
    eager = run(load_demo("eager"), **options)
    pipeline = load_demo("openvino", "fp16")  # bf16 on a CPU
    assert all(tensor.dtype != paddle.bfloat16 for tensor in pipeline.denoising_unet.state_dict().values())
    error = run(pipeline, **options) - eager
    assert -10 * math.log10(float((error**2).mean())) > 35


def test_engine_that_has_no_half_precision_says_which_has(load_demo):
    message = "engine onnx cannot compute in bfloat16; dtype fp32, or engine openvino or eager, is accepted"
    with pytest.raises(InputError, match=message):
        load_demo("onnx", "bf16")


def test_auto_is_eager_in_a_precision_that_no_engine_has(load_demo, monkeypatch):
    monkeypatch.setattr(engines, "AUTOMATIC", "onnx")
    pipeline = load_demo("auto", "bf16")
    assert pipeline.needs_weights and pipeline.denoising_unet.conv_in.weight.dtype == paddle.bfloat16


def test_weights_are_in_memory_only_while_exports_are_made(load_demo, run):
    pipeline = load_demo()
    run(pipeline, width=72, height=80)
    for name in ("image_encoder", "reference_unet", "denoising_unet", "pose_guider", "vae"):
        assert not is_loaded(getattr(pipeline, name)), name


@paddle.no_grad()
def test_weights_that_were_released_are_loaded_again(load_demo):
    part = load_demo("eager")._networks["pose_guider"]
    x = paddle.randn([1, 3, 1, 72, 80])
    before = part.load()(x)
    part.release()
    assert not any(tensor._is_initialized() for tensor in part.model.state_dict().values())
    assert largest_difference(part.load()(x), before) == 0


@pytest.fixture
def automatic(monkeypatch):
    """`auto` with an engine that is quickly opened and an export that costs a known number of seconds."""
    monkeypatch.setattr(engines, "AUTOMATIC", "onnx")
    monkeypatch.setattr(auto_engine, "_EXPORT_SECONDS_PER_GB", 0)
    monkeypatch.setattr(auto_engine, "_LEAST_GAIN", 0)
    monkeypatch.setattr(auto_engine, "_SPEED", 1000)
    return lambda seconds: monkeypatch.setattr(auto_engine, "_EXPORT_SECONDS", seconds)


@pytest.mark.parametrize("seconds, made", [(1000, []), (0, ["denoise", "prepare_step"])])
def test_auto_exports_what_pays(make_pipeline, run, tmp_path, automatic, seconds, made):
    pipeline, options = make_pipeline(), {"num_inference_steps": 4, **WINDOWED}
    eager = run(pipeline, **options)
    automatic(seconds)
    pipeline.use_engine("auto", tmp_path)
    assert largest_difference(run(pipeline, **options), eager) < 1e-3 * float(eager.abs().max())
    keys = [json.loads(path.read_text())["key"] for path in tmp_path.glob("exports/*/manifest.json")]
    assert sorted(key["function"].partition(".")[2] for key in keys) == made


def test_auto_takes_an_export_that_is_at_hand(make_pipeline, run, tmp_path, automatic, monkeypatch):
    automatic(1000)
    pipeline = make_pipeline()
    pipeline.use_engine("onnx", tmp_path)
    compiled = run(pipeline)
    pipeline.use_engine("auto", tmp_path)
    monkeypatch.setattr(Network, "load", lambda self: pytest.fail("a network runs in Paddle"))
    assert largest_difference(run(pipeline), compiled) == 0


def test_auto_reads_weights_ahead_unless_there_are_exports_of_them(load_demo, run, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "AUTOMATIC", "onnx")
    run(load_demo("onnx"), width=72, height=80)
    names = ("image_encoder", "reference_unet", "denoising_unet", "pose_guider", "vae")
    pipeline = load_demo("auto")
    assert [name for name in names if is_loaded(getattr(pipeline, name))] == []
    # Exports of others are in the cache, and this file has not been read for any.
    part = pipeline._networks["pose_guider"]
    path = shutil.copy(part.files[0], tmp_path / "pose_guider.safetensors")
    other = load_demo("auto", pose_guider_path=str(path))
    assert [name for name in names if is_loaded(getattr(other, name))] == ["pose_guider"]


def test_auto_does_without_an_export_that_disagrees(make_pipeline, run, tmp_path, automatic, monkeypatch, caplog):
    def open_wrong(*arguments):
        session = open_right(*arguments)
        return lambda arrays: [array + 1 for array in session(arrays)]

    automatic(0)
    open_right = BACKENDS["onnx"].open
    monkeypatch.setitem(BACKENDS, "onnx", replace(BACKENDS["onnx"], open=open_wrong))
    pipeline, options = make_pipeline(), {"num_inference_steps": 4, **WINDOWED}
    eager = run(pipeline, **options)
    pipeline.use_engine("auto", tmp_path)
    assert largest_difference(run(pipeline, **options), eager) < 1e-5
    assert "differs from eager mode by" in caplog.text and "it runs in Paddle" in caplog.text
    assert exports(tmp_path) == 0


@pytest.mark.parametrize("why", ["dtype", "missing"])
def test_auto_is_eager_where_nothing_can_be_compiled(
    make_pipeline, make_denoising_unet, run, tmp_path, monkeypatch, why
):
    pipeline = make_pipeline()
    if why == "dtype":
        pipeline.denoising_unet = make_denoising_unet().to(dtype="bfloat16")
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    expected = run(pipeline)
    pipeline.use_engine("auto", tmp_path)
    assert pipeline.needs_weights
    assert largest_difference(run(pipeline), expected) == 0


def test_a_short_clip_stays_in_paddle_and_leaves_nothing(make_pipeline, run, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "AUTOMATIC", "onnx")
    pipeline = make_pipeline()
    expected = run(pipeline)
    pipeline.use_engine("auto", tmp_path / "cache")
    assert largest_difference(run(pipeline), expected) < 1e-5
    assert not (tmp_path / "cache").exists()


def test_auto_tells_once_that_it_leaves_paddle(make_pipeline, run, tmp_path, automatic, caplog):
    automatic(0)
    pipeline = make_pipeline()
    pipeline.use_engine("auto", tmp_path)
    run(pipeline, num_inference_steps=4)
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 1 and re.match("engine auto: onnx runs the [a-zA-Z0-9]* from here on: [0-9]+ calls", told[0])


def test_a_run_that_goes_on_runs_in_what_was_chosen_before(make_pipeline, run, tmp_path, automatic, monkeypatch):
    automatic(0)
    first, second, in_paddle = make_pipeline(), make_pipeline(), []
    eager = compiled_engine.EagerEngine.run
    monkeypatch.setattr(
        compiled_engine.EagerEngine, "run", lambda self, network, what, *given: in_paddle.append(what) or eager(
            self, network, what, *given))  # fmt: skip
    first.use_engine("auto", tmp_path / "first")
    run(first, num_inference_steps=4)
    assert "denoise" in in_paddle
    in_paddle.clear()
    second.use_engine("auto", tmp_path / "second")
    second.collected["engine"][:] = json.loads(json.dumps(first.collected["engine"]))
    run(second, num_inference_steps=4)
    assert "denoise" not in in_paddle


def test_auto_does_without_an_export_that_has_no_room(make_pipeline, run, tmp_path, automatic, monkeypatch, caplog):
    def write(*arguments):
        raise OSError("No space left on device")

    automatic(0)
    monkeypatch.setitem(BACKENDS, "onnx", replace(BACKENDS["onnx"], write=write))
    pipeline = make_pipeline()
    expected = run(pipeline, num_inference_steps=4)
    pipeline.use_engine("auto", tmp_path)
    assert largest_difference(run(pipeline, num_inference_steps=4), expected) < 1e-5
    assert "No space left on device; it runs in Paddle" in caplog.text and exports(tmp_path) == 0


def test_auto_is_eager_without_a_place_for_exports(make_pipeline, run, monkeypatch, caplog):
    monkeypatch.setattr(engines, "AUTOMATIC", "onnx")
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    pipeline = make_pipeline()
    pipeline.use_engine("auto")
    assert pipeline.runs_in == "eager" and "engine auto is Paddle: this user has no home" in caplog.text


def test_a_pipeline_of_engine_auto_can_have_other_weights(make_pipeline, make_denoising_unet, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "AUTOMATIC", "onnx")
    pipeline = make_pipeline(denoising_unet=make_denoising_unet())
    pipeline.use_engine("auto", tmp_path)
    assert pipeline.runs_in == "onnx or eager"
    with monkeypatch.context() as patch:  # the networks are those of other tests too
        patch.setattr(type(pipeline), "_move", lambda *given: None)
        pipeline.to("bf16")
    assert pipeline.runs_in == "eager"


@pytest.mark.parametrize(
    "options, missing, words",
    [
        ({}, [], r", engine auto \(Paddle; onnx where an export is at hand or pays\)"),
        ({}, ["onnx"], r"Paddle; onnx, which is faster on CPUs, is not installed: `pip install '.\[onnx\]' -c"),
        ({"memory": "minimal"}, [], r"\(Paddle, for memory minimal\)"),
        ({"engine": "eager"}, [], ""),
    ],
    ids=str,
)
def test_a_run_tells_what_auto_may_choose(options, missing, words, monkeypatch):
    monkeypatch.setattr(engines, "AUTOMATIC", "onnx")
    monkeypatch.setattr(Backend, "missing", missing)
    config = Pose2VidConfig.load(ROOT / "configs" / "inference" / "demo.yaml", **options)
    told = tell_engine(config, "float32")
    assert re.search(words, told) and bool(told) == bool(words)
    monkeypatch.setattr(paddle.device, "get_device", lambda: "gpu:0")
    assert tell_engine(config, "float32") == ""


def test_seconds_of_exports_are_told_apart_from_those_of_the_clip(make_pipeline, run, tmp_path):
    pipeline = make_pipeline()
    run(pipeline)
    assert pipeline.preparation_seconds == 0
    pipeline.use_engine("onnx", tmp_path)
    run(pipeline)
    made = pipeline.preparation_seconds
    run(pipeline)
    assert pipeline.preparation_seconds == made > 0
