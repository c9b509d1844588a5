"""Losses of EasyAnimate's transformers: DDPM's (V4), and that of improved DDPM with a learned variance (V1 to V3).

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate (`scripts/train.py`,
`easyanimate/utils/gaussian_diffusion.py`), after Ho et al. 2020 (arXiv:2006.11239), Nichol and Dhariwal 2021
(arXiv:2102.09672) and PixArt-alpha (Chen et al. 2023, arXiv:2310.00426).

Both have the same two methods: `noisy`, and `losses`, one number for each sample. Latents are
(batch, channels, frames, height, width); the network predicts twice as many channels.
"""

import math
from typing import Any

import numpy as np
import paddle

from ppdiffusers_ext.training.losses import target_of

_STEPS, _BETAS = 1000, (1e-4, 0.02)  # of V1 to V3, whatever the sampler's file says
_FIRST_OF_NOISE = 250  # timestep from which on the loss by signal-to-noise ratio compares noise
_STEP_OF_COLOURS = 1 / 255  # half of the distance of two values of 8 bits in [-1, 1]


class VelocityDiffusion:
    """DDPM: the squared error of the first half of the prediction; the learned variance is left as it is.

    Args:
        scheduler: of ppdiffusers, with `add_noise` and `get_velocity`; its `prediction_type` is the target's.
        num_timesteps: number of timesteps to draw from.
    """

    def __init__(self, scheduler: Any, num_timesteps: int = _STEPS) -> None:
        self._scheduler, self.num_timesteps = scheduler, num_timesteps

    def noisy(self, latents: paddle.Tensor, noise: paddle.Tensor, timesteps: paddle.Tensor) -> paddle.Tensor:
        """Noisy latents at timesteps, (batch,) int64."""
        return self._scheduler.add_noise(latents, noise, timesteps)

    def told(self, timesteps: paddle.Tensor) -> paddle.Tensor:
        """What the network is told of timesteps: (batch,)."""
        return timesteps.astype("float32")

    def target(self, latents: paddle.Tensor, noise: paddle.Tensor, timesteps: paddle.Tensor) -> paddle.Tensor:
        """What the network is to predict, as latents."""
        return target_of(self._scheduler, latents, noise, timesteps)

    def losses(
        self, prediction: paddle.Tensor, latents: paddle.Tensor, noise: paddle.Tensor, timesteps: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """Returns (loss of each sample (batch,), what was predicted, what was to be predicted), the latter as latents.

        Args:
            prediction: (batch, 2 * channels, frames, h, w).
            latents, noise, timesteps: as `noisy` was given them.
        """
        predicted = prediction[:, : latents.shape[1]].astype("float32")
        target = self.target(latents, noise, timesteps).astype("float32")
        return _mean((predicted - target).square()), predicted, target


class VarianceDiffusion:
    """Improved DDPM: the squared error of the noise, and the variational bound, of which the variance learns.

    Args:
        num_timesteps: evenly spaced ones of the thousand timesteps, which the noise is made for.
        snr: True to compare latents instead of noise where there is little noise, below timestep 250.
    """

    def __init__(self, num_timesteps: int = _STEPS, snr: bool = False) -> None:
        self.num_timesteps, self._snr = num_timesteps, snr
        spacing = (_STEPS - 1) / max(num_timesteps - 1, 1)
        self._timesteps = np.array([round(i * spacing) for i in range(num_timesteps)])
        alpha_bar = np.cumprod(1 - np.linspace(*_BETAS, _STEPS))[self._timesteps]
        before = np.append(1.0, alpha_bar[:-1])  # (num_timesteps,)
        betas = 1 - alpha_bar / before
        variance = betas * (1 - before) / (1 - alpha_bar)
        variance[0] = variance[1] if num_timesteps > 1 else betas[0]  # whose own logarithm is that of 0
        self._tables = {
            "signal": np.sqrt(alpha_bar),
            "noise": np.sqrt(1 - alpha_bar),
            "of_latents": betas * np.sqrt(before) / (1 - alpha_bar),
            "of_noisy": (1 - before) * np.sqrt(1 - betas) / (1 - alpha_bar),
            "least": np.log(variance),
            "most": np.log(betas),
        }

    def _at(self, name: str, timesteps: paddle.Tensor) -> paddle.Tensor:
        """Values of a table at timesteps: (batch, 1, 1, 1, 1)."""
        table = paddle.to_tensor(self._tables[name].astype(np.float32))
        return paddle.index_select(table, timesteps).reshape([-1, 1, 1, 1, 1])

    def noisy(self, latents: paddle.Tensor, noise: paddle.Tensor, timesteps: paddle.Tensor) -> paddle.Tensor:
        """Noisy latents at timesteps, (batch,) int64, below `num_timesteps`."""
        return self._at("signal", timesteps) * latents + self._at("noise", timesteps) * noise

    def told(self, timesteps: paddle.Tensor) -> paddle.Tensor:
        """What the network is told of timesteps: those of the thousand, (batch,)."""
        return paddle.index_select(paddle.to_tensor(self._timesteps.astype(np.float32)), timesteps)

    def losses(
        self, prediction: paddle.Tensor, latents: paddle.Tensor, noise: paddle.Tensor, timesteps: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """As `VelocityDiffusion.losses`: squared errors and bounds together."""
        error, bound = self.terms(prediction, latents, noise, timesteps)
        predicted = prediction[:, : latents.shape[1]].astype("float32")
        return error + bound, predicted, noise.astype("float32")

    def terms(
        self, prediction: paddle.Tensor, latents: paddle.Tensor, noise: paddle.Tensor, timesteps: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """The squared error and the bound in bits of each sample, (batch,) each."""
        predicted, variance = prediction.astype("float32").chunk(2, axis=1)
        noisy = self.noisy(latents, noise, timesteps)
        clean = (noisy - self._at("noise", timesteps) * predicted) / self._at("signal", timesteps)
        bound = self._bound(clean.detach(), variance, latents, noisy, timesteps)
        if not self._snr:
            return _mean((noise - predicted).square()), bound
        is_of_noise = (timesteps >= _FIRST_OF_NOISE).reshape([-1, 1, 1, 1, 1])
        errors = paddle.where(is_of_noise.expand(noise.shape), noise - predicted, latents - clean)
        return _mean(errors.square()), bound

    def _bound(
        self,
        clean: paddle.Tensor,
        variance: paddle.Tensor,
        latents: paddle.Tensor,
        noisy: paddle.Tensor,
        timesteps: paddle.Tensor,
    ) -> paddle.Tensor:
        """Divergence of the predicted step back from the true one; at timestep 0 the likelihood of the latents.

        Args:
            clean: latents that are predicted.
            variance: -1 for the least and 1 for the largest that is possible, as latents.
            latents, noisy, timesteps: the true ones.

        Returns:
            (batch,) in bits.
        """
        of_latents, of_noisy, least, most = (
            self._at(name, timesteps) for name in ("of_latents", "of_noisy", "least", "most")
        )
        part = (variance + 1) / 2
        log_variance = part * most + (1 - part) * least
        mean = of_latents * clean + of_noisy * noisy
        true_mean = of_latents * latents + of_noisy * noisy
        divergence = 0.5 * (
            log_variance - 1 - least + (least - log_variance).exp()
            + (true_mean - mean).square() * (-log_variance).exp()
        )  # fmt: skip
        likelihood = -_log_likelihood(latents, mean, 0.5 * log_variance)
        return paddle.where(timesteps == 0, _mean(likelihood), _mean(divergence)) / math.log(2.0)


def with_motion(loss: paddle.Tensor, predicted: paddle.Tensor, target: paddle.Tensor, ratio: float) -> paddle.Tensor:
    """Loss of each sample of which a part is that of the differences from frame to frame.

    Args:
        loss: (batch,).
        predicted, target: (batch, channels, frames, h, w), of two frames or more.
        ratio: the part.
    """
    differences = [x[:, :, 1:] - x[:, :, :-1] for x in (predicted, target)]
    return (1 - ratio) * loss + ratio * _mean((differences[0] - differences[1]).square())


def share_noise(noise: np.ndarray, ratio: float) -> np.ndarray:
    """Noise of which each frame has a part of the one before, of unit variance.

    The original does not bring it back to unit variance, so that a ratio of 0.5 leaves a third of it.

    Args:
        noise: (channels, frames, h, w), standard normal.
        ratio: weight of the frame before; that of the own noise is 1 - ratio.
    """
    shared, scale = noise.copy(), math.hypot(ratio, 1 - ratio)
    for frame in range(1, noise.shape[1]):
        shared[:, frame] = (ratio * shared[:, frame - 1] + (1 - ratio) * noise[:, frame]) / scale
    return shared


def timestep_of(rng: Any, num_timesteps: int, is_uniform: bool = False) -> int:
    """A random timestep, evenly or by the logistic function of a normal number, which favours those in the middle."""
    part = rng.random() if is_uniform else 1 / (1 + math.exp(-rng.standard_normal()))
    return min(int(part * num_timesteps), num_timesteps - 1)


def _log_likelihood(latents: paddle.Tensor, mean: paddle.Tensor, log_scale: paddle.Tensor) -> paddle.Tensor:
    """Logarithm of the likelihood of values as if they were of 8 bits, under a normal distribution."""
    inverse = (-log_scale).exp()
    above, below = (_cumulative(inverse * (latents - mean + step)) for step in (_STEP_OF_COLOURS, -_STEP_OF_COLOURS))
    first, last, between = (x.clip(min=1e-12).log() for x in (above, 1 - below, above - below))
    return paddle.where(latents < -0.999, first, paddle.where(latents > 0.999, last, between))


def _cumulative(x: paddle.Tensor) -> paddle.Tensor:
    """Normal distribution function, approximately."""
    return 0.5 * (1 + paddle.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _mean(x: paddle.Tensor) -> paddle.Tensor:
    return x.flatten(1).mean(1)


Diffusion = VelocityDiffusion | VarianceDiffusion
