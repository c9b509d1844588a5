"""The denoising UNet: frames, pose, reference and guidance."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, ReferenceFeatures
from ppdiffusers_ext.models.animate_anyone.blocks import Conditions


def randn(*shape, seed=0):
    return paddle.to_tensor(np.random.RandomState(seed).randn(*shape).astype("float32"))


def largest_difference(a, b):
    return float((a - b).abs().max())


def make_inputs(batch=2, frames=3, height=9, width=10, seed=0):
    """latents, timestep, embedding, pose features."""
    return (
        randn(batch, 4, frames, height, width, seed=seed),
        500,
        randn(batch, 2, 32, seed=seed + 1),
        randn(batch, 32, frames, height, width, seed=seed + 2),
    )


@pytest.fixture(scope="module")
def make_features(reference_unet):
    """Call it for the `ReferenceFeatures` of some samples."""

    @paddle.no_grad()
    def make(samples=1, height=9, width=10, seed=50):
        return reference_unet(randn(samples, 4, height, width, seed=seed), 0, randn(samples, 2, 32, seed=seed + 1))

    return make


def one_sample(features, i):
    return ReferenceFeatures((name, tensor[i : i + 1]) for name, tensor in features.items())


@pytest.mark.parametrize(("height", "width"), [(9, 13), (12, 10), (8, 8), (16, 24), (1, 1)])
@paddle.no_grad()
def test_prediction_has_the_shape_of_the_latents(denoising_unet, make_features, height, width):
    inputs = make_inputs(1, 2, height, width)
    out = denoising_unet(*inputs, make_features(1, height, width))
    assert out.shape == [1, 4, 2, height, width]
    assert bool(paddle.isfinite(out).all())


@paddle.no_grad()
def test_single_frame_runs(denoising_unet):
    assert denoising_unet(*make_inputs(frames=1)).shape == [2, 4, 1, 9, 10]


@pytest.mark.parametrize("changed", range(4), ids=["latents", "timestep", "embedding", "pose"])
@paddle.no_grad()
def test_prediction_depends_on_every_input(denoising_unet, changed):
    inputs, others = list(make_inputs(1)), list(make_inputs(1, seed=20))
    others[1] = 501
    before = denoising_unet(*inputs)
    inputs[changed] = others[changed]
    assert largest_difference(denoising_unet(*inputs), before) > 1e-3


@paddle.no_grad()
def test_timestep_may_be_one_for_each_sample(denoising_unet):
    latents, _, embedding, pose = make_inputs(2)
    both = denoising_unet(latents, paddle.to_tensor([10, 900]), embedding, pose)
    for i, timestep in enumerate((10, 900)):
        alone = denoising_unet(latents[i : i + 1], timestep, embedding[i : i + 1], pose[i : i + 1])
        assert largest_difference(both[i], alone[0]) < 1e-5


@paddle.no_grad()
def test_frames_see_each_other_through_the_motion_modules_only(make_denoising_unet):
    inputs = make_inputs(1)
    latents = inputs[0].clone()
    latents[:, :, 2] = randn(1, 4, 9, 10, seed=9)
    for options, sees in (({}, True), ({"use_motion_module": False}, False)):
        unet = make_denoising_unet(**options)
        change = largest_difference(unet(latents, *inputs[1:])[:, :, 0], unet(*inputs)[:, :, 0])
        assert (change > 1e-4) == sees


@pytest.fixture(scope="module")
def norm_pair(make_denoising_unet):
    """The same weights with per-frame and with whole-clip group norms."""
    return [make_denoising_unet(use_inflated_groupnorm=per_frame) for per_frame in (True, False)]


@paddle.no_grad()
def test_whole_clip_norm_differs_for_several_frames(norm_pair):
    per_frame, whole_clip = (unet(*make_inputs(1)) for unet in norm_pair)
    assert largest_difference(per_frame, whole_clip) > 1e-2


@paddle.no_grad()
def test_whole_clip_norm_agrees_for_one_frame(norm_pair):
    per_frame, whole_clip = (unet(*make_inputs(1, frames=1)) for unet in norm_pair)
    assert largest_difference(per_frame, whole_clip) == 0


@paddle.no_grad()
def test_whole_clip_norm_of_equal_frames_is_the_per_frame_norm(norm_pair):
    latents, timestep, embedding, pose = make_inputs(1, frames=1)
    clip = (latents.tile([1, 1, 3, 1, 1]), timestep, embedding, pose.tile([1, 1, 3, 1, 1]))
    # Positions in time tell the frames apart, so without motion modules.
    for unet in norm_pair:
        for layer in unet.sublayers():
            if type(layer).__name__ == "TemporalTransformer":
                for parameter in layer.proj_out.parameters():
                    parameter.fill_(0.0)
    per_frame, whole_clip = (unet(*clip) for unet in norm_pair)
    assert largest_difference(per_frame, whole_clip) < 1e-4


@paddle.no_grad()
def test_unconditional_rows_do_not_see_the_reference_at_all(denoising_unet, make_features):
    inputs = make_inputs(2)
    rows = [denoising_unet(*inputs, make_features(seed=seed), num_unconditional=1)[0] for seed in (50, 60)]
    assert largest_difference(*rows) == 0


@paddle.no_grad()
def test_unconditional_rows_are_those_without_features(denoising_unet, make_features):
    inputs = make_inputs(2)
    guided = denoising_unet(*inputs, make_features(), num_unconditional=1)
    assert largest_difference(guided[0], denoising_unet(*inputs)[0]) < 1e-5


@paddle.no_grad()
def test_conditional_rows_depend_on_the_reference(denoising_unet, make_features):
    inputs = make_inputs(2)
    rows = [denoising_unet(*inputs, make_features(seed=seed), num_unconditional=1)[1] for seed in (50, 60)]
    assert largest_difference(*rows) > 1e-3


@pytest.mark.parametrize("name", ["down_blocks.0", "mid_block", "up_blocks.1", "up_blocks.3"])
@paddle.no_grad()
def test_every_block_reads_the_feature_of_its_name(denoising_unet, make_features, name):
    inputs, features, others = make_inputs(1), make_features(), make_features(seed=60)
    changed = [key for key in features if key.startswith(name)]
    mixed = ReferenceFeatures((key, others[key] if key in changed else features[key]) for key in features)
    assert changed
    assert largest_difference(denoising_unet(*inputs, mixed), denoising_unet(*inputs, features)) > 1e-4


@paddle.no_grad()
def test_features_of_one_sample_serve_several_as_if_repeated(denoising_unet, make_features):
    inputs, features = make_inputs(3), make_features()
    repeated = ReferenceFeatures((name, tensor.tile([3, 1, 1])) for name, tensor in features.items())
    assert largest_difference(denoising_unet(*inputs, features), denoising_unet(*inputs, repeated)) < 1e-5


@paddle.no_grad()
def test_each_conditional_sample_sees_its_own_reference(denoising_unet, make_features):
    inputs, features = make_inputs(3), make_features(samples=2)
    batched = denoising_unet(*inputs, features, num_unconditional=1)
    for i in (0, 1):
        row = [x if isinstance(x, int) else x[i + 1 : i + 2] for x in inputs]
        assert largest_difference(batched[i + 1], denoising_unet(*row, one_sample(features, i))[0]) < 1e-5


@paddle.no_grad()
def test_reference_of_another_size_is_seen(denoising_unet, make_features):
    assert denoising_unet(*make_inputs(1), make_features(height=12, width=8)).shape == [1, 4, 3, 9, 10]


@paddle.no_grad()
def test_sequential_guidance_equals_batched_guidance(denoising_unet, make_features):
    latents, timestep, embedding, pose = make_inputs(1)
    features, nothing = make_features(), paddle.zeros_like(embedding)
    twice = (paddle.concat([x, x]) for x in (latents, pose))
    both = denoising_unet(
        next(twice), timestep, paddle.concat([nothing, embedding]), next(twice), features, num_unconditional=1
    )
    assert largest_difference(both[0], denoising_unet(latents, timestep, nothing, pose)[0]) < 1e-5
    assert largest_difference(both[1], denoising_unet(latents, timestep, embedding, pose, features)[0]) < 1e-5


@paddle.no_grad()
def test_calls_leave_no_state_behind(make_denoising_unet, make_features):
    unet, inputs = make_denoising_unet(), make_inputs(1)
    before = unet(*inputs)
    unet(*make_inputs(2, frames=2, height=8, width=8), make_features(1, 8, 8), num_unconditional=1)
    assert largest_difference(unet(*inputs), before) == 0


def test_embedding_of_another_batch_names_both_numbers(denoising_unet):
    latents, timestep, _, pose = make_inputs(2)
    with pytest.raises(ValueError, match="3 samples.* for 2"):
        denoising_unet(latents, timestep, randn(3, 1, 32), pose)


@pytest.mark.parametrize("shape", [(2, 32, 4, 9, 10), (1, 32, 3, 9, 10), (2, 32, 3, 9, 11)])
def test_pose_features_of_another_extent_name_both(denoising_unet, shape):
    latents, timestep, embedding, _ = make_inputs(2)
    extent = f"[{shape[0]}, {shape[2]}, {shape[3]}, {shape[4]}]"
    with pytest.raises(ValueError) as error:
        denoising_unet(latents, timestep, embedding, randn(*shape))
    assert extent in str(error.value)
    assert "[2, 3, 9, 10]" in str(error.value)


def test_reference_of_another_batch_names_both_numbers(denoising_unet, make_features):
    with pytest.raises(ValueError, match="2 samples.* 3 samples"):
        denoising_unet(*make_inputs(3), make_features(samples=2))


def test_features_that_do_not_fit_are_named(denoising_unet, make_features):
    features = make_features()
    features["down_blocks.9"] = features.popitem(last=False)[1]
    with pytest.raises(ValueError, match="down_blocks.9"):
        denoising_unet(*make_inputs(1), features)


def test_window_longer_than_the_position_table_names_both_numbers(denoising_unet):
    with pytest.raises(ValueError, match=r"13 frames.* 12\b"):
        denoising_unet(*make_inputs(1, frames=13, height=2, width=2))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 12),
        ({"use_motion_module": False}, None),
        ({"motion_module_kwargs": {"temporal_position_encoding": False}}, None),
        ({"motion_module_kwargs": {"temporal_position_encoding": True}}, 24),
    ],
)
def test_longest_window_is_known(make_denoising_unet, options, expected):
    assert make_denoising_unet(**options).max_frames == expected


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"motion_module_type": "Strange"}, "motion_module_type='Strange'"),
        ({"down_block_types": ("StrangeBlock3D",) * 4}, "StrangeBlock3D"),
        ({"down_block_types": ("DownBlock3D",) * 3}, "down_block_types has 3 entries, block_out_channels 4"),
        ({"up_block_types": ("UpBlock3D",) * 5}, "up_block_types has 5 entries, block_out_channels 4"),
        ({"attention_head_dim": (4, 4)}, "attention_head_dim has 2 entries, block_out_channels 4"),
        ({"resnet_time_scale_shift": "strange"}, "resnet_time_scale_shift='strange'"),
        ({"act_fn": "relu"}, "act_fn='relu'"),
        ({"only_cross_attention": True}, "only_cross_attention=True"),
        ({"dual_cross_attention": True}, "dual_cross_attention=True"),
        ({"class_embed_type": "timestep"}, "class_embed_type='timestep'"),
        ({"num_class_embeds": 10}, "num_class_embeds=10"),
        ({"upcast_attention": True}, "upcast_attention=True"),
        ({"unet_use_cross_frame_attention": True}, "unet_use_cross_frame_attention=True"),
        ({"unet_use_temporal_attention": True}, "unet_use_temporal_attention=True"),
        ({"mid_block_type": "UNetMidBlock3D"}, "mid_block_type='UNetMidBlock3D'"),
        ({"norm_num_groups": 5}, "32 .block_out_channels. is no multiple of 5"),
        ({"attention_head_dim": 5}, "32 do not divide into 5 heads"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unsupported_option_is_refused_by_name(make_denoising_unet, options, named):
    with pytest.raises(ValueError, match=named):
        make_denoising_unet(**options)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({}, ["down_blocks", "mid_block", "up_blocks"]),
        ({"motion_module_mid_block": False}, ["down_blocks", "up_blocks"]),
        ({"motion_module_decoder_only": True}, ["mid_block", "up_blocks"]),
        ({"use_motion_module": False}, []),
    ],
    ids=str,
)
def test_motion_modules_stand_where_the_options_say(make_denoising_unet, options, where):
    names = [name for name in make_denoising_unet(**options).state_dict() if ".motion_modules." in name]
    assert sorted({name.split(".")[0] for name in names}) == where


def test_motion_module_resolutions_choose_the_levels(make_denoising_unet):
    unet = make_denoising_unet(motion_module_resolutions=(1, 4), motion_module_mid_block=False)
    names = [name for name in unet.state_dict() if ".motion_modules." in name]
    blocks = {".".join(name.split(".")[:2]) for name in names}
    assert blocks == {"down_blocks.0", "down_blocks.2", "up_blocks.1", "up_blocks.3"}


def test_released_shape_has_the_released_tensors():
    with paddle.LazyGuard():
        unet = DenoisingUNet3D(
            use_inflated_groupnorm=True,
            use_motion_module=True,
            motion_module_mid_block=True,
            motion_module_type="Vanilla",
            motion_module_kwargs={
                "num_transformer_block": 1,
                "temporal_position_encoding": True,
                "temporal_position_encoding_max_len": 32,
            },
        )
    motion = [name for name, _ in unet.named_parameters() if ".motion_modules." in name]
    assert (len(motion), len(list(unet.named_parameters())) - len(motion)) == (546, 686)


@pytest.mark.parametrize(
    "options",
    [
        {"resnet_time_scale_shift": "scale_shift"},
        {"use_linear_projection": True},
        {"center_input_sample": True},
        {"mid_block_scale_factor": 2.0},
        {"flip_sin_to_cos": False},
        {"freq_shift": 1},
    ],
    ids=str,
)
@paddle.no_grad()
def test_option_runs_and_has_an_effect(make_denoising_unet, denoising_unet, options):
    inputs = make_inputs(1)
    out = make_denoising_unet(**options)(*inputs)
    assert bool(paddle.isfinite(out).all())
    assert largest_difference(out, denoising_unet(*inputs)) > 1e-4


# Gradients


def make_trainable(make_denoising_unet, checkpointing, stage):
    unet = make_denoising_unet()
    unet.train()
    if checkpointing:
        unet.enable_gradient_checkpointing()
    for name, parameter in unet.named_parameters():
        parameter.stop_gradient = stage == 2 and ".motion_modules." not in name
    return unet


def loss_and_gradients(unet, features):
    latents, timestep, embedding, pose = make_inputs(1, frames=2)
    out = unet(latents, timestep, embedding, pose, features)
    loss = ((out - randn(*out.shape, seed=30)) ** 2).mean()
    loss.backward()
    return float(loss), {name: p.grad.numpy() for name, p in unet.named_parameters() if p.grad is not None}


def assert_same_gradients(gradients, expected, tolerance):
    """Every gradient agrees within a part of its own largest value."""
    assert set(gradients) == set(expected)
    errors = {name: np.abs(g - expected[name]).max() / np.abs(expected[name]).max() for name, g in gradients.items()}
    assert {name: error for name, error in errors.items() if not error <= tolerance} == {}


@pytest.mark.parametrize("stage", [1, 2])
def test_gradient_checkpointing_changes_no_gradient(make_denoising_unet, make_features, stage):
    features = make_features()
    plain, expected = loss_and_gradients(make_trainable(make_denoising_unet, False, stage), features)
    loss, gradients = loss_and_gradients(make_trainable(make_denoising_unet, True, stage), features)
    assert loss == pytest.approx(plain, abs=1e-6)
    assert_same_gradients(gradients, expected, tolerance=1e-4)


def test_gradient_checkpointing_computes_layers_again_in_backward(make_denoising_unet, make_features):
    unet, calls = make_trainable(make_denoising_unet, True, 1), []
    unet.down_blocks[0].resnets[0].conv1.register_forward_post_hook(lambda layer, inputs, out: calls.append(layer))
    loss_and_gradients(unet, make_features())
    assert len(calls) == 2


def test_gradient_checkpointing_leaves_out_what_learns_nothing(make_denoising_unet, make_features, monkeypatch):
    # Paddle would warn of each such layer in every step.
    unet, computed = make_trainable(make_denoising_unet, True, 2), []
    monkeypatch.setattr(
        "ppdiffusers_ext.models.animate_anyone.blocks.recompute",
        lambda layer, *args, **options: computed.append(layer) or layer(*args),
    )
    loss_and_gradients(unet, make_features())
    before_motion, after_motion = unet.down_blocks[0].resnets[0], unet.down_blocks[1].resnets[0]
    assert before_motion not in computed
    assert after_motion in computed and unet.down_blocks[0].motion_modules[0] in computed


def test_gradient_checkpointing_keeps_what_the_backward_pass_begins_with(
    make_denoising_unet, make_features, monkeypatch
):
    unet, computed = make_trainable(make_denoising_unet, True, 1), []
    monkeypatch.setattr(
        "ppdiffusers_ext.models.animate_anyone.blocks.recompute",
        lambda layer, *args, **options: computed.append(layer) or layer(*args),
    )
    loss_and_gradients(unet, make_features())
    last = unet.up_blocks[-1]
    for layers in (last.resnets, last.attentions, last.motion_modules):
        assert layers[-1] not in computed and layers[-2] in computed
    assert unet.down_blocks[-1].resnets[-1] in computed


@paddle.no_grad()
def test_gradient_checkpointing_can_be_switched_off(make_denoising_unet):
    unet = make_denoising_unet()
    unet.enable_gradient_checkpointing()
    unet.disable_gradient_checkpointing()
    flags = {layer.gradient_checkpointing for layer in unet.sublayers() if hasattr(layer, "gradient_checkpointing")}
    assert flags == {False}


def test_stage_2_gradients_are_those_of_the_whole_network(make_denoising_unet, make_features):
    # Behind frozen layer norms Paddle's own gradients are wrong.
    features = make_features()
    _, of_all = loss_and_gradients(make_trainable(make_denoising_unet, False, 1), features)
    _, gradients = loss_and_gradients(make_trainable(make_denoising_unet, False, 2), features)
    expected = {name: gradient for name, gradient in of_all.items() if ".motion_modules." in name}
    assert_same_gradients(gradients, expected, tolerance=1e-3)


@pytest.mark.parametrize("stage", [1, 2])
def test_gradient_is_the_slope_of_the_loss_in_fp64(make_denoising_unet, make_features, stage):
    # The whole network in float64, moved along a random direction: the loss rises as the fp32 gradient says.
    unet, features = make_trainable(make_denoising_unet, False, stage), make_features()
    _, gradients = loss_and_gradients(unet, features)
    unet.to(dtype="float64")
    latents, timestep, embedding, pose = (
        x if isinstance(x, int) else x.astype("float64") for x in make_inputs(1, frames=2)
    )
    target = randn(*latents.shape, seed=30).astype("float64")
    parameters = {name: parameter for name, parameter in unet.named_parameters() if name in gradients}
    start = {name: parameter.numpy() for name, parameter in parameters.items()}
    noise = np.random.RandomState(31)
    direction = {name: noise.randn(*array.shape) * np.abs(array).mean() for name, array in start.items()}

    @paddle.no_grad()
    def loss(distance):
        for name, parameter in parameters.items():
            parameter.set_value(start[name] + distance * direction[name])
        return float(((unet(latents, timestep, embedding, pose, features) - target) ** 2).mean())

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    expected = sum(float((gradients[name].astype(np.float64) * direction[name]).sum()) for name in start)
    assert slope == pytest.approx(expected, rel=1e-3)


def test_gradients_flow_into_reference_and_pose_features(make_denoising_unet, make_features):
    unet, features = make_denoising_unet(), make_features()
    latents, timestep, embedding, pose = make_inputs(1)
    inputs = [pose, *features.values()]
    for x in inputs:
        x.stop_gradient = False
    (unet(latents, timestep, embedding, pose, features) ** 2).mean().backward()
    assert all(float(x.grad.abs().max()) > 0 for x in inputs)


def test_every_parameter_has_a_gradient(make_denoising_unet, make_features):
    _, gradients = loss_and_gradients(make_trainable(make_denoising_unet, False, 1), make_features())
    unet = make_denoising_unet()
    assert {name for name, _ in unet.named_parameters()} == set(gradients)
    assert [name for name, gradient in gradients.items() if np.abs(gradient).max() == 0] == []


# Step caching


def conditions_of(unet, features, timestep=500):
    latents, _, embedding, pose = make_inputs(1, frames=2)
    clip = unet.prepare_clip(embedding, features)
    conditions = Conditions(unet.prepare_step(timestep), clip, embedding, num_frames=2)
    return latents, conditions, pose


@pytest.mark.parametrize("depth", [1, 2])
@paddle.no_grad()
def test_last_units_alone_give_the_same_on_their_own_features(denoising_unet, make_features, depth):
    arguments = conditions_of(denoising_unet, make_features())
    expected = denoising_unet.denoise(*arguments)
    whole, deep = denoising_unet.denoise(*arguments, depth)
    alone, same = denoising_unet.denoise(*arguments, depth, deep)
    assert float((whole - expected).abs().max()) < 1e-5 and float((alone - expected).abs().max()) < 1e-5
    assert same is deep


@pytest.mark.parametrize("depth", [1, 2])
@paddle.no_grad()
def test_last_units_alone_leave_the_others_out(denoising_unet, make_features, depth):
    arguments = conditions_of(denoising_unet, make_features())
    _, deep = denoising_unet.denoise(*arguments, depth)
    calls = []
    resnets = {
        name: layer for name, layer in denoising_unet.named_sublayers() if name.split(".")[-2:-1] == ["resnets"]
    }
    hooks = [
        layer.register_forward_post_hook(lambda layer, inputs, out, name=name: calls.append(name))
        for name, layer in resnets.items()
    ]
    denoising_unet.denoise(*arguments, depth, deep)
    for hook in hooks:
        hook.remove()
    assert calls == [f"down_blocks.0.resnets.{i}" for i in range(depth - 1)] + [
        f"up_blocks.3.resnets.{i}" for i in range(2 - depth, 2)
    ]
