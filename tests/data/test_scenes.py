"""Drawn people whose colours and motion are named."""

import numpy as np
import pytest

from ppdiffusers_ext.data.scenes import COLORS, MOTIONS, STYLES, Scene, draw_scene


@pytest.mark.parametrize("style", STYLES)
def test_clip_follows_from_the_seed_alone(style):
    scene = Scene("red", "blue", "wave")
    first, second = (draw_scene(scene, (1, 2), 3, 48, style) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (3, 48, 48, 3) and first.dtype == np.uint8
    assert (draw_scene(scene, (1, 3), 3, 48, style) != first).any()
    np.testing.assert_array_equal(draw_scene(scene, (1, 2), 5, 48, style)[:3], first)


def test_walls_have_the_named_colour_and_nights_are_dark_and_blue_with_a_moon():
    for name, color in COLORS.items():
        shirt = "red" if name != "red" else "blue"
        day, night = (draw_scene(Scene(shirt, name, "stand"), 5, 1, 64, style)[0].astype(int) for style in STYLES)
        assert np.abs(day[20, 2] - color).max() < 0.17 * 255
        assert night[20, 2].sum() < 0.6 * day[20, 2].sum()
        assert night[4:14, 48:58].max() > 230


def test_only_those_who_stand_do_not_move_and_only_those_who_walk_go_away():
    for motion in MOTIONS:
        frames = draw_scene(Scene("red", "white", motion), 9, 20, 64).astype(int)
        change = np.abs(np.diff(frames, axis=0)).sum(axis=3).max(axis=(1, 2))
        assert ((change > 60).mean() > 0.6) == (motion != "stand") and (change.any() or motion == "stand")
        red = (frames[..., 0] - frames[..., 1] > 100) & (frames[..., 2] < 110)
        middles = [np.nonzero(mask)[1].mean() for mask in red]
        assert (middles[-1] - middles[0] > 16) == (motion == "walk")
