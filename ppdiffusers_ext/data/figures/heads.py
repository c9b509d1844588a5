"""Heads: skull and jaw with a face painted on them, ears and nose; and the 68 points of a face.

A face's coordinates are u to the person's left and v up, in half widths and half heights of the skull, projected
from the front.
"""

from collections.abc import Callable

import numpy as np

from ppdiffusers_ext.data.figures.bodies import Body
from ppdiffusers_ext.data.figures.hair import draw_hair
from ppdiffusers_ext.data.figures.parts import HEAD, NECK
from ppdiffusers_ext.data.figures.pens import Pen
from ppdiffusers_ext.data.figures.postures import Joints, Posture

EYE, EYE_SIZE = (0.40, 0.02), (0.225, 0.115)
_BROW, _MOUTH, _NOSE = 0.29, -0.56, -0.27
_JAW = (-0.36, 0.10)  # centre: up and to the front
_JAW_SIZE = np.array([0.78, 0.62, 0.80])
_LIPS = np.array([178, 66, 70], np.float32)
_Put = Callable[[np.ndarray, np.ndarray], None]  # where, and what colour
_WHITE, _DARK = np.array([250, 248, 244], np.float32), np.array([44, 30, 28], np.float32)


def draw_head(pen: Pen, body: Body, joints: Joints, posture: Posture) -> None:
    """Draw neck, head and hair."""
    size, axes, center = body.head, joints.head, joints.skull
    throat = center - 0.45 * size[1] * axes[1] - 0.25 * size[2] * axes[2]
    pen.cone(
        joints.neck - 0.01 * body.height * joints.chest[1],
        throat,
        (0.031 * body.limbs, 0.029 * body.limbs),
        body.skin * 0.9,
        NECK,
    )
    pen.ellipsoid(center, axes, size, _face(body, posture, np.zeros(3), np.ones(3)), HEAD)
    shift = np.array([0.0, _JAW[0] * size[1], _JAW[1] * size[2]])
    jaw = _face(body, posture, np.array([0.0, *_JAW]), _JAW_SIZE)
    pen.ellipsoid(center + shift @ axes, axes, size * _JAW_SIZE, jaw, HEAD)
    for side in (-1, 1):
        ear = center + (side * 0.97 * size[0]) * axes[0] - 0.06 * size[1] * axes[1] - 0.05 * size[2] * axes[2]
        pen.ellipsoid(ear, axes, size * (0.12, 0.2, 0.13), body.skin * 0.93, HEAD)
    bridge, tip = (_surface(body, np.array([[0.0, v]]), lift)[0] for v, lift in ((0.02, -0.02), (_NOSE, 0.07)))
    pen.cone(center + bridge @ axes, center + tip @ axes, (0.09 * size[0], 0.145 * size[0]), body.skin * 1.03, HEAD)
    draw_hair(pen, body, joints)


def face_points(body: Body, posture: Posture) -> np.ndarray:
    """The 68 points of a face in the head's own axes from its centre, (68, 3)."""
    angles = np.linspace(0, np.pi, 17)
    jaw = np.stack([-0.97 * np.cos(angles), 0.02 - 0.98 * np.sin(angles) ** 0.9], axis=1)
    brow = np.array([[0.66, 0.20], [0.54, 0.29], [0.41, 0.31], [0.28, 0.29], [0.15, 0.24]])
    bridge = np.array([[0.0, v] for v in np.linspace(0.06, _NOSE, 4)])
    nostrils = np.array([[u, _NOSE - 0.10 + 0.02 * (u == 0)] for u in np.linspace(-0.2, 0.2, 5)])
    opening = max(posture.eyes, 0.05) * EYE_SIZE[1]
    eye = np.array([[1.0, 0.0], [0.4, 1.0], [-0.4, 1.0], [-1.0, 0.0], [-0.4, -1.0], [0.4, -1.0]])
    eye = EYE + eye * (EYE_SIZE[0], opening)  # the left one, from its outer corner; the right one is its mirror
    wide, gap = _mouth(posture)
    outer = _ring(wide, gap + 0.085, np.arange(12) * np.pi / 6)
    inner = _ring(0.78 * wide, gap, np.arange(8) * np.pi / 4)
    mirrored = eye * (-1, 1)
    left = eye[[3, 2, 1, 0, 5, 4]]
    flat = np.concatenate([jaw, brow * (-1, 1), brow[::-1], bridge, nostrils, mirrored, left, outer, inner])
    lift = np.zeros(68)
    lift[27:31], lift[31:36] = np.linspace(0.0, 0.14, 4), 0.06
    points = _surface(body, flat, 0.0)
    points[:, 2] += lift * body.head[2]
    return points


def landmarks(body: Body, posture: Posture) -> np.ndarray:
    """Nose, right and left eye, right and left ear in the head's own axes, (5, 3)."""
    nose = _surface(body, np.array([[0.0, _NOSE]]), 0.2)
    eyes = _surface(body, np.array([[-EYE[0], EYE[1]], EYE]), 0.0)
    ears = np.array([[-1.04, -0.06, -0.05], [1.04, -0.06, -0.05]]) * body.head
    return np.concatenate([nose, eyes, ears])


