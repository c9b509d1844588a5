"""Switches of a pipeline (`enable_...`, `disable_...`): before or after `use_engine`, they do the same."""

import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.borrowed import use_own_layers
from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline
from ppdiffusers_ext.pipelines.tiling import tile_of
from tests.conftest import picture
from tests.pipelines.easy_animate.test_pipeline import make as make_easy
from tests.pipelines.easy_animate.test_pipeline import text
from tests.pipelines.easy_animate.test_video_coding import V4
from tests.pipelines.easy_animate.test_video_coding import make as make_video_vae
from tests.pipelines.stable_animator import test_pipeline as stable

stable_pipeline = stable.pipeline
ORDERS = (("engine", "tiling", "slicing"), ("tiling", "engine", "slicing"), ("slicing", "tiling", "engine"))
HARMLESS = ("vae_slicing", "attention_slicing", "xformers_memory_efficient_attention")


@pytest.fixture
def animate(make_pipeline, poses):
    """(pipeline, what it makes of a picture and a pose) of Animate Anyone, larger than a tile."""
    pipeline = make_pipeline()
    yield (
        pipeline,
        lambda: pipeline(
            picture(100), poses[:1], 96, 80, num_inference_steps=1, guidance_scale=1.0,
            generator=paddle.Generator().manual_seed(0),
        ).videos,
    )  # fmt: skip
    pipeline.disable_vae_tiling()


def of_easy_animate(vae, frames):
    pipeline = make_easy(EasyAnimatePipeline, 4)
    pipeline.register_modules(vae=vae)
    pipeline.set_progress_bar_config(disable=True)
    given, noise = text(), paddle.randn(pipeline.latents_shape(1, frames, 96, 80))
    sizes = {"height": 96, "width": 80, "num_frames": frames, "guidance_scale": 1.0, "num_inference_steps": 1}
    return pipeline, lambda: pipeline(given, latents=noise, **sizes).frames


@pytest.fixture
def easy():
    """The same of EasyAnimate."""
    return of_easy_animate(make_video_vae(V4, tile_sample_min_size=32), 8)


@pytest.fixture
def first_easy(make_vae):
    """The same with the VAE of V1, which is of pictures."""
    return of_easy_animate(use_own_layers(make_vae()), 2)


@pytest.fixture
def stable_animator(stable_pipeline):
    """The same of StableAnimator."""
    stable_pipeline.vae.tile_sample_min_size = 64
    yield stable_pipeline, lambda: stable.call(stable_pipeline, 1, output_type="pd", max_guidance_scale=1.0)
    stable_pipeline.disable_vae_tiling()
    stable_pipeline.use_engine("eager")


WHICH = pytest.mark.parametrize("which", ["animate", "easy", "first_easy", "stable_animator"])


def difference(one, other):
    return float((one - other).abs().max())


@pytest.mark.long
@WHICH
def test_order_of_switches_and_engine_changes_nothing(request, which, tmp_path):
    pipeline, run = request.getfixturevalue(which)
    whole = run()
    pipeline.enable_vae_tiling()
    tiled = run()
    assert difference(whole, tiled) > 1e-4  # they can be told apart
    pipeline.disable_vae_tiling()
    assert difference(run(), whole) == 0
    for order in ORDERS:
        pipeline.use_engine("eager")
        pipeline.disable_vae_tiling()
        for step in order:
            if step == "engine":
                pipeline.use_engine("onnx", tmp_path)
            elif step == "tiling":
                pipeline.enable_vae_tiling()
            else:
                pipeline.enable_vae_slicing()
        assert difference(run(), tiled) < 1e-4, order
    # The same pipeline and exports, switched off and on again, and by the VAE's own switch.
    pipeline.disable_vae_tiling()
    assert difference(run(), whole) < 1e-4
    pipeline.vae.use_tiling = True
    assert difference(run(), tiled) < 1e-4
    pipeline.use_engine("eager")
    assert difference(run(), tiled) < 1e-4


@pytest.mark.long
@WHICH
def test_exports_that_were_made_with_tiles_serve_without_and_the_other_way(request, which, tmp_path):
    pipeline, run = request.getfixturevalue(which)
    whole = run()
    pipeline.enable_vae_tiling()
    tiled = run()
    for first in (True, False):
        folder = tmp_path / str(first)
        for tiles in (first, not first):
            pipeline.use_engine("onnx", folder)  # as a new process does, which finds the exports of the one before
            pipeline.vae.use_tiling = tiles
            assert difference(run(), tiled if tiles else whole) < 1e-4, (first, tiles)
        pipeline.use_engine("eager")


@pytest.mark.parametrize("which", ["easy", "first_easy"])
def test_openvino_compares_and_runs_what_is_tiled(request, which, tmp_path):
    """An export that is not what it is compared with is refused when it is made."""
    pytest.importorskip("openvino")
    pipeline, run = request.getfixturevalue(which)
    pipeline.enable_vae_tiling()
    tiled = run()
    pipeline.use_engine("openvino", tmp_path)
    assert difference(run(), tiled) < 1e-4
    pipeline.use_engine("eager")


@WHICH
def test_switches_that_save_memory_alone_change_no_numbers(request, which, tmp_path):
    pipeline, run = request.getfixturevalue(which)
    plain = run()
    for engine in ("eager", "onnx"):
        pipeline.use_engine(engine, tmp_path)
        for name in HARMLESS:
            getattr(pipeline, f"enable_{name}")()
            assert difference(run(), plain) < 1e-4
            getattr(pipeline, f"disable_{name}")()
        assert difference(run(), plain) < 1e-4


def test_switches_of_stable_animator_that_save_memory_alone_change_nothing(stable_pipeline):
    for name in HARMLESS:
        getattr(stable_pipeline, f"enable_{name}")()
        getattr(stable_pipeline, f"disable_{name}")()


def test_freeu_is_refused(animate, stable_pipeline):
    for pipeline in (animate[0], stable_pipeline):
        with pytest.raises(InputError, match="none of the networks knows FreeU"):
            pipeline.enable_freeu(0.9, 0.2, 1.2, 1.4)
        pipeline.disable_freeu()


def test_tiles_are_never_smaller_than_the_least(make_vae):
    vae = make_vae()
    assert tile_of(vae) == 0
    vae.enable_tiling()
    assert vae.tile_sample_min_size == 32 and tile_of(vae) == 64
