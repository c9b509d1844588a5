"""Self-attention over a sequence whose parts are on several devices.

DeepSpeed-Ulysses (Jacobs et al. 2023, arXiv:2309.14509): each device has some of the tokens, and computes whatever
treats tokens one by one. For attention tokens are exchanged for heads, so that each device has all tokens of some
heads, and then back. What exchanges is given from outside (`split_by`): networks know of no devices.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Protocol

import paddle

from ppdiffusers_ext.models.layers import scaled_dot_product


class Split(Protocol):
    """How a sequence of so many `units` (tokens, or frames of them) is divided."""

    units: int

    def own(self, x: paddle.Tensor, axis: int) -> paddle.Tensor:
        """The part of this device of all units along an axis."""

    def whole(self, x: paddle.Tensor, axis: int) -> paddle.Tensor:
        """All units of the parts along an axis."""

    def to_heads(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, own tokens, heads, channels) -> (batch, tokens, own heads, channels)."""

    def to_tokens(self, x: paddle.Tensor, heads: int) -> paddle.Tensor:
        """(batch, tokens, own heads, channels) -> (batch, own tokens, heads, channels)."""


_split: contextvars.ContextVar[Split | None] = contextvars.ContextVar("split", default=None)


@contextlib.contextmanager
def split_by(split: Split) -> Iterator[None]:
    """Within it networks that can be divided have but this device's part of the sequence."""
    token = _split.set(split)
    try:
        yield
    finally:
        _split.reset(token)


def own_part(x: paddle.Tensor, axis: int) -> paddle.Tensor:
    """This device's part of a tensor of all units along an axis; the tensor where nothing is divided."""
    split = _split.get()
    return x if split is None else split.own(x, axis)


def whole(x: paddle.Tensor, axis: int) -> paddle.Tensor:
    """The tensor whose parts are on all devices."""
    split = _split.get()
    return x if split is None else split.whole(x, axis)


def all_units(own: int) -> int:
    """How many units there are on all devices, where this one has so many."""
    split = _split.get()
    return own if split is None else split.units


def attend_to_all(query: paddle.Tensor, key: paddle.Tensor, value: paddle.Tensor, num_heads: int) -> paddle.Tensor:
    """As `scaled_dot_product`, of a sequence to itself, on whichever device its tokens are."""
    split = _split.get()
    if split is None:
        return scaled_dot_product(query, key, value, num_heads)
    batch, tokens, channels = query.shape
    rows = [x.reshape([batch, tokens, num_heads, -1]) for x in (query, key, value)]
    x = split.to_heads(paddle.concat(rows, axis=-1))  # (batch, all tokens, own heads, 3 * d)
    query, key, value = (part.flatten(2) for part in x.chunk(3, axis=-1))
    x = scaled_dot_product(query, key, value, x.shape[2]).reshape([batch, x.shape[1], x.shape[2], -1])
    return split.to_tokens(x, num_heads).reshape([batch, tokens, channels])
