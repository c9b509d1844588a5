"""Losses of training: of velocities or clean latents, with optional weights by signal-to-noise ratio.

Min-SNR weights are those of Hang et al. 2023 (arXiv:2303.09556) for v prediction. The squared error of a velocity is
that of the clean latents it stands for, times snr + 1.
"""

from typing import Any

import paddle

VELOCITY, CLEAN = "v_prediction", "sample"  # as schedulers call what networks predict


def add_offset(noise: paddle.Tensor, offset: paddle.Tensor, strength: float) -> paddle.Tensor:
    """Noise with an offset that all frames and positions share: (batch, channels, frames, height, width).

    Args:
        noise: normal, of that shape.
        offset: normal, (batch, channels, 1, 1, 1).
        strength: of the offset.
    """
    return noise + strength * offset


def target_of(scheduler: Any, latents: paddle.Tensor, noise: paddle.Tensor, timesteps: paddle.Tensor) -> paddle.Tensor:
    """What a network is to predict by a scheduler's `prediction_type`: the velocity, the noise, or clean latents.

    Args:
        scheduler: of ppdiffusers, with `get_velocity`.
        latents, noise: (batch, ...), what was mixed.
        timesteps: (batch,).
    """
    kind = scheduler.config.prediction_type
    if kind == VELOCITY:
        return scheduler.get_velocity(latents, noise, timesteps)
    return noise if kind == "epsilon" else latents


def signal_to_noise(scheduler: Any, timesteps: paddle.Tensor) -> paddle.Tensor:
    """Ratio of the variances of signal and noise at each timestep: (batch,), 0 for pure noise."""
    alpha_bar = paddle.index_select(scheduler.alphas_cumprod, timesteps)
    return alpha_bar / (1 - alpha_bar)


def min_snr_weights(snr: paddle.Tensor, gamma: float, prediction_type: str = VELOCITY) -> paddle.Tensor:
    """Min-SNR weights (batch,) of samples: min(snr + 1, gamma), of a velocity's error divided by snr + 1.

    Args:
        snr: (batch,).
        gamma: bound.
        prediction_type: "v_prediction", or "sample" for clean latents.
    """
    weights = paddle.clip(snr + 1, max=gamma)
    return weights if prediction_type == CLEAN else weights / (snr + 1)


def mean_squared_error(
    prediction: paddle.Tensor, target: paddle.Tensor, weights: paddle.Tensor | None = None
) -> paddle.Tensor:
    """Mean over the samples of each sample's weighted mean squared error.

    Args:
        prediction, target: (batch, ...).
        weights: (batch,), or None for 1.
    """
    error = (prediction.astype("float32") - target.astype("float32")).square().flatten(1).mean(1)
    return (error if weights is None else error * weights).mean()
