"""Losses of the video autoencoder against the formulas written out, and their gradients against Paddle's own."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from ppdiffusers_ext.models.metrics.lpips import LPIPS
from ppdiffusers_ext.training.easy_animate import autoencoder_losses
from ppdiffusers_ext.training.easy_animate.autoencoder_losses import (
    AutoencoderLoss,
    Decoded,
    Discriminators,
    LossWeights,
    as_floats,
    divergence,
    frames_of,
    outlier_penalty,
)

SHAPE = (2, 3, 3, 32, 32)
NUMBERS = 3 * 32 * 32  # of a frame


@pytest.fixture(scope="module")
def discriminators():
    paddle.seed(1)
    return Discriminators()


@pytest.fixture(scope="module")
def perceptual():
    paddle.seed(2)
    network = LPIPS()
    for name, parameter in network.named_parameters():
        parameter.stop_gradient = True
        if name.startswith("lin"):
            parameter.set_value(parameter.abs())
    return network


class Decoder:
    """Clips that one layer makes, whose weight is the decoder's last."""

    def __init__(self):
        rng = np.random.default_rng(3)
        draw = lambda *shape: paddle.to_tensor(rng.uniform(-1, 1, shape).astype(np.float32))  # noqa: E731
        self.clips, self._features = draw(*SHAPE), draw(2, 4, *SHAPE[2:])
        self.weight = draw(3, 4, 1, 1, 1)
        self.mean, self.logvar = draw(2, 4, 3, 4, 4), draw(2, 4, 3, 4, 4)
        for tensor in (self.weight, self.mean, self.logvar):
            tensor.stop_gradient = False

    def __call__(self):
        return Decoded(F.conv3d(self._features, self.weight), self.mean, self.logvar, self.weight)


def plain_loss(weights, decoder, perceptual, discriminators):
    """The loss as the formulas have it, in one graph."""
    decoded = decoder()
    real, fake = frames_of(decoder.clips), frames_of(decoded.clips)
    error = weights.l1_loss_weight * (real - fake).abs() + weights.l2_loss_weight * (real - fake) ** 2
    if weights.perceptual_weight:
        error = error + weights.perceptual_weight * perceptual(real, fake).reshape([-1, 1, 1, 1])
    nll = error.sum() / len(real)
    loss = nll + weights.kl_weight * divergence(decoded.mean, decoded.logvar)
    loss = loss + weights.outlier_penalty_loss_weight * outlier_penalty(decoded.mean, weights.outlier_penalty_loss_r)
    judged = discriminators(decoded.clips)
    judgement = -judged[0].mean() - judged[1].mean()
    lengths = [
        paddle.grad(part, decoder.weight, retain_graph=True)[0].square().sum().sqrt() for part in (nll, judgement)
    ]
    ratio = float((lengths[0] / (lengths[1] + 1e-4)).clip(0, 1e4)) * weights.disc_weight
    return loss + ratio * weights.disc_factor * judgement


@pytest.mark.parametrize(
    "weights",
    [
        LossWeights(l1_loss_weight=0.5, l2_loss_weight=2.0, perceptual_weight=0.7, kl_weight=0.1, disc_start=0),
        LossWeights(perceptual_weight=0.0, outlier_penalty_loss_weight=1e2, outlier_penalty_loss_r=1.0, disc_start=0),
        LossWeights(perceptual_weight=0.0, disc_weight=3.0, disc_factor=0.25, disc_start=0),
    ],
)
def test_loss_and_gradients_are_those_of_the_formulas_in_one_graph(weights, perceptual, discriminators, monkeypatch):
    monkeypatch.setattr(autoencoder_losses, "PIXELS_AT_ONCE", 4 * 32 * 32)  # more than one part
    results = []
    for make in (AutoencoderLoss, None):
        decoder = Decoder()
        if make:
            loss, _ = make(weights, perceptual, discriminators).of_autoencoder(decoder.clips, decoder(), 0)
        else:
            loss = plain_loss(weights, decoder, perceptual, discriminators)
        (loss / 3).backward()
        results.append([float(loss), *(x.grad.numpy() for x in (decoder.weight, decoder.mean, decoder.logvar))])
    for ours, expected in zip(*results):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_discriminators_have_no_part_before_their_step(discriminators):
    losses = AutoencoderLoss(LossWeights(perceptual_weight=0.0, disc_start=7), None, discriminators)
    assert [losses.is_adversarial(step) for step in (0, 6, 7, 8)] == [False, False, True, True]
    decoder = Decoder()
    loss, numbers = losses.of_autoencoder(decoder.clips, decoder(), 6)
    assert "d_weight" not in numbers
    error = float((frames_of(decoder.clips) - frames_of(decoder().clips)).abs().mean()) * NUMBERS
    assert float(loss) == pytest.approx(error + 1e-6 * float(divergence(decoder.mean, decoder.logvar)), rel=1e-5)
    assert float(numbers["rec_loss"]) == pytest.approx(error / NUMBERS, rel=1e-5)


