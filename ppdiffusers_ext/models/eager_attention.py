"""Attention in eager mode on a CPU whose memory grows with the tokens, not with their square, in training as well.

Scores are computed in pieces of 16 MB that are forgotten, and once more in the backward pass, as in
FlashAttention (Dao et al., 2022; Dao, 2023). What a piece costs is decided by what is no product: Paddle's kernels for
softmax, sums and broadcasts take several times as long as its products on a CPU. All of them but the exponential are
part of a product here, as one column more on its one side and the counterpart on the other.
"""

from collections.abc import Iterator
from typing import Any

import paddle

# Scores of one piece, 16 MB: few calls, and little beside what a network holds.
PIECE = 2**22
# Scores of a head from which on forgetting them is worth it.
MANY_SCORES = 2**14
# Scores of which no exponential overflows, and no sum of exponentials vanishes, in fp32.
SAFE_SCORE = 40.0


def attend(
    query: paddle.Tensor, key: paddle.Tensor, value: paddle.Tensor, bias: paddle.Tensor | None = None
) -> paddle.Tensor:
    """softmax(q k^T + bias) v, which has gradients of the first order for all but the bias.

    Args:
        query: (batch, heads, queries, d), already divided by the square root of d.
        key, value: (batch, heads, keys, d)
        bias: (batch, keys), added to the scores of each key, or None.

    Returns:
        (batch, heads, queries, d)
    """
    batch, heads, queries, d = query.shape
    query, key, value = (x.reshape([batch * heads, x.shape[2], d]) for x in (query, key, value))
    if bias is not None:
        bias = bias.detach().astype(query.dtype).unsqueeze([1, 3])  # (batch, 1, keys, 1)
        bias = bias.expand([batch, heads, -1, 1]).reshape([batch * heads, -1, 1])
    return _Attention.apply(query, key, value, bias).reshape([batch, heads, queries, d])


def is_worth_it(queries: int, keys: float) -> bool:
    """Whether a head has so many scores that `attend` forgets them; fewer are computed quicker at once, and kept."""
    return queries * keys >= MANY_SCORES


def kept_scores(heads: int, queries: int, keys: float) -> float:
    """Numbers of scores that eager attention on a CPU keeps for the gradient: those of short sequences alone."""
    return 0 if is_worth_it(queries, keys) else heads * queries * keys


class _Attention(paddle.autograd.PyLayer):
    """Of (n, queries, d), (n, keys, d) twice, and a bias of (n, keys, 1) or None, to (n, queries, d)."""

    @staticmethod
    def forward(
        ctx: Any, query: paddle.Tensor, key: paddle.Tensor, value: paddle.Tensor, bias: paddle.Tensor | None
    ) -> paddle.Tensor:
        d = query.shape[2]
        ctx.learn = [not x.stop_gradient for x in (query, key, value)]
        # What all keys have in common adds the same to all scores of a query, which softmax does not see.
        key = key - key.mean(1, keepdim=True)
        is_safe = bias is None and float(_largest_norm(query) * _largest_norm(key)) <= SAFE_SCORE
        if bias is not None:
            query, key = _with_ones(query), paddle.concat([key, bias], 2)
        value = _with_ones(value)  # the product's last column is then the sum of the weights

        outs, logs = [], []
        for some, pieces in _pieces(query, key):
            weighted, largest = [], []
            for rows in pieces:
                # (n, queries, keys) of the piece
                scores = paddle.matmul(query[some, rows], key[some], transpose_y=True)
                if not is_safe:
                    largest.append(scores.max(-1, keepdim=True))
                    scores.subtract_(largest[-1])
                weighted.append(paddle.matmul(scores.exp_(), value[some]))
            out, total = _joined(weighted, 1).split([d, 1], 2)
            outs.append(out / total)
            logs.append(paddle.log(total) if is_safe else paddle.log(total) + _joined(largest, 1))
        out = _joined(outs, 0)
        # The result itself knows its gradient, and so this: a circle that Paddle does not see and never gives back.
        ctx.save_for_backward(query, key, value, out.detach(), _joined(logs, 0))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> Any:
        query, key, value, out, log_total = ctx.saved_tensor()
        d = out.shape[2]
        # weights = exp(q k^T - log_total), gradient of the scores = weights * (gradient v^T - sum(gradient out)):
        # each difference is a product, of these with a column of ones.
        normal_query, normal_key = paddle.concat([query, -log_total], 2), _with_ones(key)
        signed_gradient = paddle.concat([gradient, -(gradient * out).sum(-1, keepdim=True)], 2)

        of_query, of_key, of_value = [], [], []
        for some, pieces in _pieces(query, key):
            queries = []
            for row, rows in enumerate(pieces):
                weights = paddle.matmul(normal_query[some, rows], normal_key[some], transpose_y=True)
                weights.exp_()  # (n, queries, keys) of the piece
                values = paddle.matmul(weights, gradient[some, rows], transpose_x=True)
                of_scores = paddle.matmul(signed_gradient[some, rows], value[some], transpose_y=True)
                of_scores.multiply_(weights)
                queries.append(paddle.matmul(of_scores, key[some]))
                keys = paddle.matmul(of_scores, query[some, rows], transpose_x=True)
                if row == 0:
                    of_key.append(keys)
                    of_value.append(values)
                else:
                    of_key[-1].add_(keys)
                    of_value[-1].add_(values)
            of_query.append(_joined(queries, 1))
        # A bias and its ones are a column behind the others.
        found = _joined(of_query, 0)[:, :, :d], _joined(of_key, 0)[:, :, :d], _joined(of_value, 0)
        return tuple(x if learns else None for x, learns in zip(found, ctx.learn, strict=True))


def _pieces(query: paddle.Tensor, key: paddle.Tensor) -> Iterator[tuple[slice, list[slice]]]:
    """Which of n, and which of their queries, make `PIECE` scores at a time: several of n whole, or parts of one."""
    n, queries, keys = query.shape[0], query.shape[1], key.shape[1]
    rows = max(1, min(queries, PIECE // keys))
    size = max(1, PIECE // (queries * keys))
    for start in range(0, n, size):
        yield (
            slice(start, min(start + size, n)),
            [slice(row, min(row + rows, queries)) for row in range(0, queries, rows)],
        )


def _with_ones(x: paddle.Tensor) -> paddle.Tensor:
    """(n, tokens, d) -> (n, tokens, d + 1)."""
    return paddle.concat([x, paddle.ones([*x.shape[:2], 1], x.dtype)], 2)


def _largest_norm(x: paddle.Tensor) -> paddle.Tensor:
    return (x * x).sum(-1).max().sqrt()


def _joined(parts: list[paddle.Tensor], axis: int) -> paddle.Tensor:
    return parts[0] if len(parts) == 1 else paddle.concat(parts, axis)
