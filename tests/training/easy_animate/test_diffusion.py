"""The losses of EasyAnimate's transformers, beside the goldens: respaced timesteps, the first one, noise and draws."""

import math

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.training.easy_animate.diffusion import (
    VarianceDiffusion,
    share_noise,
    timestep_of,
    with_motion,
)

SHAPE = (2, 4, 3, 4, 6)


def normal(seed, *shape):
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal(shape or SHAPE, np.float32))


@pytest.mark.parametrize("steps", [1000, 100, 7, 1])
def test_respaced_timesteps_are_those_of_the_thousand(steps):
    """Noise of a respaced timestep is that of the one among the thousand that the network is told of."""
    few, all_of_them = VarianceDiffusion(steps), VarianceDiffusion()
    latents, noise = normal(1), normal(2)
    for timestep in {0, steps // 2, steps - 1}:
        timesteps = paddle.full([2], timestep, "int64")
        told = few.told(timesteps)
        expected = all_of_them.noisy(latents, noise, told.astype("int64"))
        np.testing.assert_allclose(few.noisy(latents, noise, timesteps).numpy(), expected.numpy(), atol=1e-6)
    ends = few.told(paddle.to_tensor([0, steps - 1])).tolist()
    assert ends == ([0, 999] if steps > 1 else [0, 0])


def test_prediction_of_noise_and_variance_that_are_true_has_no_loss_but_of_the_likelihood():
    """At the least variance, which the true step back has, the divergence is 0; at timestep 0 something is left."""
    diffusion, latents, noise = VarianceDiffusion(), normal(1) / 4, normal(2)
    prediction = paddle.concat([noise, -paddle.ones_like(noise)], axis=1)
    error, bound = diffusion.terms(prediction, latents, noise, paddle.to_tensor([400, 0]))
    assert error.numpy() == pytest.approx(0) and float(bound[0]) == pytest.approx(0, abs=1e-5)
    assert float(bound[1]) > 0.5


def test_likelihood_is_that_of_colours_of_eight_bits():
    """Of a mean that is the value itself, a bin of 2 / 255 has about that part of the density."""
    diffusion = VarianceDiffusion()
    latents = paddle.zeros(SHAPE)
    prediction = paddle.concat([paddle.zeros(SHAPE), paddle.ones(SHAPE)], axis=1)
    _, bound = diffusion.terms(prediction, latents, paddle.zeros(SHAPE), paddle.zeros([2], "int64"))
    deviation = math.sqrt(1e-4)  # the largest variance at timestep 0 is its beta
    part = math.erf(1 / 255 / deviation / math.sqrt(2))
    assert bound.numpy() == pytest.approx(-math.log2(part), rel=1e-2)


def test_only_the_variance_learns_of_the_bound():
    diffusion, latents, noise = VarianceDiffusion(), normal(1), normal(2)
    prediction = paddle.concat([normal(3), normal(4)], axis=1)
    prediction.stop_gradient = False
    _, bound = diffusion.terms(prediction, latents, noise, paddle.to_tensor([300, 20]))
    bound.sum().backward()
    of_noise, of_variance = prediction.grad.chunk(2, axis=1)
    assert float(of_noise.abs().max()) == 0 and float(of_variance.abs().max()) > 0


def test_error_by_signal_to_noise_compares_latents_below_timestep_250():
    latents, noise = normal(1), normal(2)
    prediction = paddle.concat([normal(3), normal(4)], axis=1)
    for timestep, is_of_noise in ((249, False), (250, True)):
        timesteps = paddle.full([2], timestep, "int64")
        error, _ = VarianceDiffusion(snr=True).terms(prediction, latents, noise, timesteps)
        plain, _ = VarianceDiffusion().terms(prediction, latents, noise, timesteps)
        assert np.allclose(error.numpy(), plain.numpy()) == is_of_noise


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_part_of_the_loss_is_of_the_differences_of_frames(ratio):
    predicted, target = normal(1), normal(2)
    plain = (predicted - target).square().flatten(1).mean(1)
    off = with_motion(plain, predicted, predicted + 3, ratio)  # off by the same in all frames
    np.testing.assert_allclose(off.numpy(), ((1 - ratio) * plain).numpy(), rtol=1e-5, atol=1e-6)
    differences = (predicted[:, :, 1:] - predicted[:, :, :-1]) - (target[:, :, 1:] - target[:, :, :-1])
    expected = (1 - ratio) * plain + ratio * differences.square().flatten(1).mean(1)
    np.testing.assert_allclose(with_motion(plain, predicted, target, ratio).numpy(), expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 0.9])
def test_noise_that_frames_share_has_unit_variance(ratio):
    noise = np.random.default_rng(0).standard_normal((4, 12, 32, 32), np.float32)
    shared = share_noise(noise, ratio)
    assert shared.std(axis=(0, 2, 3)) == pytest.approx(np.ones(12), abs=0.05)
    correlation = (shared[:, 1:] * shared[:, :-1]).mean()
    assert correlation == pytest.approx(ratio / math.hypot(ratio, 1 - ratio), abs=0.03)
    assert np.array_equal(shared, noise) == (ratio == 0)


@pytest.mark.parametrize(("uniform", "in_the_middle"), [(True, 0.5), (False, 0.728)])
def test_timesteps_are_drawn_evenly_or_from_the_middle(uniform, in_the_middle):
    draws = np.array([timestep_of(np.random.default_rng(i), 1000, uniform) for i in range(4000)])
    assert draws.min() >= 0 and draws.max() <= 999
    assert ((draws >= 250) & (draws < 750)).mean() == pytest.approx(in_the_middle, abs=0.03)
