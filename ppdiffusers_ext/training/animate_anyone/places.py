"""Leads the attention of the denoising UNet to where it draws, for UNets that start from nothing.

Only the border of a picture tells UNets with random weights where they are, and from the loss of the noise alone they
are slow to learn which of the reference's tokens lie where those of the frame do. So each token is given what lies at
its own place of the reference first, whatever it looks at, while a loss has it look there; both let go in the course
of training. It is no part of the original, which starts from Stable Diffusion.
"""

import functools

import numpy as np
import paddle
from paddle.nn import functional as F

from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D
from ppdiffusers_ext.models.animate_anyone.transformer import ReferenceAttention, repeat_rows

_SPREAD = 0.3  # tokens: standard deviation of the weights around a place; 0.7 blurs what is copied
_DOWN = "down_blocks."  # where few tokens have seen the border


class Places:
    """Attention to the reference in the mid and up blocks of a UNet, led to each token's own place.

    Args:
        unet: `DenoisingUNet3D`, whose attentions are led between `begin` and `end`.
        weight: of the loss in the first step.
        steps: number of steps in which the weight, and the part of attention that is led, fall to 0 in a straight
            line; from 1, which is all of it.
    """

    def __init__(self, unet: DenoisingUNet3D, weight: float, steps: int) -> None:
        self._weight, self._steps = weight, steps
        self._patch = unet.config.patch_size
        self._part, self._size = 0.0, (0, 0)  # of the current step, and of its latents in patches
        self._seen: list[tuple[paddle.Tensor, paddle.Tensor, int]] = []  # query, key, number of heads
        for name, layer in unet.named_sublayers():
            if isinstance(layer, ReferenceAttention) and not name.startswith(_DOWN):
                layer.register_forward_post_hook(self._lead)  # type: ignore[arg-type]  # of more general layers

    def begin(self, step: int, height: int, width: int) -> None:
        """Lead the next forward passes, as far as this is done in a step. height, width: of the latents."""
        self._part, self._seen = max(0.0, 1 - step / self._steps), []
        self._size = height // self._patch, width // self._patch

    def end(self) -> paddle.Tensor:
        """Lead no more. Returns the loss of the passes since `begin`, with its weight: a scalar tensor.

        It is the mean divergence, in nats, of the attention to the reference from a Gaussian around each token's
        place; 0 where no attention saw a reference.
        """
        seen, part = self._seen, self._part
        self._seen, self._part = [], 0.0
        if not seen:
            return paddle.zeros([])
        return self._weight * part * paddle.stack([divergence(*item, *self._size) for item in seen]).mean()

    def _lead(self, layer: ReferenceAttention, inputs: tuple, output: paddle.Tensor) -> paddle.Tensor:
        tokens, reference = inputs[:2]  # (rows, tokens, channels); key and value
        if not self._part or reference is None:
            return output
        key, value = (repeat_rows(tensor, tokens.shape[0]) for tensor in reference)
        self._seen.append((layer.to_q(tokens), key, layer.num_heads))
        weights, _ = _around_places(*_size_of_map(tokens.shape[1], *self._size))
        led = layer.to_out[0](weights.matmul(value))  # (rows or 1, tokens, channels)
        return (1 - self._part) * output + self._part * led


def divergence(query: paddle.Tensor, key: paddle.Tensor, num_heads: int, height: int, width: int) -> paddle.Tensor:
    """Kullback-Leibler divergence of softmax(query key') from a Gaussian around each query's place: a scalar tensor.

    Args:
        query: (batch, tokens, channels) of a feature map that is halved as often as needed.
        key: as query, or (1, tokens, channels) for all of its rows.
        height, width: of the map before it is halved.

    Raises:
        ValueError: no such feature map has this number of tokens.
    """
    tokens, channels = query.shape[1:]
    target, entropy = _around_places(*_size_of_map(tokens, height, width))  # (tokens, tokens)
    query, key = (  # (batch, heads, tokens, channels of a head)
        x.astype("float32").reshape([-1, tokens, num_heads, channels // num_heads]).transpose([0, 2, 1, 3])
        for x in (query, key)
    )
    logits = query.matmul(key, transpose_y=True) / (channels // num_heads) ** 0.5  # (batch, heads, tokens, tokens)
    return -(F.log_softmax(logits) * target).sum(-1).mean() - entropy


def _size_of_map(tokens: int, height: int, width: int) -> tuple[int, int]:
    while height * width > tokens:
        height, width = -(-height // 2), -(-width // 2)
    if height * width != tokens:
        raise ValueError(f"no feature map of {tokens} tokens comes of halving these latents")
    return height, width


@functools.lru_cache(maxsize=16)
def _around_places(height: int, width: int) -> tuple[paddle.Tensor, float]:
    """Weights (tokens, tokens) around each token's place, of sum 1, and their mean entropy in nats."""
    rows, columns = _gaussians(height), _gaussians(width)
    weights = np.kron(rows, columns)
    entropy = -(weights * np.log(np.maximum(weights, 1e-30))).sum(-1).mean()
    return paddle.to_tensor(weights.astype(np.float32)), float(entropy)


def _gaussians(length: int) -> np.ndarray:
    positions = np.arange(length)
    weights = np.exp(-((positions[:, None] - positions) ** 2) / (2 * _SPREAD**2))
    return weights / weights.sum(1, keepdims=True)
