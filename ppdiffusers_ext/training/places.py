"""Leads attention to where the reference has what is drawn, for UNets that start from nothing.

Only the border of a picture tells UNets with random weights where they are, and from the loss of the noise alone they
are slow to learn which of the reference's tokens show what a frame has in a place. So each token is given what it
needs of the reference first, whatever it looks at, while a loss has it look there; both let go in the course of
training. Where the clips have joints, what is on the person lies where the same part of the body is in the reference;
all else lies at its own place. It is no part of the originals, which start from Stable Diffusion.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import paddle
from paddle import nn

from ppdiffusers_ext.training.body_places import BodyPlaces, find_places

_SPREAD = 0.3  # tokens: standard deviation of the weights around a place; 0.7 blurs what is copied
_LEAD = 0.3  # of the steps in which there is a loss
_MOVED = 0.7  # tokens; what is moved by more counts as much as all that is on the person, or in the background
_FEWEST = 8  # tokens that share the weight of their kind


class Attending(NamedTuple):
    """What an attention computes with.

    Attributes:
        query: (rows, tokens, channels).
        key, value: (rows, tokens, channels), of the tokens that show the reference.
        num_heads: number of heads.
        project: called with a mean of values, (rows, tokens, channels), gives what the attention returns.
    """

    query: paddle.Tensor
    key: paddle.Tensor
    value: paddle.Tensor
    num_heads: int
    project: Callable[[paddle.Tensor], paddle.Tensor]


@dataclass(frozen=True)
class _Map:
    """Where the tokens of a feature map belong.

    Attributes:
        weights: (rows, tokens, tokens), of the reference's tokens for each token, of sum 1.
        known: (rows, tokens, 1), 1 for tokens whose content is in the reference, 0 for others.
        shares: (rows, tokens), of each token in the loss, of sum 1 in a row.
        entropy: (rows, tokens) of the weights, in nats.
    """

    weights: paddle.Tensor
    known: paddle.Tensor
    shares: paddle.Tensor
    entropy: paddle.Tensor


class Places:
    """Attention to the reference in layers of a UNet, led to where each token's content is.

    Args:
        layers: attentions, which are led between `begin` and `end`.
        read: called with one of them and a tuple of its inputs, gives its `Attending`, or None where it does not see
            a reference.
        weight: of the loss in the first step.
        steps: number of steps in which the weight falls to 0, in a straight line. The part of attention that is led
            falls from 1, which is all of it, to 0 in the first three tenths of them.
        background: whether tokens beside the person are led, too: to their own places.
        patch: latents to a side of a token of the largest feature map.
    """

    def __init__(
        self,
        layers: Iterable[nn.Layer],
        read: Callable[[nn.Layer, tuple], Attending | None],
        weight: float,
        steps: int,
        background: bool = True,
        patch: int = 1,
    ) -> None:
        self._read, self._weight, self._steps = read, weight, steps
        self._background, self._patch = background, patch
        self._weight_now, self._lead = 0.0, 0.0  # in the current step; 0 between `end` and `begin`
        self._size = (0, 0)  # of the largest feature map, in tokens
        self._joints = np.zeros([0, 0, 18, 3])
        self._maps: dict[int, _Map] = {}  # by number of tokens
        self._seen: list[Attending] = []
        for layer in layers:
            layer.register_forward_post_hook(self._look)  # type: ignore[arg-type]  # of more general layers

    def begin(self, step: int, height: int, width: int, joints: np.ndarray) -> None:
        """Lead the next forward passes, as far as this is done in a step.

        Args:
            step: number of it.
            height, width: of the latents.
            joints: (samples, 1 + frames, 18, 3) of reference and targets, x and y in parts of the picture, and scores,
                which are 0 for what is not seen.
        """
        self._weight_now = self._weight * max(0.0, 1 - step / self._steps)
        self._lead = max(0.0, 1 - step / (_LEAD * self._steps))
        self._size = height // self._patch, width // self._patch
        self._joints, self._maps, self._seen = joints, {}, []

    def end(self) -> paddle.Tensor:
        """Lead no more. Returns the loss of the passes since `begin`, with its weight: a scalar tensor.

        It is the mean divergence, in nats, of the attention to the reference from a Gaussian around each token's
        place; 0 where no attention saw a reference.
        """
        seen, weight = self._seen, self._weight_now
        self._seen, self._weight_now, self._lead = [], 0.0, 0.0
        if not seen:
            return paddle.zeros([])
        return weight * paddle.stack([self._divergence(attending) for attending in seen]).mean()

    def _look(self, layer: nn.Layer, inputs: tuple, output: paddle.Tensor) -> paddle.Tensor:
        attending = self._read(layer, inputs) if self._weight_now else None
        if attending is None:
            return output
        self._seen.append(attending)
        if not self._lead:
            return output
        places = self._map(attending.query.shape[1])
        led = attending.project(places.weights.matmul(attending.value))  # (rows, tokens, channels)
        return output + self._lead * places.known * (led - output)

    def _divergence(self, attending: Attending) -> paddle.Tensor:
        """Of softmax(query key') from its map's weights: a scalar tensor."""
        query, key, num_heads = attending.query, attending.key, attending.num_heads
        tokens, channels = query.shape[1:]
        places = self._map(tokens)
        query, key = (  # (rows, heads, tokens, channels of a head)
            x.astype("float32").reshape([-1, tokens, num_heads, channels // num_heads]).transpose([0, 2, 1, 3])
            for x in (query, key)
        )
        query = query / (channels // num_heads) ** 0.5
        logits = query.matmul(key, transpose_y=True)  # (rows, heads, tokens, tokens)
        # Paddle's log_softmax takes ten times as long on a CPU as this does.
        largest = logits.detach().max(-1, keepdim=True)
        of_all = (logits - largest).exp().sum(-1).log() + largest.squeeze(-1)  # (rows, heads, tokens)
        of_places = (query * places.weights.unsqueeze(1).matmul(key)).sum(-1)  # the logits' mean by weight
        crossed = (of_all - of_places).mean(1)  # (rows, tokens)
        return ((crossed - places.entropy) * places.shares).sum(-1).mean()

    def _map(self, tokens: int) -> _Map:
        if tokens not in self._maps:
            height, width = _size_of_map(tokens, *self._size)
            pairs = [(frame, sample[0]) for sample in self._joints for frame in sample[1:]]  # samples*frames
            rows = [_row(*pair, height, width, self._background) for pair in pairs]
            weights, known, shares = (np.stack(values).astype(np.float32) for values in zip(*rows))
            entropy = -(weights * np.log(np.maximum(weights, 1e-30))).sum(-1)
            self._maps[tokens] = _Map(*map(paddle.to_tensor, (weights, known[..., None], shares, entropy)))
        return self._maps[tokens]


def _row(
    frame: np.ndarray, reference: np.ndarray, height: int, width: int, background: bool
) -> tuple[np.ndarray, ...]:
    """Weights (tokens, tokens), known (tokens,) and shares (tokens,) of a frame's map, by joints (18, 3) of both."""
    size = np.array([width, height])
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    tokens = np.stack([x, y], axis=1) + 0.5  # in the middle of each
    joints = (each * (*size, 1) for each in (frame, reference))
    places = find_places(tokens, *joints)
    points = np.clip(places.points - 0.5, 0, size - 1)
    rows, columns = (_gaussians(points[:, axis], length) for axis, length in ((1, height), (0, width)))
    weights = (rows[:, :, None] * columns[:, None]).reshape(height * width, height * width)
    known = places.known if background else places.on_body
    return weights, known, _shares(places, known, tokens)


def _shares(places: BodyPlaces, known: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Of tokens in the loss, (tokens,): background, person, and what has moved of it count as much as each other."""
    moved = places.on_body & (np.abs(places.points - tokens).max(axis=1) > _MOVED)
    shares = np.zeros(len(tokens))
    for kind in (known & ~places.on_body, places.on_body, moved):
        shares[kind] += 1 / max(int(kind.sum()), _FEWEST)
    return np.asarray(shares / max(shares.sum(), 1e-9))


def _gaussians(centers: np.ndarray, length: int) -> np.ndarray:
    """Weights (n, length) of the numbers up to a length around centers (n,), of sum 1."""
    weights = np.exp(-((centers[:, None] - np.arange(length)) ** 2) / (2 * _SPREAD**2))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _size_of_map(tokens: int, height: int, width: int) -> tuple[int, int]:
    while height * width > tokens:
        height, width = -(-height // 2), -(-width // 2)
    if height * width != tokens:
        raise ValueError(f"no feature map of {tokens} tokens comes of halving these latents")
    return height, width
