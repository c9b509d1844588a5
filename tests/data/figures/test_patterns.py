from dataclasses import replace

import numpy as np

from ppdiffusers_ext.data.figures.bodies import PATTERNS, random_body
from ppdiffusers_ext.data.figures.patterns import on_limb, on_trunk

BODY = replace(random_body(np.random.default_rng(0)), top="long sleeves", bottom="trousers", bottom_pattern="plain")


def is_color(colors, color):
    return (np.abs(colors - color) < 1e-3).all(axis=-1)


def test_each_pattern_shows_both_colours_of_a_top_and_lies_elsewhere():
    places = np.random.default_rng(0).uniform((0.25, -np.pi), (0.6, np.pi), (4000, 2))
    masks = {}
    for name in PATTERNS:
        colors = on_trunk(replace(BODY, pattern=name))(places)
        masks[name] = is_color(colors, BODY.colors[1])
        assert (masks[name] | is_color(colors, BODY.colors[0])).all()
    assert masks["plain"].sum() == 0
    assert all(0.02 < masks[name].mean() < 0.6 for name in PATTERNS if name != "plain")
    assert len({mask.tobytes() for mask in masks.values()}) == len(PATTERNS)


def test_a_neck_is_bare_in_front_and_trousers_begin_below_the_belt():
    paint = on_trunk(replace(BODY, pattern="plain"))
    front, back, low = paint(np.array([[0.09, 0.0], [0.09, np.pi], [0.95, 0.3]]))
    assert is_color(front, BODY.skin) and is_color(back, BODY.colors[0]) and is_color(low, BODY.colors[2])


def test_a_sleeve_ends_where_it_should():
    red, blue, skin = (np.array(color, np.float32) for color in ((255, 0, 0), (0, 0, 255), (200, 150, 120)))
    t = np.linspace(0, 1, 101)
    colors = on_limb(red, blue, "plain", skin, 0.55)(t)
    np.testing.assert_array_equal(is_color(colors, skin), t >= 0.55)
    assert on_limb(red, blue, "stripes", skin, 0) is skin and on_limb(red, blue, "plain", skin, 1) is red
    striped = on_limb(red, blue, "stripes", skin, 2)(t)
    assert is_color(striped, blue).any() and (is_color(striped, blue) | is_color(striped, red)).all()
