"""The discriminators' layers against the operations that they stand for, and the weights that they start from."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from ppdiffusers_ext.models.easy_animate.discriminators import Discriminator3D, NLayerDiscriminator, _BlurPooling
from ppdiffusers_ext.weights.conversion import names_in_model


@pytest.fixture(scope="module")
def of_frames():
    paddle.seed(0)
    return NLayerDiscriminator()


@pytest.mark.parametrize("shape", [(2, 3, 4, 6, 8), (1, 2, 1, 5, 7), (1, 2, 3, 1, 2)])
def test_blur_pooling_is_a_convolution_with_the_products_of_1_2_1(shape):
    line = np.array([0.25, 0.5, 0.25], np.float32)
    kernel = np.einsum("i,j,k->ijk", line, line, line)
    x = paddle.to_tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    filters = paddle.to_tensor(np.tile(kernel, (shape[1], 1, 1, 1, 1)))
    expected = F.conv3d(x, filters, stride=2, padding=1, groups=shape[1])
    np.testing.assert_allclose(_BlurPooling()(x).numpy(), expected.numpy(), atol=1e-6)


def test_logits_are_of_patches(of_frames):
    assert of_frames(paddle.zeros([3, 3, 64, 40])).shape == [3, 1, 6, 3]
    assert Discriminator3D()(paddle.zeros([2, 3, 9, 24, 40])).shape == [2, 1, 2, 3, 5]


def test_running_variance_is_unbiased_as_torchs(of_frames):
    norm = type(of_frames.main[3])(128)
    x = paddle.to_tensor(np.random.default_rng(0).standard_normal((2, 128, 2, 2)).astype(np.float32))
    norm(x)
    expected = 0.9 + 0.1 * x.numpy().transpose(1, 0, 2, 3).reshape(128, -1).var(axis=1, ddof=1)
    np.testing.assert_allclose(norm._variance.numpy(), expected, rtol=1e-5)


def test_first_weights_are_the_originals(of_frames):
    for network in (of_frames, Discriminator3D()):
        for name, parameter in network.named_parameters():
            if name.endswith(".weight") and parameter.ndim > 1:
                assert float(parameter.std()) == pytest.approx(0.02, rel=0.1), name
                assert abs(float(parameter.mean())) < 0.002
            elif name.endswith(".bias") and "norm" not in name and parameter.size > 200:
                assert float(parameter.abs().max()) < 1  # uniform, within the inverse root of the inputs
    norms = [layer for layer in of_frames.sublayers() if hasattr(layer, "_mean")]
    assert [float((norm.weight - 1).abs().mean()) < 0.05 for norm in norms] == [True] * 3


def test_names_of_published_files_are_found(of_frames):
    published = ["main.0.weight", "main.3.running_mean", "main.3.running_var", "main.3.num_batches_tracked"]
    assert names_in_model(of_frames, dict.fromkeys(published)) == {
        "main.0.weight": "main.0.weight",
        "main.3.running_mean": "main.3._mean",
        "main.3.running_var": "main.3._variance",
    }
    published = ["blocks.0.downsampler.filt", "blocks.0.shortcut.0.filt", "blocks.0.shortcut.1.weight", "conv_in.bias"]
    found = names_in_model(Discriminator3D(), dict.fromkeys(published))
    assert list(found.values()) == ["blocks.0.shortcut.1.weight", "conv_in.bias"]
