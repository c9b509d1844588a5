"""LPIPS: what a distance has to be, and names of the published files. Its numbers are compared in test_parity."""

from pathlib import Path

import numpy as np
import paddle
import pytest
from scipy.ndimage import gaussian_filter

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.metrics import LPIPS
from ppdiffusers_ext.weights.conversion import names_in_model
from tests.support.golden import Case

GOLDENS = Path(__file__).parents[2] / "goldens" / "metrics"


@pytest.fixture(scope="module")
def network():
    return Case(GOLDENS / "lpips_alex").fill("lpips", LPIPS("alex"))


@pytest.fixture(scope="module")
def picture():
    rng = np.random.RandomState(0)
    return np.kron(rng.uniform(-1, 1, (3, 8, 6)), np.ones((1, 8, 8))).astype(np.float32)[None]  # (1, 3, 64, 48)


@paddle.no_grad()
def distance(network, a, b):
    return network(paddle.to_tensor(a), paddle.to_tensor(b)).tolist()[0]


def test_the_same_picture_has_no_distance(network, picture):
    assert distance(network, picture, picture) == 0


def test_distance_is_the_same_both_ways(network, picture):
    other = picture[:, :, ::-1].copy()
    assert distance(network, picture, other) == distance(network, other, picture) > 0


def test_distance_grows_with_noise(network, picture):
    noise = np.random.RandomState(1).standard_normal(picture.shape).astype(np.float32)
    distances = [distance(network, picture, picture + part * noise) for part in (0, 0.05, 0.1, 0.2, 0.4)]
    assert distances == sorted(set(distances))


def test_distance_grows_with_blur(network, picture):
    blurred = [gaussian_filter(picture, (0, 0, sigma, sigma)) for sigma in (0.5, 1, 2, 4)]
    distances = [distance(network, picture, other) for other in blurred]
    assert distances == sorted(set(distances)) and distances[0] > 0


def test_map_of_a_change_is_largest_where_it_is(network, picture):
    changed = picture.copy()
    changed[:, :, 40:56, 32:48] *= -1
    with paddle.no_grad():
        found = network.spatial(paddle.to_tensor(picture), paddle.to_tensor(changed))[0].numpy()
    assert found.shape == (64, 48)
    assert found[40:56, 32:48].mean() > 5 * found[:24, :16].mean()


def test_pictures_of_two_sizes_are_refused(network, picture):
    with pytest.raises(InputError, match=r"\[1, 3, 64, 48\] and \[1, 3, 64, 40\]; the same shape is needed"):
        distance(network, picture, picture[:, :, :, :40])


@pytest.mark.parametrize("net, side", [("alex", 31), ("vgg", 16)])
def test_smallest_picture_is_taken_and_a_smaller_one_refused(net, side):
    network, small = LPIPS(net), paddle.zeros([1, 3, side, side])
    with paddle.no_grad():
        assert float(network(small, small)) == 0
        with pytest.raises(InputError, match=f"{side - 1}x{side} pixels; sides of {side} or more"):
            network(small[:, :, :, 1:], small[:, :, :, 1:])


def test_unknown_trunk_is_refused():
    with pytest.raises(InputError, match="no trunk 'squeeze'; alex or vgg is accepted"):
        LPIPS("squeeze")


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_names_are_those_of_lpips_and_of_torchvision(net):
    network, any_tensor = LPIPS(net), paddle.zeros([1])
    numbers = sorted({name.split(".")[1] for name in network.state_dict() if name.startswith("net.")}, key=int)
    heads = [f"lin{i}.model.1.weight" for i in range(5)]
    sliced = [f"net.slice{i}.{number}.{kind}" for i, number in enumerate(numbers) for kind in ("weight", "bias")]
    whole = [f"features.{number}.{kind}" for number in numbers for kind in ("weight", "bias")]
    of_package = [*sliced, *heads, *(f"lins.{i}.model.1.weight" for i in range(5)), "scaling_layer.shift"]
    of_trunk = [*whole, *heads, "classifier.6.weight"]
    for names in (of_package, of_trunk):
        found = names_in_model(network, dict.fromkeys(names, any_tensor))
        assert sorted(found.values()) == sorted(network.state_dict())
