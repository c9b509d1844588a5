"""StableAnimator's attention over pixels, led to the same part of the person in the reference."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training.stable_animator.check import check_files
from ppdiffusers_ext.training.stable_animator.objective import StableObjective, collate
from ppdiffusers_ext.training.stable_animator.options import StableDataArguments, StableModelArguments
from ppdiffusers_ext.training.stable_animator.places import lead
from tests.pipelines.stable_animator.test_pipeline import pipeline
from tests.training.animate_anyone.test_places import person_at
from tests.training.stable_animator.test_objective import model, sample

__all__ = ["model", "pipeline"]  # fixtures

MOVED = np.stack([person_at(0.3), person_at(0.3), person_at(0.7)]).astype(np.float32)  # reference, two frames


def batch_of(*indices, joints):
    batch = collate([{**sample(index), "joints": joints} for index in indices])
    return {key: paddle.to_tensor(value) if isinstance(value, np.ndarray) else value for key, value in batch.items()}


def objective_of(pipeline, places=None):
    return StableObjective(pipeline.vae, pipeline.image_encoder, 5, 1, 0.0, places=places)


def outputs_of(model, places, joints):
    """Of each attention over pixels that is led, (frames, pixels, channels), for one sample."""
    seen = {}
    layers = {name: layer for name, layer in model.unet.named_sublayers() if name.endswith("attn1")}
    hooks = [
        layer.register_forward_post_hook(lambda _, __, output, name=name: seen.update({name: output.numpy()}))
        for name, layer in layers.items()
        if "temporal" not in name and not name.startswith("down_blocks")
    ]
    with paddle.no_grad():
        rng = np.random.default_rng(1)
        latents = paddle.to_tensor(rng.standard_normal((1, 2, 8, 16, 16)).astype("float32"))
        if places is not None:
            places.begin(0, 16, 16, joints[None])
        width = model.unet.config.cross_attention_dim
        model.unet(latents, 0.5, paddle.ones([1, 5, width]), paddle.ones([1, 3]))
    for hook in hooks:
        hook.remove()
    return seen


def test_what_has_moved_is_led_and_background_is_not(model):
    plain = outputs_of(model, None, MOVED)
    places = lead(model.unet, 1.0, 10)
    led = outputs_of(model, places, MOVED)
    assert float(places.end()) > 0.01
    first, *_ = plain
    assert led.keys() == plain.keys() and len(led) > 2
    changed = np.abs(led[first] - plain[first]).max(-1) > 1e-6  # (frames, pixels)
    side = round(changed.shape[1] ** 0.5)
    assert changed[1].any() and not changed[1].all(), "the person alone"
    middle = changed[1].reshape(side, side)[side // 2]
    assert middle[round(0.7 * side) - 1 : round(0.7 * side) + 1].any() and not middle[0]


def test_without_joints_nothing_is_led(pipeline, model):
    nobody = np.zeros_like(MOVED)
    with paddle.no_grad():
        plain = float(objective_of(pipeline)(model, batch_of(0, joints=nobody)))
        led = float(objective_of(pipeline, lead(model.unet, 0.5, 10))(model, batch_of(0, joints=nobody)))
    assert led == pytest.approx(plain, rel=1e-6)


def test_loss_of_places_is_added_until_its_last_step(pipeline, model):
    batch = batch_of(3, joints=MOVED)
    with paddle.no_grad():
        plain = float(objective_of(pipeline)(model, batch))
        led = [float(objective_of(pipeline, lead(model.unet, weight, 10))(model, batch)) for weight in (0.5, 1.0, 1.5)]
        ended = float(objective_of(pipeline, lead(model.unet, 1.0, 3))(model, batch))
    assert led[2] - led[1] == pytest.approx(led[1] - led[0], abs=1e-4) and led[1] > led[0] + 0.01
    assert ended == pytest.approx(plain, rel=1e-6)


def test_attention_learns_where_to_look(pipeline, model):
    """In a few steps, by the loss of places alone."""
    places, losses = lead(model.unet, 1.0, 10**9), []
    before = {name: value.clone() for name, value in model.unet.state_dict().items()}
    optimizer = paddle.optimizer.Adam(3e-3, parameters=[p for p in model.parameters() if not p.stop_gradient])
    latents = paddle.randn([1, 2, 8, 16, 16])
    context = paddle.ones([1, 5, model.unet.config.cross_attention_dim])
    for _ in range(25):
        places.begin(0, 16, 16, MOVED[None])
        model.unet(latents, 0.5, context, paddle.ones([1, 3]))
        loss = places.end()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    model.unet.set_state_dict(before)
    assert losses[-1] < 0.6 * losses[0]


def test_a_lead_and_checkpointing_are_refused_together():
    arguments = StableModelArguments(place_weight=0.1, gradient_checkpointing=True)
    with pytest.raises(InputError, match="--place_weight and --gradient_checkpointing do not go together"):
        check_files(arguments, StableDataArguments(), None)
