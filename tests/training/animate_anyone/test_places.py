"""Attention that is led to where tokens draw, and the loss that has them look there."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from ppdiffusers_ext.data.openpose import KEYPOINTS
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone import PoseGuider
from ppdiffusers_ext.models.animate_anyone.transformer import ReferenceAttention
from ppdiffusers_ext.training.animate_anyone.check import check_files
from ppdiffusers_ext.training.animate_anyone.model import AnimateAnyoneModel
from ppdiffusers_ext.training.animate_anyone.options import DataArguments, ModelArguments
from ppdiffusers_ext.training.animate_anyone.places import lead

SPREAD = 0.3  # tokens, of the weights around a place


NOBODY = np.zeros([2, 2, 18, 3])  # of two samples, each of a reference and a frame: all is background


def looking(height, width, down=0, right=0, sharpness=1 / (2 * SPREAD**2)):
    """Query and key (1, tokens, 3) of tokens that look at the place so far down and right of their own."""
    rows, columns = np.divmod(np.arange(height * width), width)
    keys = np.stack([rows, columns], -1).astype(np.float32)
    queries = keys + np.array([down, right], np.float32)
    # -|q - k|^2 as a product, but for what is the same for all keys
    query = np.concatenate([2 * queries, np.ones_like(queries[:, :1])], -1) * sharpness
    key = np.concatenate([keys, -(keys**2).sum(-1, keepdims=True)], -1)
    return paddle.to_tensor(query[None].astype(np.float32)), paddle.to_tensor(key[None].astype(np.float32))


class Given(ReferenceAttention):
    """An attention whose queries are what it is given, and that sees the reference alone."""

    def __init__(self, channels, heads):
        super().__init__(channels, heads)
        self.to_q = paddle.nn.Identity()

    def forward(self, x, reference=None):
        return 0 * x


def places_of(attention, weight=1.0, steps=10**9):
    unet = paddle.nn.LayerDict({"mid": attention})
    unet.config = SimpleNamespace(patch_size=1)
    return lead(unet, weight, steps)


def loss_of(query, key, height, width, heads=1, joints=None):
    """What `Places` say of one attention, whose number of channels in a head is made 1 by the queries' length."""
    attention = Given(query.shape[-1], heads)
    places = places_of(attention)
    places.begin(0, height, width, NOBODY[: query.shape[0]] if joints is None else joints)
    attention(query * (query.shape[-1] / heads) ** 0.5, (key, key))
    return float(places.end())


@pytest.mark.parametrize(("height", "width"), [(6, 6), (3, 8), (5, 4)])
def test_loss_is_of_how_far_from_the_own_place_one_looks(height, width):
    gaussian = loss_of(*looking(height, width), height, width)
    assert gaussian == pytest.approx(0, abs=1e-5)
    by_distance = [loss_of(*looking(height, width, 0, right), height, width) for right in range(width)]
    assert np.all(np.diff(by_distance) > 0.1)
    even = loss_of(*(0 * x for x in looking(height, width)), height, width)
    assert gaussian < even < by_distance[-1]


def test_person_is_looked_for_where_the_reference_has_it():
    """Of one who stands four tokens further right in the reference than in the frame."""
    joints = person_at(0.3), person_at(0.5)
    side = 20
    both = np.stack([joints[1], joints[0]])[None]  # reference, frame
    places, own = (loss_of(*looking(side, side, 0, right), side, side, joints=both) for right in (4, 0))
    no_one = loss_of(*looking(side, side, 0, 4), side, side)
    assert places < 0.5 * no_one, "what is on the person is there"
    assert own > 5, "and not where it is in the frame"


def person_at(x):
    """Joints (18, 3) of a person who stands at x."""
    names = {"neck": (0, 0.3), "nose": (0, 0.2)}
    for side, sign in (("r", -1), ("l", 1)):
        for number, name in enumerate(("shoulder", "elbow", "wrist")):
            names[f"{side}_{name}"] = (sign * (0.07 + 0.01 * number), 0.3 + 0.13 * number)
        for number, name in enumerate(("hip", "knee", "ankle")):
            names[f"{side}_{name}"] = (sign * 0.04, 0.55 + 0.18 * number)
    return np.array([[x + names[k][0], names[k][1], 0.9] if k in names else (0, 0, 0) for k in KEYPOINTS])


def test_background_person_and_what_has_moved_count_alike():
    """However few tokens they are: of a person of 20 by 20 tokens whose arm is raised, in three parts."""
    frame, reference = person_at(0.5), person_at(0.5)
    frame[KEYPOINTS.index("l_elbow")] = (0.7, 0.3, 0.9)
    frame[KEYPOINTS.index("l_wrist")] = (0.83, 0.25, 0.9)
    query, key = looking(20, 20)
    whole = loss_of(query, key, 20, 20, joints=np.stack([reference, frame])[None])
    still = loss_of(query, key, 20, 20, joints=np.stack([reference, reference])[None])
    assert still == pytest.approx(0, abs=1e-4) and whole > 3


