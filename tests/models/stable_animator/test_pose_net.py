"""The pose net: skeleton pictures in, features of the latents' size out."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.models.stable_animator import PoseNet


def randn(*shape, seed=0):
    return paddle.to_tensor(np.random.RandomState(seed).randn(*shape).astype("float32"))


@pytest.fixture
def pose_net():
    paddle.seed(0)
    network = PoseNet(32)
    for parameter in network.final_proj.parameters():
        parameter.set_value(paddle.randn(parameter.shape))
    return network


@paddle.no_grad()
def test_features_are_eight_times_smaller_and_frames_in_a_row(pose_net):
    x = randn(2, 3, 3, 24, 40)
    out = pose_net(x)
    assert out.shape == [6, 32, 3, 5]
    np.testing.assert_allclose(pose_net(x[1, 2:]), out[5:], atol=1e-6)


@paddle.no_grad()
def test_fresh_network_has_no_influence():
    assert float(PoseNet(16)(randn(1, 3, 16, 16)).abs().max()) == 0
    assert PoseNet(16).scale.item() == 2.0


def test_default_width_is_that_of_the_released_weights():
    assert PoseNet().final_proj.weight.shape == [320, 128, 1, 1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@paddle.no_grad()
def test_half_precision_is_nearly_the_same(pose_net, dtype):
    x = randn(1, 3, 16, 16)
    expected = pose_net(x)
    out = pose_net.to(dtype=dtype)(x.astype(dtype))
    assert out.dtype == getattr(paddle, dtype)
    np.testing.assert_allclose(out.astype("float32"), expected, atol=0.02 * float(expected.abs().max()))


def test_gradient_reaches_every_parameter(pose_net):
    (pose_net(randn(1, 2, 3, 16, 16)) ** 2).sum().backward()
    parameters = pose_net.named_parameters()
    assert [name for name, p in parameters if p.grad is None or float(p.grad.abs().max()) == 0] == []


def test_saved_network_is_the_same(pose_net, tmp_path):
    pose_net.save_pretrained(str(tmp_path))
    loaded = PoseNet.from_pretrained(str(tmp_path))
    assert np.array_equal(loaded(randn(1, 3, 16, 16)), pose_net(randn(1, 3, 16, 16)))
