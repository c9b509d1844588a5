"""StableAnimator's pipeline: what its arguments do, and what is refused. Its numbers are compared in test_parity."""

import json

import numpy as np
import paddle
import PIL.Image
import pytest
from ppdiffusers import AutoencoderKLTemporalDecoder
from ppdiffusers.transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, PoseNet
from ppdiffusers_ext.pipelines.previews import preview_of
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from tests.test_parity import GOLDENS

CONFIG = json.loads((GOLDENS / "stable_animator" / "pipeline_basic" / "config.json").read_text())
SIDE = 128


@pytest.fixture(scope="module")
def pipeline():
    return make_pipeline()


def make_pipeline():
    paddle.seed(0)
    args = CONFIG["args"]
    pose_net = PoseNet(**args["pose_net"])
    for parameter in pose_net.final_proj.parameters():
        parameter.set_value(0.1 * paddle.randn(parameter.shape))
    pipeline = StableAnimatorPipeline(
        vae=AutoencoderKLTemporalDecoder(**args["vae"]),
        image_encoder=CLIPVisionModelWithProjection(CLIPVisionConfig(**args["image_encoder"])),
        unet=AnimationUNet(**args["unet"]),
        pose_net=pose_net,
        face_encoder=FusionFaceId(**args["face_encoder"]),
        scheduler=make_scheduler("Euler", CONFIG["scheduler"]),
    )
    for name in pipeline.network_names:
        getattr(pipeline, name).eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def picture(seed=0, side=96):
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8))


def call(pipeline, frames=3, seed=0, **options):
    options = {"num_inference_steps": 1, "output_type": "latent", "width": SIDE, "height": SIDE, **options}
    generator = paddle.Generator().manual_seed(seed)
    face = np.random.default_rng(5).standard_normal(512) if "face_embedding" not in options else None
    options.setdefault("face_embedding", face)
    return pipeline(picture(), [picture(i + 1) for i in range(frames)], generator=generator, **options).frames


def difference(one, other):
    return float((one - other).abs().max())


def test_clip_has_the_size_and_the_frames_of_the_poses(pipeline):
    video = call(pipeline, output_type="np", decode_chunk_size=2)
    assert video.shape == (1, 3, 3, SIDE, SIDE) and 0 <= video.min() < video.max() <= 1
    assert [image.size for image in call(pipeline, 1, output_type="pil")] == [(SIDE, SIDE)]


