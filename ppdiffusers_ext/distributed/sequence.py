"""A sequence that is divided among ranks, for attention as in DeepSpeed-Ulysses (arXiv:2309.14509)."""

from typing import TYPE_CHECKING

from ppdiffusers_ext.distributed.ranks import Ranks, parts

if TYPE_CHECKING:
    import paddle


class SequenceSplit:
    """
    Args:
        ranks: that divide it.
        units: how many there are, at least one for each rank: tokens, or frames of as many tokens each.
    """

    def __init__(self, ranks: Ranks, units: int) -> None:
        self._ranks, self.units = ranks, units
        self._parts = parts(units, ranks.count)

    def own(self, x: "paddle.Tensor", axis: int) -> "paddle.Tensor":
        """The part of this rank, of all units along an axis."""
        start, end = self._parts[self._ranks.rank]
        return x.slice([axis], [start], [end])

    def whole(self, x: "paddle.Tensor", axis: int) -> "paddle.Tensor":
        """All units, from the part that each rank has along an axis."""
        import paddle

        # Each rank's call gives its own part.
        return paddle.concat(self._ranks.divide([lambda: x] * self._ranks.count), axis=axis)

    def to_heads(self, x: "paddle.Tensor") -> "paddle.Tensor":
        """(batch, own tokens, heads, channels) -> (batch, tokens, own heads, channels)."""
        import paddle

        batch, _, heads, channels = x.shape
        tokens, of_heads = self._tokens(x.shape[1]), parts(heads, self._ranks.count)
        own = _length(of_heads[self._ranks.rank])
        pieces = [x[:, :, start:end] for start, end in of_heads]
        shapes = [[batch, _length(part), own, channels] for part in tokens]
        most = batch * max(map(_length, tokens)) * max(map(_length, of_heads)) * channels
        return paddle.concat(self._ranks.exchange(pieces, shapes, most), axis=1)

    def to_tokens(self, x: "paddle.Tensor", heads: int) -> "paddle.Tensor":
        """(batch, tokens, own heads, channels) -> (batch, own tokens, heads, channels)."""
        import paddle

        batch, count, _, channels = x.shape
        size, of_heads = count // self.units, parts(heads, self._ranks.count)
        tokens = [(start * size, end * size) for start, end in self._parts]
        own = _length(tokens[self._ranks.rank])
        pieces = [x[:, start:end] for start, end in tokens]
        shapes = [[batch, own, _length(part), channels] for part in of_heads]
        most = batch * max(map(_length, tokens)) * max(map(_length, of_heads)) * channels
        return paddle.concat(self._ranks.exchange(pieces, shapes, most), axis=2)

    def _tokens(self, own: int) -> list[tuple[int, int]]:
        """First and last (exclusive) token of each rank, where this one has so many."""
        size = own // _length(self._parts[self._ranks.rank])
        return [(start * size, end * size) for start, end in self._parts]


def _length(part: tuple[int, int]) -> int:
    return part[1] - part[0]
