"""Latents that training starts from."""

from typing import Any

import paddle


def encode(vae: Any, pixels: paddle.Tensor, noise: paddle.Tensor, scaling_factor: float) -> paddle.Tensor:
    """Latents of pictures, drawn from the posterior by given normal noise: (n, 4, height / 8, width / 8), scaled."""
    posterior = vae.encode(pixels).latent_dist
    return (posterior.mean + posterior.std * noise) * scaling_factor
