"""Losses of the video autoencoder: reconstruction, LPIPS, divergence, and two discriminators with an adaptive weight.

From VQGAN (Esser et al. 2021, arXiv:2012.09841) and latent diffusion (Rombach et al. 2022, arXiv:2112.10752) in the
form of aigc-apps/EasyAnimate (`easyanimate/vae/ldm/modules/losses/contperceptual.py`). Differences: LPIPS has no
dropout, steps are those of the generator, and the discriminators are not computed before they have a part in the loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.autograd import PyLayer

from ppdiffusers_ext.models.easy_animate.discriminators import Discriminator3D, NLayerDiscriminator
from ppdiffusers_ext.models.metrics.lpips import LPIPS

PIXELS_AT_ONCE = 8 * 256**2  # of frames that LPIPS looks at: it needs half a megabyte for a thousand
_LARGEST_WEIGHT, _SMALL = 1e4, 1e-4  # of the adaptive weight; added to what it is divided by
_SMALLEST_VARIANCE = 1e-20  # whose root still has a gradient


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts of the loss, under the original's names.

    Attributes:
        l1_loss_weight, l2_loss_weight: of the absolute and the squared error of a number of a pixel.
        perceptual_weight: of LPIPS, which counts for every number of a frame.
        kl_weight: of the divergence of a clip's latents from normal noise.
        disc_weight, disc_factor: of the discriminators, beside the adaptive weight, and of their own loss.
        disc_start: steps of the generator before the discriminators have a part.
        disc_loss: "hinge" or "vanilla".
        outlier_penalty_loss_weight: of latents that lie far from the mean of their frame and channel.
        outlier_penalty_loss_r: how many standard deviations far.
    """

    l1_loss_weight: float = 1.0
    l2_loss_weight: float = 0.0
    perceptual_weight: float = 1.0
    kl_weight: float = 1e-6
    disc_weight: float = 0.5
    disc_factor: float = 1.0
    disc_start: int = 25001
    disc_loss: str = "hinge"
    outlier_penalty_loss_weight: float = 0.0
    outlier_penalty_loss_r: float = 3.0


class Discriminators(nn.Layer):
    """The discriminator of frames and that of clips, under the names that the original's loss has for them."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminator = NLayerDiscriminator()
        self.discriminator3d = Discriminator3D()

    def forward(self, clips: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """(batch, 3, frames, height, width) in [-1, 1] -> logits of frames' patches, and of clips'."""
        return self.discriminator(frames_of(clips)), self.discriminator3d(clips)


@dataclass(frozen=True)
class Decoded:
    """What an autoencoder makes of clips.

    Attributes:
        clips: (batch, 3, frames, height, width), decoded.
        mean, logvar: (batch, channels, frames', height', width'), of the latents.
        last_weight: of the decoder's last layer, which is in the graph of `clips`.
    """

    clips: paddle.Tensor
    mean: paddle.Tensor
    logvar: paddle.Tensor
    last_weight: paddle.Tensor


class AutoencoderLoss:
    """Losses of the autoencoder and of its discriminators, in fp32 whatever the autoencoder is computed in.

    Args:
        weights: `LossWeights`.
        perceptual: `LPIPS`, frozen, or None.
        discriminators: `Discriminators`, or None.
    """

    def __init__(self, weights: LossWeights, perceptual: LPIPS | None, discriminators: Discriminators | None) -> None:
        self._weights = weights
        self._perceptual = perceptual if weights.perceptual_weight else None
        self._discriminators = discriminators if weights.disc_factor and weights.disc_weight else None

    def is_adversarial(self, step: int) -> bool:
        """Whether the discriminators have a part in a step, counted from 0."""
        return self._discriminators is not None and step >= self._weights.disc_start

    @paddle.amp.auto_cast(False)  # type: ignore[operator]  # a decorator as well
    def of_autoencoder(
        self, clips: paddle.Tensor, decoded: Decoded, step: int
    ) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """Returns the loss, a scalar tensor, and its parts by name.

        Args:
            clips: (batch, 3, frames, height, width) in [-1, 1], the truth.
            step: of the generator, from 0.
        """
        weights, y = self._weights, decoded.clips
        wants_gradient = not y.stop_gradient
        nll, gradient, numbers = self._reconstruction(clips, y, wants_gradient)
        kl = divergence(decoded.mean, decoded.logvar)
        loss = weights.kl_weight * kl
        numbers |= {"kl_loss": kl.detach()}
        if weights.outlier_penalty_loss_weight:
            penalty = outlier_penalty(decoded.mean, weights.outlier_penalty_loss_r)
            loss = loss + weights.outlier_penalty_loss_weight * penalty
            numbers["outlier_penalty_loss"] = penalty.detach()
        if self.is_adversarial(step) and wants_gradient:
            g_loss, g_gradient = self._adversarial(y)
            d_weight = weights.disc_weight * _adaptive_weight(decoded, gradient, g_gradient)
            gradient = gradient + weights.disc_factor * d_weight * g_gradient
            nll = nll + weights.disc_factor * d_weight * g_loss
            numbers |= {"d_weight": d_weight, "g_loss": g_loss}
        loss = loss + (_WithGradient.apply(y, nll, gradient) if wants_gradient else nll)
        return loss, {**numbers, "total_loss": loss.detach()}

    @paddle.amp.auto_cast(False)  # type: ignore[operator]  # a decorator as well
    def of_discriminators(
        self, clips: paddle.Tensor, decoded: paddle.Tensor
    ) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """Returns the loss, a scalar tensor, and its parts by name; clips and decoded ones as above."""
        assert self._discriminators is not None
        real, fake = (self._discriminators(x.detach().astype("float32")) for x in (clips, decoded))
        loss = sum((self._of_logits(*pair) for pair in zip(real, fake)), paddle.zeros([]))
        loss = self._weights.disc_factor * loss
        means = {"logits_real": real[0].detach().mean(), "logits_fake": fake[0].detach().mean()}
        return loss, {"disc_loss": loss.detach(), **means}

    def _of_logits(self, real: paddle.Tensor, fake: paddle.Tensor) -> paddle.Tensor:
        if self._weights.disc_loss == "hinge":
            return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
        return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())

    def _reconstruction(
        self, clips: paddle.Tensor, decoded: paddle.Tensor, wants_gradient: bool
    ) -> tuple[paddle.Tensor, paddle.Tensor, dict[str, paddle.Tensor]]:
        """The sum over the numbers of a frame, mean over frames; its gradient at the decoded clips; parts by name."""
        truth, frames = frames_of(clips), frames_of(decoded.detach())
        count, size = frames.shape[0], frames[0].size
        at_once = max(1, PIXELS_AT_ONCE // (size // frames.shape[1]))
        total, distances, gradients = paddle.zeros([]), [], []
        for i in range(0, count, at_once):
            part = frames[i : i + at_once].astype("float32")
            part.stop_gradient = not wants_gradient
            error, distance = self._of_frames(truth[i : i + at_once], part)
            total_of_part = error / count
            if distance is not None:
                total_of_part = total_of_part + self._weights.perceptual_weight * size / count * distance.sum()
                distances.append(distance.detach())
            if wants_gradient:
                gradients += paddle.grad(total_of_part, part)
            total = total + total_of_part.detach()
        numbers = {"nll_loss": total, "rec_loss": total / size}
        if distances:
            numbers["lpips"] = paddle.concat(distances).mean()
        gradient = _clips_of(paddle.concat(gradients), clips.shape) if wants_gradient else total
        return total, gradient, numbers

    def _of_frames(self, truth: paddle.Tensor, frames: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """Sum of the weighted errors of all numbers, and LPIPS of each frame."""
        difference = frames - truth
        weights = self._weights
        error = weights.l1_loss_weight * difference.abs().sum() + weights.l2_loss_weight * difference.square().sum()
        return error, None if self._perceptual is None else self._perceptual(truth, frames)

    def _adversarial(self, decoded: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """What the discriminators say of decoded clips, low for good ones, and its gradient at the clips."""
        assert self._discriminators is not None
        clips = decoded.detach().astype("float32")
        clips.stop_gradient = False
        of_frames, of_clips = self._discriminators(clips)
        loss = -of_frames.mean() - of_clips.mean()
        (gradient,) = paddle.grad(loss, clips)
        return loss.detach(), gradient


class _WithGradient(PyLayer):
    """A number that has been computed of a tensor elsewhere, with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor, value: paddle.Tensor, gradient: paddle.Tensor) -> paddle.Tensor:
        ctx.gradient = gradient.astype(x.dtype)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, upstream: paddle.Tensor) -> paddle.Tensor:
        return ctx.gradient * upstream.astype(ctx.gradient.dtype)


