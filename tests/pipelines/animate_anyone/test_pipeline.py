"""The pipeline: windows, guidance, samplers, outputs, and what bad input gets. The numbers are in the goldens."""

from types import SimpleNamespace

import numpy as np
import paddle
import PIL.Image
import pytest
from paddle import nn
from ppdiffusers.utils.paddle_utils import randn_tensor

from ppdiffusers_ext.errors import InputError, NonFiniteError
from ppdiffusers_ext.models.animate_anyone.transformer import TransformerConditions, repeat_rows
from ppdiffusers_ext.pipelines import posed
from ppdiffusers_ext.pipelines.animate_anyone import pipeline as animate_anyone
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from tests.conftest import RELEASED_SCHEDULE

# Latents of 9 x 10. Smaller ones have a single token at the deepest level, whose group norms magnify every rounding.
WIDTH, HEIGHT = 72, 80
# Three windows for five frames: 0-2, 2-4, and 4-1 round the end.
WINDOWED = {"context_frames": 3, "context_overlap": 1}
# Three windows for ten frames: 0-5, 4-9, and 8-3 round the end.
TEN_FRAMES = {"context_frames": 6, "context_overlap": 2}


@pytest.fixture
def run(reference_image, poses):
    """Call it with a pipeline and options for the latents, or whatever else is asked for, of five frames."""

    def call(pipeline, pose_images=poses[:5], image=reference_image, seed=0, **options):
        options = {"width": WIDTH, "height": HEIGHT, "num_inference_steps": 1, "output_type": "latent", **options}
        generator = paddle.Generator().manual_seed(seed)
        return pipeline(image, pose_images, generator=generator, **options).videos

    return call


def largest_difference(a, b):
    return float((a - b).abs().max())


class StubUNet(nn.Layer):
    """Stands in for the denoising UNet: `predict(latents, timestep, is_conditional)` gives what each row predicts."""

    max_depth = 2

    def prepare_clip(self, embedding, reference_features=None):
        return {"all": TransformerConditions(shift=embedding)}

    def prepare_step(self, timestep):
        return {"timestep": timestep}

    def __init__(self, predict, max_frames=None):
        super().__init__()
        self.config = SimpleNamespace(in_channels=4, patch_size=1)
        self.predict, self.max_frames, self.shapes = predict, max_frames, []

    def denoise(self, latents, conditions, pose_features=None):
        self.shapes.append(latents.shape)
        embedding = repeat_rows(conditions.clip["all"].shift, latents.shape[0])  # (1 or windows, 1, dim)
        is_conditional = (embedding.abs().max(axis=[1, 2]) > 0).astype("float32").reshape([-1, 1, 1, 1, 1])
        return self.predict(latents, conditions.times["timestep"], is_conditional) + paddle.zeros_like(latents)


def record_predictions(pipeline):
    """Let the scheduler's steps do nothing but keep the guided predictions, in the list that this returns."""
    predictions = []

    def step(model_output, timestep, sample):
        predictions.append(model_output)
        return SimpleNamespace(prev_sample=sample)

    pipeline.scheduler.step = step
    return predictions


# Patches


def test_networks_that_take_patches_make_videos_of_the_size_that_is_asked_for(
    make_pipeline, make_denoising_unet, make_reference_unet, make_pose_guider, run
):
    """Poses then have a position for each patch, whose sides are two latents."""
    networks = {
        "denoising_unet": make_denoising_unet(patch_size=2),
        "reference_unet": make_reference_unet(patch_size=2),
        "pose_guider": make_pose_guider(block_out_channels=(8, 8, 16, 16, 24)),
    }
    pipeline = make_pipeline(**networks)
    videos = [run(pipeline, width=64, height=80, **options) for options in ({}, {"seed": 1}, WINDOWED)]
    assert [video.shape for video in videos] == [[1, 4, 5, 10, 8]] * 3
    assert largest_difference(videos[0], videos[1]) > 0.1
    with pytest.raises(ValueError, match="latents of 9x8 do not divide into patches of 2x2"):
        run(pipeline, width=64, height=72)


