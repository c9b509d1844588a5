"""The video autoencoder as its trainer takes it: from pixels to decoded pixels, with noise that is given."""

import itertools
from collections.abc import Callable
from typing import Any

import paddle
from paddle import nn
from paddle.autograd import PyLayer
from paddle.distributed.fleet.utils import recompute

from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit
from ppdiffusers_ext.models.easy_animate.vae_layers import CausalConv3d, Chunk


class VideoVae(nn.Layer):
    """An autoencoder, for the trainer: paddlenlp saves a model of ppdiffusers' kind in ways of its own.

    Args:
        vae: `AutoencoderKLMagvit`.
        recomputes: whether the activations of a slice are computed again in the backward pass.
    """

    def __init__(self, vae: AutoencoderKLMagvit, recomputes: bool = False) -> None:
        super().__init__()
        self.vae, self._recomputes = vae, recomputes

    @property
    def last_weight(self) -> paddle.Tensor:
        """Of the decoder's last layer, by whose gradients the discriminators are weighted."""
        return self.vae.decoder.conv_out.weight

    def latent_shape(self, shape: list[int]) -> list[int]:
        """(channels, frames, height, width) of the latents of each of (batch, 3, frames, height, width) pixels."""
        scale = self.vae.spatial_scale
        sides = [side // scale for side in shape[3:]]
        return [self.vae.config.latent_channels, self.vae.latents_of(shape[2]), *sides]

    def forward(
        self, pixels: paddle.Tensor, noise: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """pixels (batch, 3, frames, h, w), noise like the latents -> decoded pixels, and mean and logarithm of the
        variance of the latents.
        """
        vae, coder = self.vae, TrainingCoder(self.vae, self._recomputes)
        posterior = vae.encode(pixels, coder).latent_dist
        latents = posterior.mean + posterior.std * noise  # (batch, channels, frames', h / 8, w / 8)
        count = latents.shape[2]
        chunks = latents.split(vae.chunks_of_latents(count), axis=2)
        weight, is_frozen = self.last_weight, self.last_weight.stop_gradient
        if is_frozen and paddle.is_grad_enabled():
            # Its gradients weigh the discriminators, even where it is not trained; the optimiser does not have it.
            weight.clear_gradient(False)
            weight.stop_gradient = False
        decoded = paddle.concat(list(vae.decode_chunks(chunks, count, coder)), axis=2)
        weight.stop_gradient = is_frozen
        return decoded, posterior.mean, posterior.logvar


class TrainingCoder:
    """Encodes and decodes the slices of one video; their activations may be computed again in the backward pass.

    Those of the last layer are kept: its gradients are asked for by themselves, and may be only once of what is
    computed again. Paddle would compute the gradients of all slices side by side, and so have the activations of all
    of them again at one time; here those of a slice wait for those of the slice after it.

    Args:
        vae: `AutoencoderKLMagvit`.
        recomputes: whether activations are computed again.
    """

    def __init__(self, vae: AutoencoderKLMagvit, recomputes: bool) -> None:
        self._vae, self._run = vae, _recomputed if recomputes else _computed
        convolutions = [layer for layer in vae.decoder.sublayers() if isinstance(layer, CausalConv3d)]
        self._inner = [id(layer) for layer in convolutions if layer is not vae.decoder.conv_out]
        self._encoded: list[paddle.Tensor] = []  # of the slice before
        self._decoded: list[paddle.Tensor] = []

    def encode_chunk(self, x: paddle.Tensor, chunk: Chunk) -> paddle.Tensor:
        """As `AutoencoderKLMagvit.encode_chunk`."""
        encode = lambda x: self._vae.encode_chunk(x, Chunk(chunk.place))  # noqa: E731
        moments = self._run(encode, self._vae.encoder.conv_in.weight, _after(x, self._encoded))
        self._encoded = [moments]
        return moments

    def decode_chunk(
        self, z: paddle.Tensor, chunk: Chunk, before: paddle.Tensor | None = None, after: paddle.Tensor | None = None
    ) -> paddle.Tensor:
        """As `AutoencoderKLMagvit.decode_chunk`."""
        known = [(key, len(chunk.kept[key])) for key in self._inner if key in chunk.kept]
        left: list[tuple[int, int]] = []  # layers that keep frames for the next slice, and how many

        def decode(z: paddle.Tensor, *kept: paddle.Tensor) -> tuple[paddle.Tensor, ...]:
            frames = iter(kept)
            inner = Chunk(chunk.place, {key: list(itertools.islice(frames, count)) for key, count in known})
            around = (None if part is None else self._vae.post_quant_conv(part) for part in (before, after))
            seen = self._vae.decoder.features(self._vae.post_quant_conv(z), inner, *around)
            left[:] = [(key, len(inner.kept[key])) for key in self._inner if key in inner.kept]
            return (*(frame for key, _ in left for frame in inner.kept[key]), *seen)

        kept = [frame for key, _ in known for frame in chunk.kept[key]]
        z = _after(z, self._decoded)
        results = iter(self._run(decode, self._vae.decoder.conv_in.weight, z, *kept))
        chunk.kept.update({key: list(itertools.islice(results, count)) for key, count in left})
        frames, decoder = list(results), self._vae.decoder
        self._decoded, count = list(frames), len(frames)
        return paddle.stack(decoder.conv_out(decoder.conv_norm_out(frames), count, chunk), axis=2)


class _After(PyLayer):
    """A tensor whose gradients are computed before those of others, which have no part in it."""

    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor, *others: paddle.Tensor) -> paddle.Tensor:
        ctx.learns, ctx.others = not x.stop_gradient, [(other.shape, other.dtype) for other in others]
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> Any:
        return (gradient if ctx.learns else None, *(paddle.zeros(shape, dtype) for shape, dtype in ctx.others))


def _after(x: paddle.Tensor, others: list[paddle.Tensor]) -> paddle.Tensor:
    others = [other for other in others if not other.stop_gradient]
    return _After.apply(x, *others) if others and paddle.is_grad_enabled() else x


def _computed(function: Callable, weight: paddle.Tensor, *inputs: paddle.Tensor) -> Any:
    return function(*inputs)


def _recomputed(function: Callable, weight: paddle.Tensor, *inputs: paddle.Tensor) -> Any:
    """What a function makes of tensors, computed again in the backward pass if there is one.

    Args:
        weight: one that the function learns; Paddle warns where no argument asks for gradients.
    """
    if not paddle.is_grad_enabled() or all(x.stop_gradient for x in (weight, *inputs)):
        return function(*inputs)
    return recompute(lambda _, *inputs: function(*inputs), weight, *inputs, use_reentrant=False)
