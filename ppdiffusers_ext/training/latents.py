"""Latents that training starts from."""

from typing import Any

import paddle
from paddle import nn

ENCODED_AT_ONCE = 8  # pictures: the VAE's first layers are as large as they


def hold(*networks: nn.Layer) -> None:
    """Have networks stay as they are: no gradients, no dropout."""
    for network in networks:
        network.eval()
        for parameter in network.parameters():
            parameter.stop_gradient = True


def encode(vae: Any, pixels: paddle.Tensor, noise: paddle.Tensor, scaling_factor: float) -> paddle.Tensor:
    """Latents of pictures, drawn from the posterior by given normal noise: (n, 4, height / 8, width / 8), scaled."""
    posterior = vae.encode(pixels).latent_dist
    return (posterior.mean + posterior.std * noise) * scaling_factor


def encode_in_parts(vae: Any, pixels: paddle.Tensor, noise: paddle.Tensor, at_once: int) -> paddle.Tensor:
    """As `encode`, scaled by the VAE's own factor, of `at_once` pictures at a time: its first layers are large."""
    starts = range(0, pixels.shape[0], at_once)
    factor = vae.config.scaling_factor
    return paddle.concat([encode(vae, pixels[i : i + at_once], noise[i : i + at_once], factor) for i in starts])