# Repetition


def test_same_seed_gives_the_same_video(pipeline, run):
    assert largest_difference(run(pipeline, **WINDOWED), run(pipeline, **WINDOWED)) == 0


def test_another_seed_gives_another_video(pipeline, run, poses):
    assert largest_difference(run(pipeline, poses[:2]), run(pipeline, poses[:2], seed=1)) > 0.1


def test_global_seed_counts_without_a_generator(pipeline, reference_image, poses):
    def call():
        paddle.seed(5)
        options = {"num_inference_steps": 1, "output_type": "latent"}
        return pipeline(reference_image, poses[:2], WIDTH, HEIGHT, **options).videos

    assert largest_difference(call(), call()) == 0


def test_given_latents_are_those_that_would_be_drawn(pipeline, run, poses):
    noise = randn_tensor([1, 4, 2, 10, 9], generator=paddle.Generator().manual_seed(0))
    given = run(pipeline, poses[:2], latents=noise, seed=99)
    assert largest_difference(given, run(pipeline, poses[:2], seed=0)) == 0


def test_given_latents_are_not_changed(pipeline, run, poses):
    noise = paddle.ones([1, 4, 2, 10, 9])
    run(pipeline, poses[:2], latents=noise)
    assert bool((noise == 1).all())


@pytest.mark.parametrize("changed", ["image", "pose_images"])
def test_video_depends_on_its_inputs(pipeline, run, reference_image, poses, changed):
    inputs = {"image": reference_image, "pose_images": poses[:2]}
    others = {"image": poses[9], "pose_images": [poses[0], poses[5]]}
    before, after = run(pipeline, **inputs), run(pipeline, **{**inputs, changed: others[changed]})
    assert largest_difference(before, after) > 1e-3


# Guidance and windows


@pytest.mark.parametrize(
    "options",
    [
        {"sequential_guidance": True},
        {"context_batch_size": 2},
        {"context_batch_size": 5},
        {"context_batch_size": 2, "sequential_guidance": True},
        {"context_batch_size": 2, "guidance_scale": 1.0},
    ],
    ids=str,
)
def test_how_predictions_are_batched_changes_nothing(pipeline, run, options):
    plain = {"guidance_scale": options.get("guidance_scale", 3.5)}
    assert largest_difference(run(pipeline, **WINDOWED, **options), run(pipeline, **WINDOWED, **plain)) < 1e-4


def test_guidance_outside_of_its_interval_is_left_out(pipeline, run, poses):
    unet = StubUNet(lambda latents, timestep, is_conditional: 1.0 + is_conditional)
    pipeline.register_modules(denoising_unet=unet)
    predictions = record_predictions(pipeline)
    run(pipeline, poses[:2], num_inference_steps=4, guidance_scale=3.0, guidance_interval=(0.3, 0.7))
    assert [float(prediction.mean()) for prediction in predictions] == [2.0, 4.0, 4.0, 2.0]
    assert [shape[0] for shape in unet.shapes] == [1, 2, 2, 1]


@pytest.mark.parametrize("interval", [(0.7, 0.3), (-0.1, 1), (0, 1.5), (0.5,), (0, float("nan"))])
def test_what_is_no_guidance_interval_is_refused(pipeline, run, interval):
    with pytest.raises(InputError, match="guidance interval of .* is not accepted"):
        run(pipeline, guidance_interval=interval)


def differences_with_caching(pipeline, run, **options):
    options = {"num_inference_steps": 6, **WINDOWED, **options}
    plain = run(pipeline, **options)
    return [
        largest_difference(run(pipeline, step_cache_interval=interval, **options), plain) for interval in (1, 2, 4)
    ]


