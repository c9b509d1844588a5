"""Turned squares: there and back, what is in them, and when one counts as another."""

import math

import numpy as np
import pytest

from ppdiffusers_ext.preprocess.blaze.regions import (
    DOWN,
    RIGHT,
    UP,
    Region,
    Tolerance,
    around,
    direction,
    enclosing,
    steady,
    whole,
)

RANDOM = np.random.default_rng(0)
REGIONS = [
    Region(RANDOM.uniform(0, 200, 2), RANDOM.uniform(20, 300), RANDOM.uniform(-math.pi, math.pi)) for _ in range(20)
]


@pytest.mark.parametrize("region", REGIONS)
def test_points_come_back(region):
    points = RANDOM.uniform(-1, 2, (7, 2))
    assert region.to_region(region.to_frame(points)) == pytest.approx(points)


@pytest.mark.parametrize("region", REGIONS)
def test_crop_shows_a_dot_where_its_coordinates_are(region):
    place = region.to_frame(np.array([0.3, 0.7]))
    y, x = np.mgrid[:260, :260]
    frame = 255 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * (region.size / 15) ** 2))
    crop = region.crop(np.repeat(frame[..., None], 3, axis=2).astype(np.uint8), 64)[..., 0]
    row, column = np.unravel_index(crop.argmax(), crop.shape)
    is_inside = (place > 5).all() and (place < 255).all()
    assert not is_inside or (abs(column - 0.3 * 64) <= 1.5 and abs(row - 0.7 * 64) <= 1.5)


def test_outside_of_a_frame_is_black_or_as_its_edge():
    frame = np.full((20, 40, 3), 255, np.uint8)
    assert whole(frame).crop(frame, 40).min() == 1
    padded = whole(frame).crop(frame, 40, low=-1, is_replicated=False)
    assert padded[0].max() == -1 and padded[20].min() == 1


@pytest.mark.parametrize("toward", [UP, RIGHT, DOWN])
@pytest.mark.parametrize("angle", [0, 0.5, 2, -3])
def test_direction_is_the_turn_after_which_a_way_points_there(toward, angle):
    region = Region(np.zeros(2), 1.0, angle)
    way = {UP: (0.5, 0), RIGHT: (1, 0.5), DOWN: (0.5, 1)}[toward]
    assert direction(region.center, region.to_frame(np.array(way)), toward) == pytest.approx(angle)


def test_circle_fills_its_region():
    region = around(np.array([50.0, 60.0]), np.array([50.0, 20.0]), UP, 1.25)
    assert (region.size, region.angle) == (100, 0)


def test_shift_goes_along_the_turned_axis():
    region = Region(np.zeros(2), 10.0, math.pi / 2).scaled(2, 0.5)
    assert region.center == pytest.approx([-5, 0]) and region.size == 20


def test_enclosing_region_has_level_eyes_and_all_points():
    points = np.array([[10.0, 10], [30, 20], [20, 40]])
    region = enclosing(points, points[0], points[1], 2.0)
    assert region.angle == pytest.approx(math.atan2(10, 20)) and region.size == 60
    assert region.center == pytest.approx([20, 25])


@pytest.mark.parametrize(
    "change, holds",
    [({"angle": 0.1}, True), ({"angle": 0.3}, False), ({"size": 104.0}, True), ({"size": 130.0}, False)],
)
def test_region_stays_while_the_new_one_hardly_differs(change, holds):
    last = Region(np.array([50.0, 50]), 100.0, 2 * math.pi)
    new = Region(**{"center": np.array([52.0, 50]), "size": 100.0, "angle": 0.0, **change})
    allowed = Tolerance(turn=10, move=0.05, growth=0.1, inset=0.8)
    assert (steady(last, new, allowed) is last) == holds
    assert steady(last, new, allowed, np.array([[5.0, 50]])) is new, "what was seen is at its edge"
    assert steady(last, Region(np.array([60.0, 50]), 100.0), allowed) is not last


def test_region_without_extent_is_not_usable():
    assert not Region(np.zeros(2), 0.0).is_usable() and not Region(np.array([np.nan, 0]), 9.0).is_usable()