@pytest.mark.parametrize("weight", ["disc_weight", "disc_factor"])
def test_discriminators_without_weight_have_no_part(weight):
    assert not AutoencoderLoss(LossWeights(disc_start=0, **{weight: 0.0}), None, lambda clips: None).is_adversarial(9)


class Judge:
    """In the place of both discriminators: a multiple of each number, whose gradient is known."""

    def __init__(self, scale):
        self._scale = scale

    def __call__(self, clips):
        return self._scale * clips, self._scale * clips


def test_adaptive_weight_is_the_ratio_of_the_gradients_and_bounded():
    weights = LossWeights(perceptual_weight=0.0, disc_weight=1.0, disc_start=0)
    found = []
    for scale in (1e5, 1e6, 0.0):
        decoder = Decoder()
        _, numbers = AutoencoderLoss(weights, None, Judge(scale)).of_autoencoder(decoder.clips, decoder(), 0)
        found.append(float(numbers["d_weight"]))
    assert 0 < found[0] < 1 and found[0] == pytest.approx(10 * found[1], rel=1e-4)
    assert found[2] == 1e4


def test_parts_of_the_loss_are_told_by_name_and_the_same_without_a_gradient(perceptual):
    decoder = Decoder()
    losses = AutoencoderLoss(LossWeights(), perceptual, None)
    loss, numbers = losses.of_autoencoder(decoder.clips, decoder(), 0)
    assert set(numbers) == {"nll_loss", "rec_loss", "lpips", "kl_loss", "total_loss"}
    distances = perceptual(frames_of(decoder.clips), frames_of(decoder().clips))
    assert float(numbers["lpips"]) == pytest.approx(float(distances.mean()), rel=1e-5)
    assert float(numbers["rec_loss"]) == pytest.approx(float(numbers["nll_loss"]) / NUMBERS)
    with paddle.no_grad():
        alone, of_validation = losses.of_autoencoder(decoder.clips, decoder(), 0)
    assert as_floats(of_validation) == pytest.approx(as_floats(numbers), rel=1e-6)
    assert float(alone) == float(loss) == as_floats(numbers)["total_loss"]


@pytest.mark.parametrize("pixels, expected", [(4 * 32 * 32, [4, 2]), (1, [1] * 6), (6 * 32 * 32, [6])])
def test_lpips_looks_at_as_many_frames_at_once_as_there_is_memory_for(monkeypatch, pixels, expected):
    def perceptual(truth, frames):
        counts.append(frames.shape[0])
        return (truth - frames).abs().mean([1, 2, 3])

    monkeypatch.setattr(autoencoder_losses, "PIXELS_AT_ONCE", pixels)
    counts, decoder = [], Decoder()
    AutoencoderLoss(LossWeights(), perceptual, None).of_autoencoder(decoder.clips, decoder(), 0)
    assert counts == expected


def test_lpips_without_weight_is_not_computed_and_a_clip_may_be_a_picture():
    def perceptual(truth, frames):
        raise AssertionError("it was computed")

    truth, made = paddle.zeros([1, 3, 1, 8, 8]), paddle.full([1, 3, 1, 8, 8], 0.5)
    losses = AutoencoderLoss(LossWeights(perceptual_weight=0.0, kl_weight=0.0), perceptual, None)
    loss, _ = losses.of_autoencoder(truth, Decoded(made, made, made, made), 0)
    assert float(loss) == pytest.approx(0.5 * made.size)