def test_preview_shows_the_frame_in_the_middle(pipeline):
    latents = call(pipeline, frames=3)
    decoded = np.concatenate([np.asarray(chunk) for chunk in pipeline.decode(latents, 1)])  # (3, 3, height, width)
    expected = (decoded[1].transpose(1, 2, 0) * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(preview_of(pipeline, latents), expected)
    assert preview_of(pipeline, paddle.tile(latents, [1, 1, 1, 4, 4])).shape[:2] == (SIDE * 2, SIDE * 2)


def test_same_seed_is_the_same_clip(pipeline):
    first = call(pipeline)
    assert difference(first, call(pipeline)) == 0
    assert difference(first, call(pipeline, seed=1)) > 0.1


def test_poses_faces_and_guidance_matter(pipeline):
    first = call(pipeline)
    assert difference(first, call(pipeline, face_embedding=None)) > 1e-4
    assert difference(first, call(pipeline, max_guidance_scale=6.0)) > 1e-4
    other = pipeline(
        picture(), [picture(i + 40) for i in range(3)], np.zeros(512), SIDE, SIDE, 1, output_type="latent",
        generator=paddle.Generator().manual_seed(0),
    ).frames  # fmt: skip
    assert difference(call(pipeline, face_embedding=np.zeros(512)), other) > 1e-4


def test_guidance_of_one_and_below_takes_one_call_a_window(pipeline, monkeypatch):
    calls, denoise = [], pipeline.unet.denoise

    def count(sample, times, clip, poses, *others):
        calls.append(poses is not None)
        return denoise(sample, times, clip, poses, *others)

    monkeypatch.setattr(pipeline.unet, "denoise", count)
    call(pipeline, min_guidance_scale=1.0, max_guidance_scale=1.0)
    assert calls == [True]
    call(pipeline)
    assert calls == [True, False, True]  # the unconditional one sees no poses


def test_poses_are_encoded_once(pipeline, monkeypatch):
    calls, forward = [], pipeline.pose_net.forward
    monkeypatch.setattr(pipeline.pose_net, "forward", lambda x: calls.append(x.shape[0]) or forward(x))
    call(pipeline, 5, num_inference_steps=2, tile_size=3, tile_overlap=1)
    assert calls == [5]


@pytest.mark.parametrize("tile_size, tile_overlap", [(16, 4), (3, 0), (2, 1)])
def test_tiles_longer_than_the_clip_and_without_overlap_are_finite(pipeline, tile_size, tile_overlap):
    latents = call(pipeline, 5, tile_size=tile_size, tile_overlap=tile_overlap)
    assert latents.shape == [1, 5, 4, SIDE // 8, SIDE // 8] and bool(paddle.isfinite(latents).all())


def test_steps_without_guidance_and_of_few_units_are_near_and_fewer(pipeline, monkeypatch):
    exact, units, run = call(pipeline, num_inference_steps=4), [], pipeline.unet.mid_block.forward
    monkeypatch.setattr(pipeline.unet.mid_block, "forward", lambda *given: units.append(1) or run(*given))
    spared = call(pipeline, num_inference_steps=4, guidance_interval=(0.5, 1), step_cache_interval=2)
    assert len(units) == 5  # of eight: one in steps 0, 1 and 2 (which has features of one alone), both in 3
    assert 1e-5 < difference(exact, spared) < 0.5 * float(exact.abs().max())


def test_cached_steps_of_the_same_latents_are_exact(pipeline):
    unet = pipeline.unet
    sample, context = paddle.randn([1, 3, 8, 16, 16]), paddle.randn([1, 5, 64])
    times = unet.prepare_step(0.3, paddle.to_tensor([[6.0, 127.0, 0.02]]))
    clip = unet.prepare_clip(context)
    whole = unet.denoise(sample, times, clip)
    for depth in range(1, unet.max_depth + 1):
        first, deep = unet.denoise(sample, times, clip, depth=depth)
        again, _ = unet.denoise(sample, times, clip, depth=depth, deep=deep)
        assert difference(whole, first) == 0 and difference(whole, again) < 1e-6


def test_calls_with_and_without_guidance_share_an_export(pipeline, tmp_path):
    expected = call(pipeline, 5, num_inference_steps=2, tile_size=3, tile_overlap=1)
    pipeline.use_engine("onnx", tmp_path)
    try:
        given = call(pipeline, 5, num_inference_steps=2, tile_size=3, tile_overlap=1)
        reports = {what: function.report for (_, what), function in pipeline._engine._functions.items()}
    finally:
        pipeline.use_engine()
    assert difference(given, expected) < 1e-3
    for what in ("denoise", "prepare_clip", "prepare_step"):
        assert [each for each, _ in reports[what]].count("export") == 1


def test_unet_sees_zeros_as_it_sees_nothing(pipeline):
    unet = pipeline.unet
    sample = paddle.randn([2, 3, 8, 16, 16])
    times = unet.prepare_step(0.3, paddle.to_tensor([[6.0, 127.0, 0.02]] * 2))
    zeros = unet.denoise(sample, times, unet.prepare_clip(paddle.zeros([2, 5, 64])))
    assert difference(zeros, unet.denoise(sample, times, unet.prepare_clip(None))) < 1e-5


def test_callback_may_replace_the_latents(pipeline):
    seen = []

    def keep(pipeline, step, timestep, given):
        seen.append(step)
        return {"latents": given["latents"] * 0}

    assert float(call(pipeline, num_inference_steps=2, callback_on_step_end=keep).abs().max()) == 0
    assert seen == [0, 1]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"width": 100}, "100x128 does not fit; multiples of 64 are accepted"),
        ({"height": 0}, "128x0 does not fit"),
        ({"guidance_interval": (0.5, 2)}, r"a guidance interval of \(0.5, 2\) is not accepted"),
        ({"step_cache_interval": 0}, "the interval of step caching is 0"),
        ({"step_cache_interval": 2, "step_cache_depth": 3}, "the depth of step caching is 3; 1 to 2 is accepted"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0; a whole number from 1 to 1000"),
        ({"output_type": "gif"}, "output_type 'gif' is not known; use one of pd, np, pil, latent"),
        ({"tile_size": 1}, "cannot be cut into tiles of 1"),
        ({"tile_overlap": 16}, "cannot be cut into tiles of 16 that overlap by 16"),
        ({"face_embedding": np.zeros(128)}, "a face embedding of 128 numbers was given; one of 512 is accepted"),
        ({"latents": paddle.zeros([1, 2, 4, 16, 16])}, "latents of shape .* were given"),
    ],
)
def test_what_does_not_fit_is_refused(pipeline, options, message):
    with pytest.raises(InputError, match=message):
        call(pipeline, **options)


def test_no_poses_are_refused(pipeline):
    with pytest.raises(InputError, match="no skeleton pictures"):
        call(pipeline, 0)


def test_weights_that_are_not_finite_are_told(pipeline, monkeypatch):
    monkeypatch.setattr(pipeline.unet, "denoise", lambda sample, *_: sample[:, :, :4] * float("nan"))
    with pytest.raises(InputError, match="latents are not finite after step 1"):
        call(pipeline)


def test_saved_pipeline_is_the_same(pipeline, tmp_path):
    pipeline.save_pretrained(str(tmp_path))
    loaded = StableAnimatorPipeline.from_pretrained(str(tmp_path))
    loaded.set_progress_bar_config(disable=True)
    assert difference(call(loaded), call(pipeline)) == 0


@pytest.mark.parametrize("name", ["owner/name", "no_such_folder", {"a": 1}])
def test_adapters_of_ppdiffusers_are_refused(pipeline, name):
    with pytest.raises(InputError, match="takes no adapters of ppdiffusers"):
        pipeline.unet.load_attn_procs(name, from_hf_hub=True)