@pytest.mark.parametrize("options", [{}, {"sequential_guidance": True}, {"guidance_interval": (0.0, 0.6)}], ids=str)
def test_step_caching_changes_the_more_the_less_it_computes(pipeline, run, options):
    none, half, quarter = differences_with_caching(pipeline, run, **options)
    assert none == 0 and 0 < half < quarter


def test_first_and_last_step_run_the_whole_network_and_those_between_only_the_last_units(pipeline, run):
    calls = []
    pipeline.denoising_unet.mid_block.register_forward_post_hook(lambda *arguments: calls.append("middle"))
    pipeline.denoising_unet.conv_out.register_forward_post_hook(lambda *arguments: calls.append("end"))
    run(pipeline, num_inference_steps=5, step_cache_interval=3, **WINDOWED)
    # Steps 0, 1 and 4, in three windows each: intervals are counted from the last.
    assert calls == ["middle", "end"] * 6 + ["end"] * 6 + ["middle", "end"] * 3


@pytest.mark.parametrize(
    "options, message",
    [
        ({"step_cache_interval": 0}, "interval of step caching is 0; a whole number of 1 or more"),
        ({"step_cache_interval": 2, "step_cache_depth": 3}, "depth of step caching is 3; 1 to 2 is accepted"),
    ],
)
def test_bad_step_caching_is_refused(pipeline, run, options, message):
    with pytest.raises(InputError, match=message):
        run(pipeline, **options)


def test_windows_that_are_named_twice_are_run_once(pipeline, run, monkeypatch):
    windows = [[0, 1, 2], [2, 3, 4], [0, 1, 2], [4, 4, 0]]
    monkeypatch.setattr(animate_anyone, "get_schedule", lambda name: lambda *arguments: windows)
    unet = StubUNet(lambda latents, timestep, is_conditional: paddle.arange(3.0).reshape([1, 1, 3, 1, 1]))
    pipeline.register_modules(denoising_unet=unet)
    predictions = record_predictions(pipeline)
    run(pipeline, guidance_scale=1.0)
    assert len(unet.shapes) == 3
    # Frame 0 lies twice at place 0 and once at place 2, frame 2 twice at place 2 and once at place 0, ...
    expected = [2 / 3, 1, 4 / 3, 1, (2 + 0 + 1) / 3]
    assert predictions[0].mean(axis=[0, 1, 3, 4]).numpy() == pytest.approx(expected, abs=1e-5)


def test_what_follows_from_the_clip_or_the_step_is_computed_once(pipeline, run, monkeypatch):
    calls = {"prepare_clip": 0, "prepare_step": 0}
    for name in calls:
        original = getattr(pipeline.denoising_unet, name)

        def counted(*arguments, _name=name, _original=original):
            calls[_name] += 1
            return _original(*arguments)

        monkeypatch.setattr(pipeline.denoising_unet, name, counted, raising=False)
    projections, block = [], pipeline.denoising_unet.mid_block.attentions[0].transformer_blocks[0]
    block.attn1.to_k.register_forward_post_hook(lambda layer, inputs, out: projections.append(inputs[0].shape))
    run(pipeline, num_inference_steps=2, **WINDOWED)
    assert calls == {"prepare_clip": 2, "prepare_step": 2}  # a clip with and one without reference
    of_reference = [shape for shape in projections if shape[0] == 1]
    assert len(of_reference) == 1 and len(projections) == 1 + 2 * 3


def test_windows_of_several_lengths_can_be_batched(pipeline, run, poses):
    # Nine frames in strides of two: five and four of them.
    options = {"context_schedule": "sliding", "context_frames": 6, "context_stride": 2, "context_overlap": 0}
    alone = run(pipeline, poses[:9], **options)
    assert largest_difference(run(pipeline, poses[:9], context_batch_size=2, **options), alone) < 1e-4


