"""Attention that forgets its scores: its results and gradients beside the plain formula, whatever the pieces."""

from pathlib import Path

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.models import eager_attention, layers


def inputs(scale=1.0, queries=7, keys=5, d=4):
    random = np.random.default_rng(0)
    shapes = [(3, 2, queries, d), (3, 2, keys, d), (3, 2, keys, d), (3, 2, queries, d)]
    return [random.standard_normal(shape) * (scale if i < 2 else 1) for i, shape in enumerate(shapes)]


def plainly(query, key, value, gradient, bias=0.0):
    """Output and gradients of query, key and value in float64."""
    scores = query @ key.swapaxes(-1, -2) + bias
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    out = weights @ value
    of_weights = gradient @ value.swapaxes(-1, -2)
    of_scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdims=True))
    return out, of_scores @ key, of_scores.swapaxes(-1, -2) @ query, weights.swapaxes(-1, -2) @ gradient


def ours(query, key, value, gradient, bias=None):
    tensors = [paddle.to_tensor(x, "float32", stop_gradient=False) for x in (query, key, value)]
    out = eager_attention.attend(*tensors, None if bias is None else paddle.to_tensor(bias, "float32"))
    out.backward(paddle.to_tensor(gradient, "float32"))
    return [out.numpy(), *(x.grad.numpy() for x in tensors)]


def assert_equal(found, expected, scores=10.0):
    """Up to what fp32 keeps of scores of such a size, as exponents of the weights."""
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=3e-7 * scores * max(1, np.abs(other).max()))


# 7 queries and 5 keys: 35 scores of a head, 210 of all.
@pytest.mark.parametrize("piece", [1, 5, 12, 34, 35, 69, 70, 104, 105, 210, 10**6])
@pytest.mark.parametrize("is_biased", [False, True])
def test_output_and_gradients_are_those_of_the_formula(monkeypatch, piece, is_biased):
    monkeypatch.setattr(eager_attention, "PIECE", piece)
    given = inputs()
    bias = np.random.default_rng(1).standard_normal((3, 5)) if is_biased else None
    expected = plainly(*given, 0 if bias is None else bias[:, None, None])
    assert_equal(ours(*given, bias), expected)


@pytest.mark.parametrize("scale", [1e-3, 3.0, 10.0, 30.0])
def test_scores_of_any_size_neither_overflow_nor_vanish(scale):
    """Scores up to some thousands: exponentials of them are infinite, and of their differences 0."""
    given = inputs(scale)
    assert_equal(ours(*given), plainly(*given), scores=10 * max(1, scale) ** 2)


def test_scores_beyond_what_is_safe_take_the_careful_way(monkeypatch):
    given = inputs(3.0)
    expected = plainly(*given)
    for safe in (0.0, 1e9):
        monkeypatch.setattr(eager_attention, "SAFE_SCORE", safe)
        assert_equal(ours(*given), expected, scores=100.0)


def test_what_keys_have_in_common_changes_nothing():
    """Such as the bias of a layer that makes keys: 1,000 in each number, which would make each score unsafe."""
    query, key, value, gradient = inputs()
    expected = plainly(query, key, value, gradient)
    found = ours(query, key + 1000, value, gradient)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)  # what fp32 keeps of a key beside 1,000


def test_keys_that_are_masked_have_no_weight_and_no_gradient():
    given = inputs()
    bias = np.where(np.arange(5) < 3, 0.0, -10000.0) * np.ones((3, 1))
    out, _, of_key, of_value = ours(*given, bias)
    short = [given[0], given[1][:, :, :3], given[2][:, :, :3], given[3]]
    expected = plainly(*short)
    assert_equal([out, of_key[:, :, :3], of_value[:, :, :3]], [expected[0], expected[2], expected[3]])
    assert np.abs(of_key[:, :, 3:]).max() < 1e-30
    assert np.abs(of_value[:, :, 3:]).max() < 1e-30


def test_samples_all_of_whose_keys_are_masked_see_all_alike():
    given = inputs()
    assert_equal(ours(*given, np.full((3, 5), -10000.0)), plainly(*given), scores=10000.0)


def test_inputs_without_gradient_get_none():
    query, key, value, _ = (paddle.to_tensor(x, "float32") for x in inputs())
    value.stop_gradient = False
    eager_attention.attend(query, key, value).sum().backward()
    assert query.grad is None
    assert key.grad is None
    assert value.grad is not None


def test_no_piece_has_more_scores_than_allowed(monkeypatch):
    sizes, exponential = [], paddle.Tensor.exp_
    monkeypatch.setattr(eager_attention, "PIECE", 40)
    monkeypatch.setattr(paddle.Tensor, "exp_", lambda x: sizes.append(x.size) or exponential(x))
    ours(*inputs())
    assert max(sizes) <= 40
    assert sum(sizes) == 2 * 210  # once more in the backward pass


def test_scores_are_not_kept_for_the_gradient():
    """Those of 128 heads would be 2 million numbers; what is kept are tensors of the tokens."""
    kept = []
    tokens = paddle.ones([1, 128, 512])
    tokens.stop_gradient = False
    with paddle.autograd.saved_tensors_hooks(lambda x: kept.append(x.size) or x, lambda x: x):
        layers.scaled_dot_product(tokens, tokens, tokens, num_heads=128)
    assert max(kept) <= 128 * 128 * 5


def test_result_that_no_gradient_goes_through_is_given_back():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def attend():
        x = paddle.randn([2, 4, 512, 64])  # 1 MB, as each of what is kept for the gradient
        x.stop_gradient = False
        eager_attention.attend(x, x, x)

    for _ in range(20):
        attend()
    before = resident()
    for _ in range(60):
        attend()
    assert resident() - before < 60e6
