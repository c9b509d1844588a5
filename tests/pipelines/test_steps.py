"""Classifier-free guidance."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.pipelines.steps import guide

UNCONDITIONAL = paddle.to_tensor([[1.0, 2.0], [0.0, -1.0]])
CONDITIONAL = paddle.to_tensor([[3.0, 2.0], [1.0, 4.0]])


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (0.0, [[1, 2], [0, -1]]),
        (1.0, [[3, 2], [1, 4]]),
        (3.5, [[8, 2], [3.5, 16.5]]),
    ],
)
def test_prediction_moves_from_the_unconditional_through_the_conditional(scale, expected):
    np.testing.assert_allclose(guide(UNCONDITIONAL, CONDITIONAL, scale), expected)
