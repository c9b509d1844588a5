"""The loss that has tokens look at the reference where they draw."""

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone import PoseGuider
from ppdiffusers_ext.training.animate_anyone.check import check_files
from ppdiffusers_ext.training.animate_anyone.model import AnimateAnyoneModel
from ppdiffusers_ext.training.animate_anyone.options import DataArguments, ModelArguments
from ppdiffusers_ext.training.animate_anyone.places import PlaceLoss, divergence


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
    gaussian = float(divergence(*looking(height, width, sharpness=scale / (2 * 0.7**2)), 1, height, width))
    assert gaussian == pytest.approx(0, abs=1e-5)
    by_distance = [
        float(divergence(*looking(height, width, 0, right, scale / (2 * 0.7**2)), 1, height, width))
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


def test_attentions_are_noted_while_they_are_watched_and_see_a_reference(model):
    places = PlaceLoss(model.denoising_unet)
    plain = run(model)
    assert float(places(8, 8)) == 0  # none was watched
    places.watch()
    watched = run(model)
    np.testing.assert_array_equal(watched.numpy(), plain.numpy())
    assert float(places(8, 8)) > 0.1
    places.watch()
    assert float(places(8, 8)) == 0  # what was noted before is forgotten
    run(model, unconditional=True)
    assert float(places(8, 8)) == 0
    places.watch(False)
    run(model)
    assert float(places(8, 8)) == 0


def test_both_unets_learn_to_find_their_places(model):
    places = PlaceLoss(model.denoising_unet)
    optimizer = paddle.optimizer.Adam(2e-3, parameters=model.parameters())
    losses = []
    for _ in range(40):
        places.watch()
        run(model)
        loss = places(8, 8)
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