def test_guidance_of_1_is_the_conditional_prediction(pipeline, run, reference_image, poses):
    noise = paddle.randn([1, 4, 3, 10, 9])
    (prediction,) = record_predictions_of(pipeline, run, poses[:3], guidance_scale=1.0, latents=noise)
    with paddle.no_grad():
        embedding = pipeline.encode_clip(reference_image)
        features = pipeline.reference_unet(pipeline.encode_reference(reference_image, HEIGHT, WIDTH), 0, embedding)
        pose = pipeline.encode_poses(poses[:3], HEIGHT, WIDTH)
        expected = pipeline.denoising_unet(noise, pipeline.scheduler.timesteps[0], embedding, pose, features)
    assert largest_difference(prediction, expected) < 1e-5


def test_guidance_exaggerates_the_conditional_prediction(pipeline, run, reference_image, poses):
    noise = paddle.randn([1, 4, 3, 10, 9])
    (prediction,) = record_predictions_of(pipeline, run, poses[:3], guidance_scale=3.5, latents=noise)
    with paddle.no_grad():
        embedding = pipeline.encode_clip(reference_image)
        features = pipeline.reference_unet(pipeline.encode_reference(reference_image, HEIGHT, WIDTH), 0, embedding)
        inputs = noise, pipeline.scheduler.timesteps[0]
        pose = pipeline.encode_poses(poses[:3], HEIGHT, WIDTH)
        conditional = pipeline.denoising_unet(*inputs, embedding, pose, features)
        unconditional = pipeline.denoising_unet(*inputs, paddle.zeros_like(embedding), pose)
    assert largest_difference(prediction, unconditional + 3.5 * (conditional - unconditional)) < 1e-4


def record_predictions_of(pipeline, run, poses, **options):
    predictions = record_predictions(pipeline)
    run(pipeline, poses, **options)
    return predictions


@pytest.mark.parametrize(("scale", "rows"), [(1.0, 1), (0.0, 1), (3.5, 2)])
def test_there_is_no_unconditional_prediction_without_guidance(make_pipeline, run, scale, rows):
    stub = StubUNet(lambda latents, timestep, is_conditional: 0.0)
    run(make_pipeline(denoising_unet=stub), guidance_scale=scale)
    assert [shape[0] for shape in stub.shapes] == [rows]


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 0.5), (3.5, 0.2 + 3.5 * 0.3)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("schedule", ["uniform", "sliding"])
def test_overlapping_windows_are_averaged_with_and_without_guidance(
    make_pipeline, run, poses, schedule, stride, scale, expected
):
    # Every window predicts the same, so that is the prediction however often a frame is covered.
    stub = StubUNet(lambda latents, timestep, is_conditional: 0.2 + 0.3 * is_conditional)
    predictions = record_predictions(pipeline := make_pipeline(denoising_unet=stub))
    options = {"context_schedule": schedule, "context_stride": stride, **TEN_FRAMES}
    run(pipeline, poses, guidance_scale=scale, **options)
    assert len(stub.shapes) >= 2
    for prediction in predictions:
        np.testing.assert_allclose(prediction, np.full([1, 4, 10, 10, 9], expected), atol=1e-5)


# Where each frame stands in the windows 0-5, 4-9, 8 9 0-3 and 0 2 4 6 8 0: frame 0 stands in the last one twice.
PLACES = [[0, 2, 0, 5], [1, 3], [2, 4, 1], [3, 5], [4, 0, 2], [5, 1], [2, 3], [3], [4, 0, 4], [5, 1]]


@pytest.mark.parametrize("scale", [1.0, 3.5])
def test_every_place_of_a_frame_counts_also_two_in_one_window(make_pipeline, run, poses, scale):
    def predict(latents, timestep, is_conditional):
        return paddle.arange(latents.shape[2], dtype="float32").reshape([1, 1, -1, 1, 1])

    predictions = record_predictions(pipeline := make_pipeline(denoising_unet=StubUNet(predict)))
    run(pipeline, poses, guidance_scale=scale, context_stride=2, **TEN_FRAMES)
    np.testing.assert_allclose(predictions[0][0, 0, :, 0, 0], [np.mean(places) for places in PLACES], atol=1e-5)


