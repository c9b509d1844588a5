"""A loss under which the denoising UNet looks at the reference where it draws: for UNets that start from nothing.

Only the border of a picture tells UNets with random weights where they are, and from the loss of the noise alone they
are slow to learn which of the reference's tokens lie where those of the frame do. This loss has each token's attention
to the reference be near its own place. It is no part of the original, which starts from Stable Diffusion.
"""

import functools

import numpy as np
import paddle
from paddle.nn import functional as F

from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D
from ppdiffusers_ext.models.animate_anyone.transformer import ReferenceAttention, repeat_rows

_SPREAD = 0.7  # tokens: standard deviation of the weights around a place
_DOWN = "down_blocks."  # where few tokens have seen the border


class PlaceLoss:
    """How far attention to the reference is from each token's own place, in the mid and up blocks of a UNet.

    Args:
        unet: `DenoisingUNet3D`, whose attentions are listened to from now on, while `watch` is on.
    """

    def __init__(self, unet: DenoisingUNet3D) -> None:
        self._watching = False
        self._seen: list[tuple[paddle.Tensor, paddle.Tensor, int]] = []  # query, key, number of heads
        for name, layer in unet.named_sublayers():
            if isinstance(layer, ReferenceAttention) and not name.startswith(_DOWN):
                layer.register_forward_pre_hook(self._note)  # type: ignore[arg-type]  # which is of more general layers

    def watch(self, on: bool = True) -> None:
        """Note what the next forward passes attend to, or stop it. Forgets what was noted before."""
        self._watching, self._seen = on, []

    def _note(self, layer: ReferenceAttention, inputs: tuple) -> None:
        tokens, reference = inputs[:2]
        if self._watching and reference is not None:
            self._seen.append((layer.to_q(tokens), repeat_rows(reference[0], tokens.shape[0]), layer.num_heads))

    def __call__(self, height: int, width: int) -> paddle.Tensor:
        """Mean divergence, in nats, of the attention to the reference from a Gaussian around each token's place.

        height, width: of the latents.

        Returns:
            A scalar tensor; 0 where no attention saw a reference.
        """
        if not self._seen:
            return paddle.zeros([])
        return paddle.stack([divergence(*seen, height, width) for seen in self._seen]).mean()


def divergence(query: paddle.Tensor, key: paddle.Tensor, num_heads: int, height: int, width: int) -> paddle.Tensor:
    """Kullback-Leibler divergence of softmax(query key') from a Gaussian around each query's place: a scalar tensor.

    Args:
        query: (batch, tokens, channels) of a feature map that is the latents' halved as often as needed.
        key: as query, or (1, tokens, channels) for all of its rows.
        height, width: of the latents.

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
