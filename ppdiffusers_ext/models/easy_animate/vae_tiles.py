"""Videos in tiles that overlap, chunk by chunk: the tiles of a chunk are made, and mixed into pictures."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import paddle


def in_tiles(
    chunks: Iterator[paddle.Tensor],
    function: Callable[[Iterator[paddle.Tensor]], Iterator[paddle.Tensor]],
    size: int,
    step: int,
) -> Iterator[tuple[list[list[paddle.Tensor]], paddle.Tensor]]:
    """What a function makes of each tile of a video.

    Args:
        chunks: iterator of (batch, channels, frames, height, width).
        function: from an iterator of chunks to one of results.
        size, step: sides of tiles, and how far apart they are.

    Yields:
        For each chunk the results of the tiles in rows, and that of the tile in the last corner.
    """
    first = next(chunks)
    starts = [range(0, side, step) for side in first.shape[3:]]
    windows = [(slice(i, i + size), slice(j, j + size)) for i in starts[0] for j in starts[1]]
    windows.append((slice(-size, None), slice(-size, None)))
    copies = itertools.tee(itertools.chain([first], chunks), len(windows))
    results = [function(_cut(copy, window)) for copy, window in zip(copies, windows)]
    width = len(starts[1])
    for *tiles, corner in zip(*results):
        yield [tiles[i : i + width] for i in range(0, len(tiles), width)], corner


def _cut(chunks: Iterator[paddle.Tensor], window: tuple[slice, slice]) -> Iterator[paddle.Tensor]:
    place = (..., *window)
    return (chunk[place] for chunk in chunks)


def join_tiles(rows: Sequence[list[paddle.Tensor]], blended: int, size: int) -> paddle.Tensor:
    """One picture of rows of tiles, each mixed with the one above it and the one to its left, which are mixed already.

    Args:
        blended: pixels that are mixed.
        size: pixels of a tile.
    """
    result = []
    for i, row in enumerate(rows):
        for j in range(len(row)):
            if i:
                row[j] = _blend(rows[i - 1][j], row[j], blended, axis=3)
            if j:
                row[j] = _blend(row[j - 1], row[j], blended, axis=4)
        kept = size - blended
        result.append(paddle.concat([tile[:, :, :, :kept, :kept] for tile in row], axis=4))
    return paddle.concat(result, axis=3)


def mix_corner(x: paddle.Tensor, corner: paddle.Tensor) -> paddle.Tensor:
    """(batch, channels, frames, height, width), into whose last corner another picture of it fades."""
    height, width = corner.shape[3:]
    weights = paddle.minimum(
        paddle.linspace(0, 1, width).unsqueeze(0), paddle.linspace(0, 1, height).unsqueeze(1)
    ).astype(x.dtype)  # (height, width)
    mixed = weights * corner + (1 - weights) * x[:, :, :, -height:, -width:]
    bottom = paddle.concat([x[:, :, :, -height:, :-width], mixed], axis=4)
    return paddle.concat([x[:, :, :, :-height], bottom], axis=3)


def _blend(first: paddle.Tensor, second: paddle.Tensor, count: int, axis: int) -> paddle.Tensor:
    """The second, whose first `count` lines fade from the last ones of the first."""
    count = min(count, first.shape[axis], second.shape[axis])
    shape = [1] * 5
    shape[axis] = count
    weights = (paddle.arange(count, dtype="float32") / count).astype(second.dtype).reshape(shape)
    length, other = first.shape[axis], second.shape[axis]
    ending = paddle.slice(first, [axis], [length - count], [length])
    beginning = paddle.slice(second, [axis], [0], [count])
    rest = paddle.slice(second, [axis], [count], [other]) if count < other else None
    mixed = ending * (1 - weights) + beginning * weights
    return mixed if rest is None else paddle.concat([mixed, rest], axis=axis)