def test_windows_are_those_of_the_schedule(make_pipeline, run, poses):
    stub = StubUNet(lambda latents, timestep, is_conditional: 0.0)
    run(make_pipeline(denoising_unet=stub), poses, guidance_scale=1.0, num_inference_steps=2, **TEN_FRAMES)
    assert stub.shapes == [[1, 4, 6, 10, 9]] * 3 * 2


def test_windows_see_the_pose_of_their_own_frames(make_pipeline, run, poses):
    pipeline = make_pipeline(denoising_unet=(stub := StubUNet(lambda latents, timestep, is_conditional: 0.0)))
    seen = []
    stub.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[3]))
    run(pipeline, poses, guidance_scale=1.0, **TEN_FRAMES)
    with paddle.no_grad():
        features = pipeline.encode_poses(poses, HEIGHT, WIDTH)
    for pose, window in zip(seen, ([0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9], [8, 9, 0, 1, 2, 3])):
        assert largest_difference(pose, paddle.index_select(features, paddle.to_tensor(window), axis=2)) == 0


# Lengths and sizes


def test_single_picture_makes_a_single_frame(pipeline, run, poses):
    assert run(pipeline, poses[0], output_type="np").shape == (1, 3, 1, HEIGHT, WIDTH)


@pytest.mark.parametrize("num_frames", [1, 2, 5, 6, 7])
def test_clip_of_any_length_runs(pipeline, run, poses, num_frames):
    latents = run(pipeline, poses[:num_frames], guidance_scale=1.0, **TEN_FRAMES)
    assert latents.shape == [1, 4, num_frames, 10, 9]


def test_sizes_are_rounded_down_to_multiples_of_8(pipeline, run, poses):
    video = run(pipeline, poses[:2], width=79, height=87, output_type="pd")
    assert video.shape == [1, 3, 2, 80, 72]
    assert largest_difference(video, run(pipeline, poses[:2], output_type="pd")) == 0


def test_video_length_takes_the_first_frames(pipeline, run, poses):
    assert largest_difference(run(pipeline, poses, video_length=2), run(pipeline, poses[:2])) == 0


def test_poses_may_be_arrays(pipeline, run, poses):
    arrays = [np.asarray(pose) for pose in poses[:2]]
    assert largest_difference(run(pipeline, arrays), run(pipeline, poses[:2])) == 0


def test_poses_may_be_of_several_sizes(pipeline, run, poses):
    sizes = [poses[0], poses[1].resize((90, 30)), poses[2].resize((17, 200))]
    assert run(pipeline, sizes).shape == [1, 4, 3, 10, 9]


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "1"])
def test_pictures_of_other_modes_are_converted(pipeline, run, reference_image, poses, mode):
    image, pose = reference_image.convert(mode), poses[0].convert(mode)
    expected = run(pipeline, [pose.convert("RGB")], image=image.convert("RGB"))
    assert largest_difference(run(pipeline, [pose], image=image), expected) < 1e-5


class Reader:
    """Pose frames that are read one by one, and how many have been."""

    def __init__(self, poses):
        self.poses, self.count = poses, 0

    def __iter__(self):
        for pose in self.poses:
            self.count += 1
            yield pose


def test_no_more_poses_are_read_than_the_video_is_long(pipeline, run, poses):
    reader = Reader(poses)
    run(pipeline, iter(reader), video_length=3)
    assert reader.count == 3


def test_poses_are_encoded_while_they_are_read(monkeypatch, make_pipeline, make_pose_guider, run, poses):
    monkeypatch.setattr(posed, "POSE_CHUNK", 3)
    reader, read = Reader(poses), []
    guider = make_pose_guider()
    guider.register_forward_pre_hook(lambda layer, inputs: read.append((reader.count, inputs[0].shape[2])))
    run(make_pipeline(pose_guider=guider), iter(reader), video_length=8, guidance_scale=1.0)
    assert read == [(3, 3), (6, 3), (8, 2)]


