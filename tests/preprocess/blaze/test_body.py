"""Refinement by heat maps, and when two bodies are one."""

from dataclasses import replace

import numpy as np
import pytest

from ppdiffusers_ext.preprocess.blaze.body import POINTS, Body, refine
from ppdiffusers_ext.preprocess.blaze.regions import Region


def heat(places, peak):
    """(n, 64, 64) logits of a bump around each place in cells."""
    y, x = np.mgrid[:64, :64]
    return np.stack([peak - 1.5 * ((x - px) ** 2 + (y - py) ** 2) for px, py in places])


def test_points_go_where_their_heat_maps_are_sure():
    points = np.array([[30.9, 20.2], [30.9, 20.2], [2.0, 62.0]]) / 64
    refined = refine(points, heat([(32, 21), (32, 21), (0, 63)], 3.0)) * 64
    assert refined[0] == pytest.approx([32, 21], abs=0.2)
    assert refined[2] == pytest.approx([0.5, 62.5], abs=0.3), "the window is smaller at the edge"


@pytest.mark.parametrize("place, peak", [((32, 21), -0.1), ((50, 50), 3.0)])
def test_unsure_and_far_heat_maps_change_nothing(place, peak):
    points = np.array([[30.9, 20.2]]) / 64
    assert (refine(points, heat([place], peak)) == points).all()


def test_points_outside_stay():
    points = np.array([[-0.1, 0.5], [0.5, 1.0], [7.0, 7.0]])
    assert (refine(points, np.full((3, 64, 64), 9.0)) == points).all()


def test_bodies_are_one_if_their_trunks_are_in_one_place():
    points = np.random.default_rng(0).uniform(100, 400, (POINTS, 2))
    body = Body(points, np.ones(POINTS), 1.0, Region(np.array([250.0, 250]), 500.0))
    assert body.is_same_as(replace(body, points=points + 20))
    assert not body.is_same_as(replace(body, points=points + (150, 0)))