def _ring(wide: float, high: float, angles: np.ndarray) -> np.ndarray:
    """Points around the mouth from its right corner over the upper lip."""
    return np.stack([-wide * np.cos(angles), _MOUTH + high * np.sin(angles)], axis=1)


def _mouth(posture: Posture) -> tuple[float, float]:
    """Half width of the mouth, and of the gap between the lips."""
    return 0.33 - 0.07 * posture.mouth, 0.012 + 0.15 * posture.mouth


def _surface(body: Body, flat: np.ndarray, lift: float) -> np.ndarray:
    """Points (n, 2) of a face on its skin, (n, 3) in the head's own axes, raised by `lift` half depths."""
    u, v = flat[:, 0], flat[:, 1]
    skull = np.sqrt(np.maximum(1 - u**2 - v**2, 0))
    jaw = 1 - (u / _JAW_SIZE[0]) ** 2 - ((v - _JAW[0]) / _JAW_SIZE[1]) ** 2
    front = np.where(jaw > 0, np.maximum(skull, _JAW[1] + _JAW_SIZE[2] * np.sqrt(np.maximum(jaw, 0))), skull)
    return np.stack([u, v, front + lift], axis=1) * body.head


def _face(body: Body, posture: Posture, shift: np.ndarray, scale: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The paint of an ellipsoid at `shift`, of `scale`, in half axes of the skull, with the face on its front."""
    wide, gap = _mouth(posture)
    blush = body.skin * (0.99, 0.88, 0.86)

    def paint(places: np.ndarray) -> np.ndarray:
        color = np.repeat(body.skin[None], len(places), axis=0)
        u, v, front = (places * scale + shift).T
        facing = front > 0.05
        if not facing.any():
            return color
        side, out = np.abs(u), np.sign(u)

        def put(where: np.ndarray, what: np.ndarray) -> None:
            color[where & facing] = what

        put(((side - 0.56) / 0.22) ** 2 + ((v + 0.30) / 0.15) ** 2 < 1, blush)
        if body.beard:
            put(
                (v < -0.40 + 0.1 * np.cos(6 * u)) & ((u / 0.4) ** 2 + ((v + 0.56) / 0.17) ** 2 > 1),
                body.hair * 0.9 + 12,
            )
            put((np.abs(v + 0.40) < 0.05) & (side < 0.36), body.hair * 0.9 + 12)
        _paint_eyes(put, body, posture, side, v, out)
        lips = (u / wide) ** 2 + ((v - _MOUTH + 0.09 * (1 - (u / wide) ** 2) - 0.05) / (gap + 0.085)) ** 2 < 1
        put(lips, 0.45 * _LIPS + 0.55 * body.skin * (0.85, 0.62, 0.62))
        put(
            (u / (0.9 * wide)) ** 2 + ((v - _MOUTH + 0.09 * (1 - (u / wide) ** 2) - 0.05) / (gap + 0.012)) ** 2 < 1,
            _DARK * 1.6,
        )
        if gap > 0.06:
            put((side < 0.55 * wide) & (np.abs(v - _MOUTH - 0.5 * gap) < 0.25 * gap), _WHITE)
        put((np.abs(v - _NOSE + 0.15) < 0.03) & (np.abs(side - 0.09) < 0.055), body.skin * 0.62)
        return color

    return paint


def _paint_eyes(put: _Put, body: Body, posture: Posture, side: np.ndarray, v: np.ndarray, out: np.ndarray) -> None:
    """Lashes, eyes, brows and glasses; `side` is the distance from the middle, `out` the side's sign."""
    opening = max(posture.eyes, 0.02)
    x, y = (side - EYE[0]) / EYE_SIZE[0], (v - EYE[1]) / EYE_SIZE[1]
    is_open = x**2 + (y / opening) ** 2 < 1
    put(x**2 + ((y - 0.12) / (opening + 0.18)) ** 2 < 1.10, 0.6 * _DARK + 0.15 * body.skin)  # lashes
    put(is_open, _WHITE)
    iris_x, iris_y = side * out - EYE[0] * out - 0.07 * posture.gaze[0], v - EYE[1] - 0.02 * posture.gaze[1]
    distance = iris_x**2 + iris_y**2
    put(is_open & (distance < 0.118**2), body.eyes)
    put(is_open & (distance < 0.065**2), _DARK * 0.5)
    put(is_open & ((iris_x - 0.04) ** 2 + (iris_y - 0.05) ** 2 < 0.032**2), _WHITE)
    brow = np.abs(v - _BROW - 0.05 * (1 - ((side - 0.4) / 0.3) ** 2)) < 0.034
    put(brow & (np.abs(side - 0.44) < 0.24), 0.75 * body.hair + 0.1 * body.skin)
    if body.glasses:
        ring = np.sqrt(((side - 0.41) / 0.31) ** 2 + ((v - 0.0) / 0.22) ** 2)
        put((np.abs(ring - 1) < 0.13) | ((np.abs(v - 0.04) < 0.025) & (side < 0.12)), _DARK)
        put((np.abs(v - 0.04) < 0.025) & (side > 0.7), _DARK)