def test_how_many_poses_are_encoded_at_a_time_changes_nothing(monkeypatch, pipeline, poses):
    with paddle.no_grad():
        expected = pipeline.encode_poses(poses, HEIGHT, WIDTH)
        monkeypatch.setattr(posed, "POSE_CHUNK", 1)
        assert largest_difference(pipeline.encode_poses(poses, HEIGHT, WIDTH), expected) < 1e-6


# What bad input gets


@pytest.fixture
def no_network_may_run(monkeypatch, parts):
    """Until the end of the test, any call of a network is an error."""

    def fail(layer, inputs):
        raise AssertionError(f"{type(layer).__name__} was called")

    hooks = [part.register_forward_pre_hook(fail) for part in parts.values()]
    monkeypatch.setattr(parts["vae"], "encode", lambda pixels: fail(parts["vae"], pixels))
    yield
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context_frames": 13, "pose_images": [PIL.Image.new("RGB", (8, 8))] * 14}, "13 frames .* table of 12"),
        ({"context_frames": 3, "context_overlap": 3}, "overlap of 3 .* 3 frames"),
        ({"context_schedule": "unifrom"}, "'unifrom' is not known"),
        ({"width": 7}, "width 7 is too small; 8 pixels"),
        ({"height": 0}, "height 0 is too small; 8 pixels"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"output_type": "mp4"}, "'mp4' is not known; use one of pd, np, pil, latent"),
        ({"callback_on_step_end_tensor_inputs": ("latents", "noise")}, "callback_on_step_end_tensor_inputs"),
        ({"video_length": 0}, "0"),
        ({"video_length": -1}, "-1"),
        ({"pose_images": []}, "no pose pictures"),
        ({"pose_images": iter([])}, "no pose pictures"),
        ({"context_batch_size": 0}, "context_batch_size"),
        ({"context_batch_size": -1}, "context_batch_size"),
        ({"decode_chunk_size": 0}, "decode_chunk_size"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_option_is_refused_before_any_network_runs(pipeline, run, no_network_may_run, options, message):
    with pytest.raises(InputError, match=message):
        run(pipeline, **options)


def test_fewer_poses_than_frames_name_both_numbers(pipeline, run, poses):
    with pytest.raises(InputError, match="11 frames .* only 10 pose pictures"):
        run(pipeline, iter(poses), video_length=11)


def test_latents_of_another_shape_name_both_shapes(pipeline, run, poses):
    with pytest.raises(InputError, match=r"\[1, 4, 2, 10, 10\].*\[1, 4, 2, 10, 9\]"):
        run(pipeline, poses[:2], latents=paddle.zeros([1, 4, 2, 10, 10]))


def test_latents_that_are_not_finite_are_refused_with_the_step(pipeline, run, poses):
    noise = paddle.zeros([1, 4, 2, 10, 9])
    noise[0, 0, 1, 2, 3] = float("nan")
    with pytest.raises(NonFiniteError, match="after step 1 of 2"):
        run(pipeline, poses[:2], num_inference_steps=2, latents=noise)


def test_weights_that_are_not_finite_are_refused_with_the_step(make_pipeline, make_denoising_unet, run, poses):
    unet = make_denoising_unet()
    with paddle.no_grad():
        unet.mid_block.resnets[0].conv1.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="after step 1 of 2"):
        run(make_pipeline(denoising_unet=unet), poses[:2], num_inference_steps=2)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_prediction_that_is_not_finite_is_refused_at_its_step(make_pipeline, run, poses, value):
    def predict(latents, timestep, is_conditional):  # at the timesteps 999, 749, 499, 249
        return value if float(timestep) < 500 else 0.0

    with pytest.raises(NonFiniteError, match="after step 3 of 4"):
        stub = StubUNet(predict)
        run(make_pipeline(denoising_unet=stub), poses[:2], num_inference_steps=4)


# Callback


