"""The video autoencoder in training: what is computed again, and the weight whose gradients are watched."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit
from ppdiffusers_ext.training.easy_animate.autoencoder_losses import (
    AutoencoderLoss,
    Decoded,
    LossWeights,
    frames_of,
)
from ppdiffusers_ext.training.easy_animate.autoencoder_model import VideoVae
from ppdiffusers_ext.training.parts import train_only

TINY = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "layers_per_block": 1}
# Way of slicing -> options, and frames of several slices.
WAYS = {
    "v2": ({"slice_mag_vae": True, "mini_batch_encoder": 5, "mini_batch_decoder": 2}, 10),
    "v3": ({"slice_compression_vae": True, "mini_batch_encoder": 8, "mini_batch_decoder": 2}, 17),
    "v4": ({"cache_compression_vae": True, "mini_batch_encoder": 8, "mini_batch_decoder": 2}, 16),
}
PICTURE = 1


class Judges(nn.Layer):
    """Discriminators of one layer each: which they are changes nothing here."""

    def __init__(self):
        super().__init__()
        self.of_frames, self.of_clips = nn.Conv2D(3, 1, 3), nn.Conv3D(3, 1, 1)

    def forward(self, clips):
        return self.of_frames(frames_of(clips)), self.of_clips(clips)


@pytest.fixture(scope="module")
def discriminators():
    paddle.seed(1)
    return Judges()


def make(way, **others):
    paddle.seed(0)
    options = {"slice_mag_vae": False, "mini_batch_encoder": 8, "mini_batch_decoder": 2, **WAYS[way][0]}
    return VideoVae(AutoencoderKLMagvit(**TINY, **options), **others)


def inputs(model, frames):
    rng = np.random.default_rng(0)
    pixels = rng.uniform(-1, 1, (1, 3, frames, 32, 32)).astype(np.float32)
    noise = rng.standard_normal((1, *model.latent_shape(pixels.shape))).astype(np.float32)
    return paddle.to_tensor(pixels), paddle.to_tensor(noise)


def step(model, discriminators, frames):
    """The numbers of a step, and the gradients of what is trained."""
    pixels, noise = inputs(model, frames)
    decoded = Decoded(*model(pixels, noise), model.last_weight)
    weights = LossWeights(perceptual_weight=0, disc_start=0)
    loss, numbers = AutoencoderLoss(weights, None, discriminators).of_autoencoder(pixels, decoded, 0)
    loss.backward()
    learning = {name: parameter for name, parameter in model.named_parameters() if not parameter.stop_gradient}
    return numbers, {name: parameter.grad.numpy() for name, parameter in learning.items()}


@pytest.mark.parametrize("frames", [PICTURE, None])
@pytest.mark.parametrize("way", WAYS)
def test_computing_activations_again_changes_no_bits(way, frames, discriminators):
    frames = frames or WAYS[way][1]
    kept, again = (step(make(way, recomputes=recomputes), discriminators, frames) for recomputes in (False, True))
    assert float(kept[0]["d_weight"]) == float(again[0]["d_weight"]) > 0
    assert len(kept[1]) == len(again[1]) > 50
    assert [name for name in kept[1] if not np.array_equal(kept[1][name], again[1][name])] == []


@pytest.mark.parametrize("way", WAYS)
def test_shape_of_latents_is_known_before(way):
    model = make(way)
    for frames in (PICTURE, 8, WAYS[way][1]):
        pixels, _ = inputs(model, frames)
        with paddle.no_grad():
            assert model.vae.encode(pixels).latent_dist.mean.shape[1:] == model.latent_shape(pixels.shape)


@pytest.mark.parametrize("trained, recomputes", [("vae.encoder.", False), ("vae.decoder.", True)])
def test_discriminators_are_weighted_alike_whatever_is_trained(trained, recomputes, discriminators):
    whole_numbers, whole = step(make("v3"), discriminators, 9)
    model = make("v3", recomputes=recomputes)
    train_only(model, lambda name: name.startswith(trained))
    for _ in range(2):  # gradients of the last layer do not pile up where it is frozen
        numbers, gradients = step(model, discriminators, 9)
        assert float(numbers["d_weight"]) == pytest.approx(float(whole_numbers["d_weight"]), rel=1e-6)
        assert gradients and all(name.startswith(trained) for name in gradients)
        for name, gradient in gradients.items():
            np.testing.assert_allclose(gradient, whole[name], rtol=0, atol=1e-5 * np.abs(whole[name]).max())
        for parameter in model.parameters():
            if not parameter.stop_gradient:
                parameter.clear_gradient()
    assert model.last_weight.stop_gradient == (trained == "vae.encoder.")
