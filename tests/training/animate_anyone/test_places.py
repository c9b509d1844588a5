"""Attention that is led to where tokens draw, and the loss that has them look there."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone import PoseGuider
from ppdiffusers_ext.models.animate_anyone.transformer import ReferenceAttention
from ppdiffusers_ext.training.animate_anyone.check import check_files
from ppdiffusers_ext.training.animate_anyone.model import AnimateAnyoneModel
from ppdiffusers_ext.training.animate_anyone.options import DataArguments, ModelArguments
from ppdiffusers_ext.training.animate_anyone.places import Places, divergence

SPREAD = 0.3  # tokens, of the weights around a place


def looking(height, width, down=0, right=0, sharpness=40.0):
    """Query and key (1, tokens, 2) of tokens that look at the place so far down and right of their own."""
    rows, columns = np.divmod(np.arange(height * width), width)
    keys = np.stack([rows, columns], -1).astype(np.float32)
    queries = keys + np.array([down, right], np.float32)
    # -|q - k|^2 as a product, but for what is the same for all keys
    query = np.concatenate([2 * queries, np.ones_like(queries[:, :1])], -1) * sharpness
    key = np.concatenate([keys, -(keys**2).sum(-1, keepdims=True)], -1)
    return paddle.to_tensor(query[None]), paddle.to_tensor(key[None].astype(np.float32))


@pytest.mark.parametrize(("height", "width"), [(6, 6), (3, 8), (5, 4)])
def test_divergence_is_of_how_far_from_the_own_place_one_looks(height, width):
    scale = 3**0.5  # which attention divides by
    gaussian = float(divergence(*looking(height, width, sharpness=scale / (2 * SPREAD**2)), 1, height, width))
    assert gaussian == pytest.approx(0, abs=1e-5)
    by_distance = [
        float(divergence(*looking(height, width, 0, right, scale / (2 * SPREAD**2)), 1, height, width))
        for right in range(width)
    ]
    assert np.all(np.diff(by_distance) > 0.1)
    even = float(divergence(*(0 * x for x in looking(height, width)), 1, height, width))
    assert gaussian < even < by_distance[-1]


def test_heads_count_alike_and_one_key_serves_all_rows():
    (query, key), (_, other) = looking(4, 4), looking(4, 4, 1, 2)
    alone = float(divergence(query, key, 1, 4, 4))
    wide = [F.pad(x, [0, 1], data_format="NCL") for x in (query, key, other + 1)]  # whose fourth channel is idle
    both = divergence(paddle.concat([wide[0]] * 2, -1), paddle.concat(wide[1:], -1), 2, 4, 4)
    apart = [divergence(wide[0], k, 1, 4, 4) for k in wide[1:]]
    assert float(both) == pytest.approx(float(sum(apart)) / 2, rel=1e-5)
    assert float(divergence(paddle.concat([query] * 3), key, 1, 4, 4)) == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize(("latents", "tokens"), [((10, 14), 35), ((10, 14), 12), ((9, 7), 20), ((9, 7), 63)])
def test_maps_are_the_latents_halved_and_rounded_up(latents, tokens):
    x = paddle.zeros([1, tokens, 4])
    assert float(divergence(x, x, 2, *latents)) > 0


def test_other_maps_are_refused():
    x = paddle.zeros([1, 34, 4])
    with pytest.raises(ValueError, match="no feature map of 34 tokens"):
        divergence(x, x, 2, 10, 14)


@pytest.fixture
def model(make_reference_unet, make_denoising_unet):
    options = {"use_motion_module": False}
    return AnimateAnyoneModel(make_reference_unet(), make_denoising_unet(**options), PoseGuider(32))


def run(model, unconditional=False):
    rng = np.random.default_rng(3)
    noisy, reference = (
        paddle.to_tensor(rng.standard_normal(s).astype("float32")) for s in ((2, 4, 1, 8, 8), (2, 4, 8, 8))
    )
    embedding = paddle.to_tensor(
        rng.standard_normal((2, 1, model.denoising_unet.config.cross_attention_dim)), "float32"
    )
    poses = paddle.zeros([2, 3, 1, 64, 64])
    return model(noisy, paddle.to_tensor([999, 5]), reference, embedding, poses, unconditional=unconditional)


def test_attention_is_led_between_begin_and_end(model):
    places = Places(model.denoising_unet, weight=0.5, steps=4)
    plain = run(model).numpy()
    assert float(places.end()) == 0  # nothing was begun
    places.begin(1, 8, 8)
    led = run(model).numpy()
    assert np.abs(led - plain).max() > 1e-3 and float(places.end()) > 0.01
    np.testing.assert_array_equal(run(model).numpy(), plain)
    assert float(places.end()) == 0  # what was seen before is forgotten
    places.begin(4, 8, 8)
    np.testing.assert_array_equal(run(model).numpy(), plain)
    assert float(places.end()) == 0  # the last step has been


@pytest.mark.parametrize("side", [1, 2, 3])
def test_places_are_those_of_patches(make_reference_unet, make_denoising_unet, side):
    unets = (make_reference_unet(patch_size=side), make_denoising_unet(use_motion_module=False, patch_size=side))
    model = AnimateAnyoneModel(*unets, PoseGuider(32, block_out_channels=(8, 8)))
    places = Places(model.denoising_unet, weight=0.5, steps=4)
    latents, context = (
        paddle.randn([1, 4, 1, 4 * side, 5 * side]),
        paddle.randn([1, 1, unets[0].config.cross_attention_dim]),
    )
    places.begin(0, 4 * side, 5 * side)
    model(latents, paddle.to_tensor([5]), latents[:, :, 0], context, paddle.zeros([1, 3, 1, 8, 10]))
    assert float(places.end()) > 0.01


def test_nothing_is_led_without_a_reference(model):
    places = Places(model.denoising_unet, weight=0.5, steps=4)
    plain = run(model, unconditional=True).numpy()
    places.begin(0, 8, 8)
    np.testing.assert_array_equal(run(model, unconditional=True).numpy(), plain)
    assert float(places.end()) == 0


@pytest.mark.parametrize("step", [0, 1, 3])
def test_led_attention_is_given_its_own_place_in_part(step):
    """All of it in the first step: whatever the tokens look at, they get what lies at their place."""
    attention = ReferenceAttention(8, 2)
    unet = paddle.nn.LayerDict({"mid": attention})
    unet.config = SimpleNamespace(patch_size=1)
    rng = np.random.default_rng(1)
    tokens, key, value = (paddle.to_tensor(rng.standard_normal((2, 36, 8)).astype("float32")) for _ in range(3))
    places = Places(unet, weight=0.0, steps=4)
    free = attention(tokens, (key, value)).numpy()
    own = attention.to_out[0](value).reshape([2, 6, 6, 8])
    places.begin(step, 6, 6)
    led = attention(tokens, (key, value)).numpy()
    part = 1 - step / 4
    near = ((led - (1 - part) * free) / part).reshape(2, 6, 6, 8)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    apart = np.abs(near - own.numpy())[inner].mean()
    assert apart < 0.1 * np.abs(near - np.roll(own.numpy(), 1, axis=1))[inner].mean()


def test_loss_falls_in_a_straight_line(model):
    losses = []
    for step, steps in ((0, 4), (0, 10**9)):
        places = Places(model.denoising_unet, 0.5, steps)
        places.begin(step, 8, 8)
        run(model)
        losses.append(float(places.end()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    places.begin(5 * 10**8, 8, 8)
    run(model)
    assert 0.3 * losses[0] < float(places.end()) < 0.7 * losses[0]  # what it is of has changed with what is led


def test_both_unets_learn_to_find_their_places(model):
    places = Places(model.denoising_unet, 1.0, 10**9)
    optimizer = paddle.optimizer.Adam(2e-3, parameters=model.parameters())
    losses = []
    for _ in range(60):
        places.begin(0, 8, 8)
        run(model)
        loss = places.end()
        loss.backward()
        for unet in (model.denoising_unet, model.reference_unet):
            moved = [p for p in unet.parameters() if p.grad is not None and float(p.grad.abs().max()) > 0]
            assert len(moved) > 20
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]


def test_stage_2_has_no_use_for_it():
    with pytest.raises(InputError, match="--place_weight is for stage 1"):
        check_files(2, ModelArguments(place_weight=0.1), DataArguments(), None)