def test_callback_is_told_every_step_and_its_timestep(pipeline, run):
    calls = []

    def callback(caller, step, timestep, tensors):
        calls.append((caller, step, int(timestep), set(tensors)))
        return {}

    run(pipeline, num_inference_steps=3, callback_on_step_end=callback, **WINDOWED)
    assert calls == [(pipeline, step, timestep, {"latents"}) for step, timestep in enumerate((999, 666, 332))]


def test_callback_sees_the_latents_after_its_step(pipeline, run, poses):
    seen = []
    callback = lambda caller, step, timestep, tensors: seen.append(tensors["latents"])  # noqa: E731
    final = run(pipeline, poses[:2], num_inference_steps=2, callback_on_step_end=callback)
    assert largest_difference(seen[-1], final) == 0
    assert largest_difference(seen[0], final) > 1e-3


def test_callback_may_replace_the_latents(make_pipeline, run, poses):
    seen = []
    stub = StubUNet(lambda latents, timestep, is_conditional: seen.append(float(latents.mean())) or 0.0)
    run(
        make_pipeline(denoising_unet=stub),
        poses[:2],
        num_inference_steps=3,
        callback_on_step_end=lambda caller, step, timestep, tensors: {"latents": tensors["latents"] * 0 + step + 7},
    )
    assert seen[1:] == [7, 8]


# Outputs


def test_output_types_agree(pipeline, run, poses):
    latents, pd, array, pictures = (
        run(pipeline, poses[:3], output_type=output_type) for output_type in ("latent", "pd", "np", "pil")
    )
    assert pd.shape == [1, 3, 3, HEIGHT, WIDTH]
    decoded = paddle.concat(list(pipeline.decode(latents))).transpose([1, 0, 2, 3]).unsqueeze(0)
    assert largest_difference(pd, decoded) == 0
    np.testing.assert_array_equal(array, pd.numpy())
    assert [picture.size for picture in pictures] == [(WIDTH, HEIGHT)] * 3
    for i, picture in enumerate(pictures):
        np.testing.assert_allclose(np.asarray(picture), array[0, :, i].transpose(1, 2, 0) * 255, atol=0.51)


def test_video_lies_between_0_and_1_and_is_not_flat(pipeline, run, poses):
    video = run(pipeline, poses[:2], output_type="np")
    assert video.min() >= 0 and video.max() <= 1
    assert video.std() > 0.01


def test_tuple_is_returned_on_request(pipeline, poses, reference_image):
    result = pipeline(reference_image, poses[:1], WIDTH, HEIGHT, num_inference_steps=1, return_dict=False)
    assert isinstance(result, tuple)
    assert result[0].shape == [1, 3, 1, HEIGHT, WIDTH]


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 7, 100])
def test_how_many_frames_are_decoded_at_a_time_changes_nothing(pipeline, chunk_size):
    paddle.seed(0)
    latents = paddle.randn([1, 4, 7, 10, 9])
    chunks = list(pipeline.decode(latents, chunk_size))
    assert max(chunk.shape[0] for chunk in chunks) == min(chunk_size, 7)
    expected = paddle.concat(list(pipeline.decode(latents, 4)))
    np.testing.assert_allclose(paddle.concat(chunks), expected, atol=1e-5)


def test_frames_are_decoded_when_they_are_asked_for(monkeypatch, pipeline):
    decoded, decode = [], pipeline.vae.decode
    monkeypatch.setattr(pipeline.vae, "decode", lambda chunk: decoded.append(chunk.shape[0]) or decode(chunk))
    frames = pipeline.decode(paddle.zeros([1, 4, 5, 2, 2]), chunk_size=2)
    assert decoded == []
    next(frames)
    assert decoded == [2]


# Samplers and precisions


