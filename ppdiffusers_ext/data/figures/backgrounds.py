"""Rooms and streets behind a figure, as a moving camera sees them, and the shadow of the figure on the floor."""

from dataclasses import dataclass

import cv2
import numpy as np

from ppdiffusers_ext.data.figures.bodies import Body
from ppdiffusers_ext.data.figures.cameras import View
from ppdiffusers_ext.data.figures.places import PLACES, Quad
from ppdiffusers_ext.data.figures.postures import Joints
from ppdiffusers_ext.data.figures.surfaces import Canvas

_BITS = 4  # of fractions of a pixel
_TO_LIGHT = np.array([-0.45, 1.0, 0.30])  # in the world
_NEAR = 0.4  # what is nearer to the camera is cut off


@dataclass(frozen=True)
class Background:
    """A place: its quads from the farthest to the nearest, the colour behind them, and how dark shadows are."""

    kind: str
    quads: tuple[Quad, ...]
    behind: tuple[np.ndarray, np.ndarray]  # at the top and at the bottom of the picture
    shadow: float
    tint: np.ndarray


def random_background(rng: np.random.Generator) -> Background:
    """The `Background` that a generator gives."""
    kind = list(PLACES)[rng.integers(len(PLACES))]
    quads, behind = PLACES[kind](rng)
    tints = np.array([[1.0, 1.0, 1.0], [1.03, 0.99, 0.92], [0.93, 0.97, 1.03], [0.86, 0.86, 0.9]])
    return Background(kind, tuple(quads), behind, rng.uniform(0.25, 0.42), tints[rng.integers(len(tints))])


def paint_background(background: Background, view: View, canvas: Canvas) -> None:
    """Fill a canvas with what is behind a figure."""
    height, width = canvas.depth.shape
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    top, bottom = (np.asarray(color, np.float32) for color in background.behind)
    picture = np.rint(np.broadcast_to((1 - rows) * top + rows * bottom, (height, width, 3))).astype(np.uint8)
    for quad in background.quads:
        points = _before(quad.points, view)
        if len(points) < 3:
            continue
        places, _ = view.project(points)
        flat = places[:, :2]
        if (flat.max(axis=0) < 0).any() or (flat.min(axis=0) > (width, height)).any():
            continue
        corners = np.rint(np.clip(flat, -2e4, 2e4) * (1 << _BITS)).astype(np.int32)
        color = tuple(float(c) for c in quad.color)
        cv2.fillPoly(picture, [corners], color, lineType=cv2.LINE_AA, shift=_BITS)
    canvas.color[:] = picture


def paint_shadow(background: Background, view: View, canvas: Canvas, body: Body, joints: Joints) -> None:
    """Darken a canvas where a figure's shadow falls, and where its feet touch the floor."""
    height, width = canvas.depth.shape
    cast, contact = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    bones = [(joints.neck, joints.pelvis, 0.085), (joints.skull, joints.skull, 0.065)]
    for side in (0, 1):
        arm = (joints.shoulders[side], joints.elbows[side], joints.hands[side, 9])
        leg = (joints.hips[side], joints.knees[side], joints.ankles[side], joints.toes[side])
        bones += [(*pair, 0.03) for pair in zip(arm, arm[1:])] + [(*pair, 0.045) for pair in zip(leg, leg[1:])]
        heel, toe = joints.heels[side] * (1, 0, 1), joints.toes[side] * (1, 0, 1)
        off = min(joints.heels[side, 1], joints.toes[side, 1]) / body.height - 0.02
        if off < 0.06:
            _line(contact, view, heel, toe, 0.03 * body.height, int(255 * (1 - max(off, 0) / 0.06)))
    for start, end, thick in bones:
        _line(cast, view, _on_floor(start), _on_floor(end), thick * body.limbs, 255)
    soft = max(3, int(0.018 * view.scale)) * 2 + 1
    dark = background.shadow * cv2.GaussianBlur(cast, (soft, soft), 0).astype(np.float32)
    near = max(3, int(0.010 * view.scale)) * 2 + 1
    dark = np.maximum(dark, 0.55 * cv2.GaussianBlur(contact, (near, near), 0).astype(np.float32)) / 255
    canvas.color *= 1 - dark[..., None]


def _on_floor(point: np.ndarray) -> np.ndarray:
    """Where the shadow of a point falls."""
    return np.asarray(point - _TO_LIGHT * point[1] / _TO_LIGHT[1])


def _line(mask: np.ndarray, view: View, start: np.ndarray, end: np.ndarray, radius: float, value: int) -> None:
    """A thick line on the floor."""
    places, scales = view.project(np.stack([start, end]))
    first, last = (tuple(int(v) for v in np.rint(place[:2] * (1 << _BITS))) for place in places)
    cv2.line(mask, first, last, (value,), max(1, round(2 * radius * float(scales.mean()))), cv2.LINE_AA, _BITS)


def _before(points: np.ndarray, view: View) -> np.ndarray:
    """A polygon, (n, 3), without what is too near to the camera or behind it."""
    away = -(points - view.position) @ view.axes[2] - _NEAR
    if (away > 0).all():
        return points
    kept: list[np.ndarray] = []
    count = len(points)
    for now in range(count):
        later = (now + 1) % count
        if away[now] > 0:
            kept.append(points[now])
        if (away[now] > 0) != (away[later] > 0):
            part = away[now] / (away[now] - away[later])
            kept.append(points[now] + part * (points[later] - points[now]))
    return np.array(kept).reshape(-1, 3)