def test_heads_count_alike_and_one_key_serves_all_rows():
    (query, key), (_, other) = looking(4, 4), looking(4, 4, 1, 2)
    alone = loss_of(query, key, 4, 4)
    wide = [F.pad(x, [0, 1], data_format="NCL") for x in (query, key, other + 1)]  # whose fourth channel is idle
    both = loss_of(paddle.concat([wide[0]] * 2, -1), paddle.concat(wide[1:], -1), 4, 4, heads=2)
    apart = [loss_of(wide[0], k, 4, 4) for k in wide[1:]]
    assert both == pytest.approx(sum(apart) / 2, rel=1e-5, abs=1e-6)
    assert loss_of(paddle.concat([query] * 2), key, 4, 4) == pytest.approx(alone, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("latents", "tokens"), [((10, 14), 35), ((10, 14), 12), ((9, 7), 20), ((9, 7), 63)])
def test_maps_are_the_latents_halved_and_rounded_up(latents, tokens):
    x = paddle.zeros([1, tokens, 4])
    assert loss_of(x, x, *latents) > 0


def test_other_maps_are_refused():
    x = paddle.zeros([1, 34, 4])
    with pytest.raises(ValueError, match="no feature map of 34 tokens"):
        loss_of(x, x, 10, 14)


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
    places = lead(model.denoising_unet, weight=0.5, steps=10)
    plain = run(model).numpy()
    assert float(places.end()) == 0  # nothing was begun
    places.begin(1, 8, 8, NOBODY)
    led = run(model).numpy()
    assert np.abs(led - plain).max() > 1e-3 and float(places.end()) > 0.01
    np.testing.assert_array_equal(run(model).numpy(), plain)
    assert float(places.end()) == 0  # what was seen before is forgotten
    places.begin(10, 8, 8, NOBODY)
    np.testing.assert_array_equal(run(model).numpy(), plain)
    assert float(places.end()) == 0  # the last step has been


@pytest.mark.parametrize("side", [1, 2, 3])
def test_places_are_those_of_patches(make_reference_unet, make_denoising_unet, side):
    unets = (make_reference_unet(patch_size=side), make_denoising_unet(use_motion_module=False, patch_size=side))
    model = AnimateAnyoneModel(*unets, PoseGuider(32, block_out_channels=(8, 8)))
    places = lead(model.denoising_unet, weight=0.5, steps=4)
    latents, context = (
        paddle.randn([1, 4, 1, 4 * side, 5 * side]),
        paddle.randn([1, 1, unets[0].config.cross_attention_dim]),
    )
    places.begin(0, 4 * side, 5 * side, NOBODY[:1])
    model(latents, paddle.to_tensor([5]), latents[:, :, 0], context, paddle.zeros([1, 3, 1, 8, 10]))
    assert float(places.end()) > 0.01


def test_nothing_is_led_without_a_reference(model):
    places = lead(model.denoising_unet, weight=0.5, steps=4)
    plain = run(model, unconditional=True).numpy()
    places.begin(0, 8, 8, NOBODY)
    np.testing.assert_array_equal(run(model, unconditional=True).numpy(), plain)
    assert float(places.end()) == 0


@pytest.mark.parametrize("step", [0, 1, 2, 3, 9])
def test_led_attention_is_given_its_own_place_in_part(step):
    """All of it in the first step: whatever the tokens look at, they get what lies at their place."""
    attention = ReferenceAttention(8, 2)
    rng = np.random.default_rng(1)
    tokens, key, value = (paddle.to_tensor(rng.standard_normal((2, 36, 8)).astype("float32")) for _ in range(3))
    places = places_of(attention, steps=10)
    free = attention(tokens, (key, value)).numpy()
    own = attention.to_out[0](value).reshape([2, 6, 6, 8])
    places.begin(step, 6, 6, NOBODY)
    led = attention(tokens, (key, value)).numpy()
    part = max(0, 1 - step / 3)
    if not part:
        np.testing.assert_array_equal(led, free)
        return
    near = ((led - (1 - part) * free) / part).reshape(2, 6, 6, 8)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    apart = np.abs(near - own.numpy())[inner].mean()
    assert apart < 0.1 * np.abs(near - np.roll(own.numpy(), 1, axis=1))[inner].mean()


def test_what_the_reference_does_not_show_is_not_led():
    attention = ReferenceAttention(8, 2)
    tokens, key, value = paddle.randn([3, 1, 400, 8])
    places = places_of(attention)
    free = attention(tokens, (key, value)).numpy()[0].reshape(20, 20, 8)
    places.begin(0, 20, 20, np.stack([person_at(0.3), person_at(0.7)])[None])
    led = attention(tokens, (key, value)).numpy()[0].reshape(20, 20, 8)
    np.testing.assert_allclose(led[8, 6], free[8, 6], atol=1e-6)  # where the person stood
    assert np.abs(led[8, 14] - free[8, 14]).max() > 1e-3 < np.abs(led[2, 10] - free[2, 10]).max()


def test_loss_falls_in_a_straight_line(model):
    losses = []
    for step, steps in ((0, 4), (0, 10**9)):
        places = lead(model.denoising_unet, 0.5, steps)
        places.begin(step, 8, 8, NOBODY)
        run(model)
        losses.append(float(places.end()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    places.begin(5 * 10**8, 8, 8, NOBODY)
    run(model)
    assert 0.3 * losses[0] < float(places.end()) < 0.7 * losses[0]  # what it is of has changed with what is led


def test_both_unets_learn_to_find_their_places(model):
    places = lead(model.denoising_unet, 1.0, 10**9)
    optimizer = paddle.optimizer.Adam(2e-3, parameters=model.parameters())
    losses = []
    for _ in range(60):
        places.begin(0, 8, 8, NOBODY)
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