@pytest.mark.parametrize("scheduler", ["DPM-Solver++", "UniPC", "Euler", "Euler-a", "Heun", "LCM"])
def test_sampler_runs_end_to_end_and_repeats_itself(make_pipeline, run, poses, scheduler):
    pipeline = make_pipeline(scheduler)
    first = run(pipeline, poses[:2], num_inference_steps=3)
    assert bool(paddle.isfinite(first).all())
    assert float(first.std()) > 0.1
    assert largest_difference(run(pipeline, poses[:2], num_inference_steps=3), first) == 0


@pytest.mark.parametrize("scheduler", ["DDIM", "DPM-Solver++", "UniPC", "Euler", "Heun", "LCM"])
def test_network_first_sees_the_noise_itself_whatever_the_scale_of_the_sampler(make_pipeline, run, poses, scheduler):
    seen, noise = [], paddle.randn([1, 4, 1, 10, 9])
    stub = StubUNet(lambda latents, timestep, is_conditional: seen.append(latents) or 0.0)
    pipeline = make_pipeline(scheduler, denoising_unet=stub)
    run(pipeline, poses[:1], latents=noise, guidance_scale=1.0, num_inference_steps=3)
    np.testing.assert_allclose(seen[0], noise, atol=1e-4)


def test_rounding_the_reference_features_to_fp16_changes_the_result_slightly(pipeline, run, poses):
    plain, rounded = (run(pipeline, poses[:1], fp16_reference_features=on) for on in (False, True))
    assert 0 < largest_difference(plain, rounded) < 0.02


@pytest.fixture(scope="module")
def saved_pipeline(tmp_path_factory, parts):
    folder = str(tmp_path_factory.mktemp("pipeline"))
    Pose2VideoPipeline(**parts, scheduler=make_scheduler("DDIM", RELEASED_SCHEDULE)).save_pretrained(folder)
    return folder


def test_saved_pipeline_gives_the_same_video(pipeline, run, poses, saved_pipeline):
    loaded = Pose2VideoPipeline.from_pretrained(saved_pipeline)
    loaded.set_progress_bar_config(disable=True)
    # ppdiffusers rescales the betas in fp32 when it loads the scheduler, we in fp64 when we make it.
    assert largest_difference(run(loaded, poses[:2]), run(pipeline, poses[:2])) < 1e-3


def test_saved_pipeline_holds_our_classes_by_the_name_of_the_package(saved_pipeline):
    index = Pose2VideoPipeline.load_config(saved_pipeline)
    names = ("denoising_unet", "reference_unet", "pose_guider")
    assert {tuple(index[name]) for name in names} == {
        ("ppdiffusers_ext", "DenoisingUNet3D"),
        ("ppdiffusers_ext", "ReferenceUNet"),
        ("ppdiffusers_ext", "PoseGuider"),
    }


def test_saved_pipeline_keeps_a_scheduler_of_ours(make_pipeline, run, poses, tmp_path):
    pipeline = make_pipeline("UniPC")
    pipeline.save_pretrained(str(tmp_path))
    loaded = Pose2VideoPipeline.from_pretrained(str(tmp_path))
    loaded.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 3, "guidance_scale": 1.0}
    assert largest_difference(run(loaded, poses[:1], **options), run(pipeline, poses[:1], **options)) < 1e-3


def test_pipeline_loaded_in_bf16_runs_on_a_cpu(pipeline, run, poses, saved_pipeline):
    loaded = Pose2VideoPipeline.from_pretrained(saved_pipeline, paddle_dtype=paddle.bfloat16)
    loaded.set_progress_bar_config(disable=True)
    dtypes = {name: str(part.dtype) for name, part in loaded.components.items() if isinstance(part, nn.Layer)}
    assert dtypes == {
        "vae": "paddle.float32",
        "image_encoder": "paddle.float32",
        "denoising_unet": "paddle.bfloat16",
        "reference_unet": "paddle.bfloat16",
        "pose_guider": "paddle.bfloat16",
    }
    half, full = (run(x, poses[:2], output_type="np") for x in (loaded, pipeline))
    assert np.isfinite(half).all()
    assert 0 < np.abs(half - full).mean() < 0.05