def _adaptive_weight(decoded: Decoded, of_error: paddle.Tensor, of_judgement: paddle.Tensor) -> paddle.Tensor:
    """Ratio of the lengths of two gradients at the decoder's last layer, given those at the decoded clips."""
    lengths = []
    for gradient in (of_error, of_judgement):
        (of_weight,) = paddle.grad(
            [decoded.clips],
            [decoded.last_weight],
            grad_outputs=[gradient.astype(decoded.clips.dtype)],
            retain_graph=True,
        )
        lengths.append(of_weight.astype("float32").square().sum().sqrt())
    return (lengths[0] / (lengths[1] + _SMALL)).clip(0.0, _LARGEST_WEIGHT)


def divergence(mean: paddle.Tensor, logvar: paddle.Tensor) -> paddle.Tensor:
    """Divergence of the latents from normal noise: sum over a clip, mean over clips."""
    mean, logvar = mean.astype("float32"), logvar.astype("float32")
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum() / mean.shape[0]


def outlier_penalty(latents: paddle.Tensor, deviations: float) -> paddle.Tensor:
    """Mean of how far latents lie beyond so many standard deviations from the mean of their frame and channel.

    Args:
        latents: (batch, channels, frames, height, width).
    """
    latents = latents.astype("float32")
    difference = latents - latents.mean([3, 4], keepdim=True)
    count = max(latents.shape[3] * latents.shape[4] - 1, 1)
    variance = difference.square().sum([3, 4], keepdim=True) / count
    return F.relu(difference.abs() - deviations * variance.clip(min=_SMALLEST_VARIANCE).sqrt()).mean()


def frames_of(clips: paddle.Tensor) -> paddle.Tensor:
    """(batch, 3, frames, height, width) -> (batch * frames, 3, height, width)."""
    return clips.transpose([0, 2, 1, 3, 4]).flatten(0, 1)


def _clips_of(frames: paddle.Tensor, shape: list[int]) -> paddle.Tensor:
    """`frames_of`, inverted, for clips of a shape."""
    batch, channels, count, height, width = shape
    return frames.reshape([batch, count, channels, height, width]).transpose([0, 2, 1, 3, 4])


def as_floats(numbers: Mapping[str, paddle.Tensor]) -> dict[str, float]:
    """The parts of a loss as numbers of Python."""
    return {name: float(value) for name, value in numbers.items()}
