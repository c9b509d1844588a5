"""Where hands are looked for."""

import math

import numpy as np
import pytest

from ppdiffusers_ext.preprocess.blaze.hands import region_from_body, region_from_hand, region_from_recrop
from ppdiffusers_ext.preprocess.blaze.regions import Region


def test_region_from_the_body_is_around_the_knuckles():
    region = region_from_body(np.array([50.0, 90]), np.array([40.0, 60]), np.array([55.0, 60]))
    assert region.size == pytest.approx(2 * 30 * 2.7) and region.angle == pytest.approx(0)
    assert region.center == pytest.approx([50, 60 - 0.1 * 60])


def test_wrist_on_the_knuckles_gives_no_usable_region():
    assert not region_from_body(*np.full((3, 2), 50.0)).is_usable()


def test_recrop_gives_centre_and_a_point_toward_the_wrist():
    rough = Region(np.array([100.0, 100]), 128.0)
    region = region_from_recrop(rough, np.array([128.0, 128, 128, 192]))
    assert region.size == pytest.approx(64) and region.angle == pytest.approx(0)
    assert region.center == pytest.approx([100, 100 - 6.4])


@pytest.mark.parametrize("angle", [-2.5, -0.4, 0, 1.0, 3.0])
def test_region_of_a_known_hand_turns_with_it(angle):
    hand = np.random.default_rng(0).uniform(40, 60, (21, 2))
    hand[0] = 50, 90
    turn = Region(np.array([50.0, 50]), 100.0, angle)
    turned = turn.to_frame(hand / 100)
    one, other = region_from_hand(hand), region_from_hand(turned)
    assert other.size == pytest.approx(one.size)
    assert other.center == pytest.approx(turn.to_frame(one.center / 100))
    assert math.remainder(other.angle - one.angle - angle, 2 * math.pi) == pytest.approx(0, abs=1e-9)
