"""I3D: TensorFlow's padding, the variants, and clips that it does not take. Numbers are compared in test_parity."""

import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.metrics import InceptionI3d
from ppdiffusers_ext.models.metrics.i3d import VARIANTS, _same


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("kernel, stride", [(7, 2), (3, 2), (2, 2), (3, 1), (1, 1)])
def test_padding_is_what_tensorflow_says_of_same(size, kernel, stride):
    before, after = _same([size], [kernel], [stride])
    output = -(-size // stride)  # rounded up
    assert before + after == max((output - 1) * stride + kernel - size, 0)
    assert after - before in (0, 1)


@pytest.fixture(scope="module")
def networks():
    """Of the variants, with few of the channels' values: only shapes are looked at."""
    made = {name: InceptionI3d(**options) for name, options in VARIANTS.items()}
    for network in made.values():
        network.eval()
    return made


@paddle.no_grad()
def shape(network, frames, side):
    return list(network(paddle.zeros([1, 3, frames, side, side])).shape)


@pytest.mark.long
def test_each_variant_takes_its_lengths(networks):
    assert shape(networks["disco"], 1, 193) == [1, 400]
    assert shape(networks["videogpt"], 9, 193) == [1, 400]
    assert shape(networks["piergiaj"], 17, 193) == [1, 400, 2]


@pytest.mark.parametrize("name, frames, side, least", [("disco", 1, 32, 1), ("videogpt", 8, 32, 9)])
def test_clip_that_does_not_fit_is_refused_in_words(networks, name, frames, side, least):
    with pytest.raises(InputError, match=f"{frames} frames of {side}x{side} pixels; {least} frames or more"):
        shape(networks[name], frames, side)


@pytest.mark.long
def test_too_short_a_clip_is_refused_where_the_pool_takes_two_steps(networks):
    with pytest.raises(InputError, match="8 frames of 193x193 pixels; 9 frames or more"):
        shape(networks["videogpt"], 8, 193)


@pytest.mark.parametrize("options", [{"avg_pool": (3, 7, 7)}, {"avg_pool": (1, 7, 5)}, {"bn_eps": 0.0}])
def test_other_options_are_refused(options):
    with pytest.raises(InputError, match="of I3D"):
        InceptionI3d(**options)


def test_variants_are_told_apart_in_what_identifies_a_network(networks):
    assert len({str(network.config) for network in networks.values()}) == len(VARIANTS)
