"""The denoising UNet in a compiled engine, as the pipeline uses it."""

import paddle
import pytest

from ppdiffusers_ext.engine.backends import BACKENDS
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.compiled import compile_unet
from tests.pipelines.test_animate_anyone import WINDOWED, largest_difference, run

__all__ = ["run"]  # a fixture


@pytest.mark.parametrize("engine", BACKENDS)
def test_clip_is_the_same_in_every_engine(pipeline, run, tmp_path, engine):
    options = {"num_inference_steps": 2, **WINDOWED}
    eager = run(pipeline, **options)
    pipeline.use_engine(engine, tmp_path)
    assert 0 < largest_difference(run(pipeline, **options), eager) < 1e-3 * float(eager.abs().max())
    assert len(list((tmp_path / "exports").iterdir())) == 1
    pipeline.use_engine("eager")
    # Not bit by bit: Paddle Inference sets the number of threads, and with it the order of sums.
    assert largest_difference(run(pipeline, **options), eager) < 1e-4


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
    run(pipeline, poses[3:8], image=poses[1], seed=4)
    assert len(list((tmp_path / "exports").iterdir())) == 1


@pytest.mark.parametrize(
    "engine, dtype, message",
    [
        ("tensorrt", "float32", "engine 'tensorrt' is not known; use one of eager, inference, onnx, openvino"),
        ("onnx", "bfloat16", "engine onnx runs fp32 weights on a CPU; dtype fp32 or engine eager is accepted"),
    ],
)
def test_engine_that_cannot_be_used_is_refused(make_denoising_unet, tmp_path, engine, dtype, message):
    with pytest.raises(InputError, match=message):
        compile_unet(make_denoising_unet().to(dtype=dtype), engine, tmp_path)


@paddle.no_grad()
def test_eager_needs_no_cache(denoising_unet, tmp_path):
    assert compile_unet(denoising_unet, "eager", tmp_path / "cache") is denoising_unet
    assert not (tmp_path / "cache").exists()
