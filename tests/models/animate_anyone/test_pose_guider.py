"""The pose guider: pose pictures in, features of the latents' size out."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.models.animate_anyone import PoseGuider


def randn(*shape, seed=0):
    return paddle.to_tensor(np.random.RandomState(seed).randn(*shape).astype("float32"))


@paddle.no_grad()
def test_features_are_eight_times_smaller(pose_guider):
    assert pose_guider(randn(2, 3, 3, 24, 40)).shape == [2, 32, 3, 3, 5]


@paddle.no_grad()
def test_frames_and_samples_are_independent(pose_guider):
    x = randn(2, 3, 3, 16, 16)
    one = pose_guider(x[1:, :, 2:])
    np.testing.assert_allclose(pose_guider(x)[1:, :, 2:], one, atol=1e-6)


@paddle.no_grad()
def test_features_depend_on_the_pose(pose_guider):
    difference = pose_guider(randn(1, 3, 1, 16, 16, seed=1)) - pose_guider(randn(1, 3, 1, 16, 16, seed=2))
    assert float(difference.abs().max()) > 1e-3


@paddle.no_grad()
def test_fresh_guider_has_no_influence():
    paddle.seed(0)
    assert float(PoseGuider(16)(randn(1, 3, 1, 16, 16)).abs().max()) == 0


def test_default_widths_are_those_of_the_released_weights():
    guider = PoseGuider()
    assert guider.conv_out.weight.shape == [320, 256, 3, 3]
    assert [block.weight.shape[0] for block in guider.blocks] == [16, 32, 32, 96, 96, 256]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@paddle.no_grad()
def test_half_precision_pictures_give_features_of_their_dtype(pose_guider, dtype):
    x = randn(1, 3, 2, 16, 16)
    out = pose_guider(x.astype(dtype))
    assert out.dtype == getattr(paddle, dtype)
    np.testing.assert_allclose(out.astype("float32"), pose_guider(x), atol=0.05)


def test_gradient_reaches_every_parameter(make_pose_guider):
    guider = make_pose_guider()
    (guider(randn(1, 3, 2, 16, 16)) ** 2).sum().backward()
    assert [name for name, p in guider.named_parameters() if p.grad is None or float(p.grad.abs().max()) == 0] == []
