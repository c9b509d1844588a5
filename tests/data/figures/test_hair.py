from dataclasses import replace

import numpy as np
import pytest

from ppdiffusers_ext.data.figures import parts
from ppdiffusers_ext.data.figures.bodies import HAIR_STYLES, random_body
from ppdiffusers_ext.data.figures.cameras import random_camera
from ppdiffusers_ext.data.figures.hair import draw_hair
from ppdiffusers_ext.data.figures.heads import draw_head
from ppdiffusers_ext.data.figures.motions import standing
from ppdiffusers_ext.data.figures.pens import Pen
from ppdiffusers_ext.data.figures.postures import place_joints
from ppdiffusers_ext.data.figures.surfaces import Canvas


def seen(style, yaw, draw):
    """The canvas' parts of a head that is turned by `yaw`, and the row of its chin."""
    body = replace(random_body(np.random.default_rng(0)), hair_style=style)
    posture = standing(np.random.default_rng(0), yaw)
    joints = place_joints(body, posture)
    camera = replace(random_camera(np.random.default_rng(0), is_close=True), move="still", yaw=0.0)
    view, canvas = camera.lowered(body.height).view(0, 0, 128, 128), Canvas(128, 128)
    draw(Pen(canvas, view), body, joints, posture)
    chin = view.project(joints.skull - joints.head[1] * body.head[1])[0][1]
    return canvas.part, chin


@pytest.mark.parametrize("style", HAIR_STYLES)
def test_hair_covers_the_back_of_a_head_and_leaves_the_face_free(style):
    front, back = (seen(style, yaw, draw_head)[0] for yaw in (0.0, np.pi))
    shares = [(part == parts.HAIR).sum() / np.isin(part, (parts.HAIR, parts.HEAD)).sum() for part in (front, back)]
    if style == "bald":
        assert shares == [0, 0]
    else:
        assert 0.1 < shares[0] < 0.65 < shares[1] - 0.05


def test_long_hair_hangs_below_the_chin():
    def hair_alone(pen, body, joints, posture):
        draw_hair(pen, body, joints)

    below = {}
    for style in ("short", "bob", "long", "ponytail", "bun"):
        part, chin = seen(style, np.pi, hair_alone)
        below[style] = (np.nonzero(part)[0].max() - chin) / 2
    assert below["long"] > 8 and below["long"] > below["bob"] > below["short"]
    assert below["ponytail"] > 0 > below["short"] and below["bun"] < 0
