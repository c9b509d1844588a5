"""The reference UNet: a picture's latent in, the tokens of its self-attentions out."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.models.animate_anyone import ReferenceUNet

# In the order of execution, for Stable Diffusion 1.5's shape: two layers in a down block, three in an up block.
STABLE_DIFFUSION_NAMES = [
    *(f"down_blocks.{i}.attentions.{j}.transformer_blocks.0" for i in (0, 1, 2) for j in (0, 1)),
    "mid_block.attentions.0.transformer_blocks.0",
    *(f"up_blocks.{i}.attentions.{j}.transformer_blocks.0" for i in (1, 2, 3) for j in (0, 1, 2)),
]


def randn(*shape, seed=0):
    return paddle.to_tensor(np.random.RandomState(seed).randn(*shape).astype("float32"))


def largest_difference(features, others):
    return max(float((features[name] - others[name]).abs().max()) for name in features)


@pytest.fixture(scope="module")
def stable_diffusion_features(make_reference_unet):
    unet = make_reference_unet(layers_per_block=2)
    with paddle.no_grad():
        return unet(randn(1, 4, 9, 13), 0, randn(1, 2, 32))


def test_there_is_a_feature_for_each_transformer_block_in_the_order_of_execution(stable_diffusion_features):
    assert list(stable_diffusion_features) == STABLE_DIFFUSION_NAMES


def test_features_have_the_tokens_and_widths_of_their_level(stable_diffusion_features):
    # Sides are halved and rounded up: 9x13, 5x7, 3x4, 2x2.
    down = [[1, 117, 32]] * 2 + [[1, 35, 32]] * 2 + [[1, 12, 64]] * 2
    up = [[1, 12, 64]] * 3 + [[1, 35, 32]] * 3 + [[1, 117, 32]] * 3
    assert [feature.shape for feature in stable_diffusion_features.values()] == [*down, [1, 4, 64], *up]


@paddle.no_grad()
def test_features_are_normalised_tokens(make_reference_unet):
    # They are the output of a layer norm: without its affine part, each token has mean 0 and variance 1.
    unet = make_reference_unet()
    for layer in unet.sublayers():
        if hasattr(layer, "norm1") and hasattr(layer, "attn1"):
            layer.norm1.weight.fill_(1.0)
            layer.norm1.bias.fill_(0.0)
    for feature in unet(randn(1, 4, 9, 9), 0, randn(1, 1, 32)).values():
        np.testing.assert_allclose(feature.mean(-1), 0, atol=1e-5)
        np.testing.assert_allclose(feature.var(-1, unbiased=False), 1, atol=1e-3)


def test_default_shape_is_stable_diffusions():
    with paddle.LazyGuard():
        unet = ReferenceUNet()
    names = [layer.feature_name for layer in unet.sublayers() if hasattr(layer, "feature_name")]
    assert sorted(names) == sorted(STABLE_DIFFUSION_NAMES)
    # 859 520 964 of Stable Diffusion 1.5, less its output norm (640) and convolution (11 524).
    assert sum(parameter.size for parameter in unet.parameters()) == 859_520_964 - 640 - 11_524


def test_there_is_no_output_head(reference_unet):
    assert [name for name in reference_unet.state_dict() if name.startswith(("conv_norm_out", "conv_out"))] == []


@paddle.no_grad()
def test_sample_has_the_size_of_the_latent_and_the_first_width(reference_unet):
    features, sample = reference_unet(randn(2, 4, 9, 13), 0, randn(2, 1, 32), return_sample=True)
    assert sample.shape == [2, 32, 9, 13]
    assert largest_difference(features, reference_unet(randn(2, 4, 9, 13), 0, randn(2, 1, 32))) == 0


@paddle.no_grad()
def test_clips_one_after_another_give_the_features_that_they_give_alone(make_reference_unet):
    clips = [(randn(1, 4, 9, 9, seed=seed), 0, randn(1, 1, 32, seed=seed)) for seed in (1, 2)]
    unet = make_reference_unet()
    one_after_another = [unet(*clip) for clip in clips]
    alone = [make_reference_unet()(*clip) for clip in clips]
    assert [largest_difference(a, b) for a, b in zip(one_after_another, alone)] == [0, 0]


@pytest.mark.parametrize(
    "changed",
    [
        {"latent": randn(1, 4, 9, 9, seed=5)},
        {"timestep": 500},
        {"encoder_hidden_states": randn(1, 1, 32, seed=6)},
    ],
    ids=lambda changed: next(iter(changed)),
)
@paddle.no_grad()
def test_features_depend_on_every_input(reference_unet, changed):
    inputs = {"latent": randn(1, 4, 9, 9), "timestep": 0, "encoder_hidden_states": randn(1, 1, 32)}
    assert largest_difference(reference_unet(**inputs), reference_unet(**{**inputs, **changed})) > 1e-3


@paddle.no_grad()
def test_rounding_keeps_names_and_dtype_and_rounds_to_fp16(reference_unet):
    features = reference_unet(randn(1, 4, 9, 9), 0, randn(1, 1, 32))
    rounded = features.rounded_to_fp16()
    assert list(rounded) == list(features)
    assert type(rounded) is type(features)
    for name, tensor in features.items():
        np.testing.assert_array_equal(rounded[name], tensor.numpy().astype(np.float16).astype(np.float32))
    assert largest_difference(rounded, features) > 0


def test_batches_that_differ_name_both_numbers(reference_unet):
    with pytest.raises(ValueError, match="3 samples.* for 2"):
        reference_unet(randn(2, 4, 9, 9), 0, randn(3, 1, 32))


def test_every_parameter_but_the_last_blocks_rest_reaches_the_features(make_reference_unet):
    # Nothing reads what the last block does after its last self-attention's norm. Everything else must have a say.
    unet = make_reference_unet()
    features = unet(randn(1, 4, 9, 9), 0, randn(1, 2, 32))
    sum((tensor * randn(*tensor.shape, seed=7)).sum() for tensor in features.values()).backward()
    idle = {name for name, p in unet.named_parameters() if p.grad is None or float(p.grad.abs().max()) == 0}
    last = "up_blocks.3.attentions.1."
    read = tuple(last + part for part in ("norm.", "proj_in.", "transformer_blocks.0.norm1."))
    unread = {name for name, _ in unet.named_parameters() if name.startswith(last) and not name.startswith(read)}
    assert idle == unread
