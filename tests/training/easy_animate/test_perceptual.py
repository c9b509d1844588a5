"""LPIPS: the public files of its two parts, and what it says of equal and of different pictures."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training.easy_animate.autoencoder import read_perceptual
from ppdiffusers_ext.training.easy_animate.autoencoder_options import VideoVaeArguments
from ppdiffusers_ext.weights.writing import write_torch

# Of torchvision's `features`: number of the convolution -> channels.
VGG16 = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256}
VGG16 |= {17: 512, 19: 512, 21: 512, 24: 512, 26: 512, 28: 512}
LENGTHS = (64, 128, 256, 512, 512)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files with the names of torchvision's VGG16 and of LPIPS's own weights."""
    folder, rng, inputs, tensors = tmp_path_factory.mktemp("lpips"), np.random.default_rng(0), 3, {}
    for number, channels in VGG16.items():
        weight = rng.standard_normal((channels, inputs, 3, 3), np.float32) * (2 / (9 * inputs)) ** 0.5
        tensors |= {f"features.{number}.weight": weight, f"features.{number}.bias": np.zeros(channels, np.float32)}
        inputs = channels
    tensors |= {"classifier.0.weight": np.zeros((4, 8), np.float32), "classifier.6.bias": np.zeros(4, np.float32)}
    write_torch(folder / "vgg16-397923af.pth", tensors)
    linear = {f"lin{i}.model.1.weight": np.full((1, n, 1, 1), 0.1, np.float32) for i, n in enumerate(LENGTHS)}
    write_torch(folder / "vgg.pth", linear)
    return folder


@pytest.fixture(scope="module")
def perceptual(folder):
    return read_perceptual(VideoVaeArguments(perceptual=str(folder)))


def test_public_files_are_read_and_stay_as_they_are(perceptual):
    assert all(parameter.stop_gradient for parameter in perceptual.parameters())
    assert float(perceptual.lin4.model[1].weight.mean()) == pytest.approx(0.1)
    assert len(perceptual.state_dict()) == 2 * len(VGG16) + len(LENGTHS)


def test_distance_is_nothing_between_equal_pictures_and_grows_with_noise(perceptual):
    rng = np.random.default_rng(1)
    pictures = rng.uniform(-1, 1, (2, 3, 32, 48)).astype(np.float32)
    noise = rng.standard_normal(pictures.shape).astype(np.float32)
    one = paddle.to_tensor(pictures)
    distances = [perceptual(one, paddle.to_tensor(pictures + part * noise)).numpy() for part in (0, 0.05, 0.5)]
    assert distances[0].tolist() == [0, 0]
    assert (distances[0] < distances[1]).all() and (distances[1] < distances[2]).all()


def test_distance_is_of_each_picture_by_itself(perceptual):
    one, other = (paddle.to_tensor(np.random.default_rng(i).random((3, 3, 32, 32), np.float32)) for i in (0, 1))
    together = perceptual(one, other).numpy()
    alone = [float(perceptual(one[i : i + 1], other[i : i + 1])) for i in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_another_network_in_the_place_of_vgg_is_refused(folder, tmp_path):
    for name in ("vgg16-397923af.pth", "vgg.pth"):
        (tmp_path / name).symlink_to(folder / "vgg.pth")
    with pytest.raises(InputError, match="does not hold the weights of this LPIPS: 26 tensors missing"):
        read_perceptual(VideoVaeArguments(perceptual=str(tmp_path)))


def test_no_weight_and_none_need_no_files():
    assert read_perceptual(VideoVaeArguments(perceptual="none")) is None
    assert read_perceptual(VideoVaeArguments(perceptual="nowhere", perceptual_weight=0.0)) is None