@pytest.mark.parametrize("kind", ["hinge", "vanilla"])
def test_discriminators_learn_to_tell_real_from_decoded(kind, discriminators):
    weights = LossWeights(perceptual_weight=0.0, disc_start=0, disc_factor=0.5, disc_loss=kind)
    losses, decoder = AutoencoderLoss(weights, None, discriminators), Decoder()
    loss, numbers = losses.of_discriminators(decoder.clips, decoder().clips)
    real, fake = discriminators(decoder.clips), discriminators(decoder().clips)
    of = {
        "hinge": lambda r, f: np.maximum(1 - r, 0).mean() + np.maximum(1 + f, 0).mean(),
        "vanilla": lambda r, f: np.log1p(np.exp(-r)).mean() + np.log1p(np.exp(f)).mean(),
    }[kind]
    expected = 0.5 * sum(0.5 * of(r.numpy(), f.numpy()) for r, f in zip(real, fake))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(numbers["logits_real"]) == pytest.approx(float(real[0].mean()), rel=1e-5)
    assert decoder.weight.grad is None


def test_divergence_of_normal_noise_is_nothing_and_of_a_clip_a_sum():
    zeros = paddle.zeros([2, 4, 1, 2, 2])
    assert float(divergence(zeros, zeros)) == 0
    assert float(divergence(zeros + 2, zeros)) == pytest.approx(0.5 * 4 * 16)
    assert float(divergence(zeros, zeros + np.log(4.0))) == pytest.approx(0.5 * (4 - 1 - np.log(4.0)) * 16)


def test_divergence_and_penalty_of_half_precision_are_taken_in_full():
    latents = paddle.full([1, 1, 1, 1, 4], 0.0, "float16")
    latents[..., 0] = 400.0  # whose square fp16 does not have
    small = paddle.zeros(latents.shape, "float16")
    assert float(divergence(latents, small)) == pytest.approx(0.5 * 400**2)
    assert float(divergence(small, small + 11)) == pytest.approx(0.5 * 4 * (np.exp(11) - 12), rel=1e-5)
    assert float(outlier_penalty(latents, 1.0)) == pytest.approx(0.25 * (300 - 200))  # mean 100, deviation 200


def test_outliers_are_those_of_their_own_frame_and_channel():
    latents = np.random.default_rng(0).normal(size=(2, 2, 3, 1, 5)) * [[[[1.0]], [[9.0]], [[3.0]]]] + 7
    latents[0, 1] -= 50
    difference = np.abs(latents - latents.mean((3, 4), keepdims=True))
    expected = np.maximum(difference - latents.std((3, 4), ddof=1, keepdims=True), 0).mean()
    assert float(outlier_penalty(paddle.to_tensor(latents), 1.0)) == pytest.approx(expected, rel=1e-5)


def test_outliers_are_penalised_by_how_far_they_lie_beyond_the_deviations():
    latents = np.zeros((1, 1, 1, 4, 4), np.float32)
    latents[..., 0, 0] = 16.0  # mean 1, deviation 4
    latents = paddle.to_tensor(latents)
    latents.stop_gradient = False
    penalty = outlier_penalty(latents, 3.0)
    assert float(penalty) == pytest.approx((15.0 - 3 * 4) / 16)
    penalty.backward()
    assert np.isfinite(latents.grad.numpy()).all()
    assert float(outlier_penalty(latents, 4.0)) == 0


@pytest.mark.parametrize("shape", [(1, 2, 1, 3, 3), (1, 2, 1, 1, 1)])
def test_flat_latents_have_no_penalty_and_a_gradient(shape):
    latents = paddle.ones(shape)
    latents.stop_gradient = False
    penalty = outlier_penalty(latents, 3.0)
    penalty.backward()
    assert float(penalty) == 0 and np.isfinite(latents.grad.numpy()).all()


def test_perceptual_distance_of_black_pictures_has_a_gradient(perceptual):
    black = paddle.full([1, 3, 32, 32], -0.03)
    black[:, 1], black[:, 2] = -0.088, -0.188  # nothing is left of them before the first layer
    black.stop_gradient = False
    zeros = [layer.bias.numpy() for layer in perceptual.net.sublayers() if getattr(layer, "bias", None) is not None]
    assert all((bias == 0).all() for bias in zeros)  # so that all features are zeros
    distance = perceptual(paddle.rand([1, 3, 32, 32]), black)
    (gradient,) = paddle.grad(distance, black)
    assert np.isfinite(gradient.numpy()).all()
    assert float(perceptual(black, black)) == 0
