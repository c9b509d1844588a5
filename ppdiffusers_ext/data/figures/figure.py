"""A person in a posture: trunk, limbs, hands, feet and clothes."""

import numpy as np

from ppdiffusers_ext.data.figures.bodies import Body
from ppdiffusers_ext.data.figures.heads import draw_head
from ppdiffusers_ext.data.figures.parts import FOOT, FOREARM, HAND, HEM, SHIN, THIGH, TRUNK, UPPER_ARM
from ppdiffusers_ext.data.figures.patterns import on_limb, on_trunk
from ppdiffusers_ext.data.figures.pens import Pen
from ppdiffusers_ext.data.figures.postures import Joints, Posture

_SOLE = np.array([238, 236, 230], np.float32)
_BONES = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (0, 9, 10, 11, 12), (0, 13, 14, 15, 16), (0, 17, 18, 19, 20))


def draw_figure(pen: Pen, body: Body, joints: Joints, posture: Posture) -> None:
    """Draw a person over what is on a pen's canvas."""
    for side in (0, 1):
        _draw_leg(pen, body, joints, side)
        _draw_arm(pen, body, joints, side)
        _draw_hand(pen, body, joints, side)
    if body.bottom in ("skirt", "dress"):
        _draw_skirt(pen, body, joints)
    _draw_trunk(pen, body, joints)
    draw_head(pen, body, joints, posture)


def _draw_leg(pen: Pen, body: Body, joints: Joints, side: int) -> None:
    hip, knee, ankle = joints.hips[side], joints.knees[side], joints.ankles[side]
    color = body.colors[0 if body.bottom == "dress" else 2]
    clothed = {"trousers": 1.85, "shorts": 0.8, "skirt": 0.25, "dress": 0.25}[body.bottom]  # 1 is the knee
    loose = 1.0 + 0.1 * (body.bottom == "trousers")
    thigh, knee_radius, calf, low = (value * body.limbs for value in (0.051, 0.037, 0.037, 0.023))
    hip = hip - 0.012 * body.height * joints.trunk[1]
    pattern = body.bottom_pattern if body.bottom in ("trousers", "shorts") else "plain"
    upper = on_limb(color, body.colors[3], pattern, body.skin, clothed)
    lower = on_limb(color, body.colors[3], pattern, body.skin, clothed - 1)
    pen.cone(hip, knee, (thigh, knee_radius * loose), upper, THIGH + side)
    bulge = knee + 0.3 * (ankle - knee) - 0.006 * body.height * joints.trunk[2]
    pen.cone(knee, ankle, (knee_radius * loose, low * (1.35 if clothed > 1 else 1.0)), lower, SHIN + side)
    if clothed < 1.5:
        pen.cone(bulge, 0.6 * bulge + 0.4 * ankle, (calf, 0.8 * calf), body.skin, SHIN + side)
    _draw_foot(pen, body, joints, side)


def _draw_foot(pen: Pen, body: Body, joints: Joints, side: int) -> None:
    ankle, heel, toe, size = joints.ankles[side], joints.heels[side], joints.toes[side], body.height
    color = body.colors[3]
    ball = heel + 0.72 * (toe - heel)
    front = (toe - heel) / np.linalg.norm(toe - heel)
    up = ankle - heel - ((ankle - heel) @ front) * front
    up = up / np.linalg.norm(up)
    raised = 0.004 * size * up
    pen.cone(heel, ball, (0.021 * size, 0.0235 * size), _SOLE, FOOT + side)
    pen.cone(ball, toe, (0.0235 * size, 0.017 * size), _SOLE, FOOT + side)
    pen.cone(heel + raised, ball + raised, (0.0225 * size, 0.025 * size), color, FOOT + side)
    pen.cone(ball + raised, toe + raised, (0.025 * size, 0.018 * size), color, FOOT + side)
    pen.cone(ankle - 0.012 * size * up, ball + raised, (0.023 * size, 0.020 * size), color, FOOT + side)
    pen.cone(ankle, heel + raised, (0.0235 * size, 0.022 * size), color, FOOT + side)


def _draw_arm(pen: Pen, body: Body, joints: Joints, side: int) -> None:
    shoulder, elbow, wrist = joints.shoulders[side], joints.elbows[side], joints.wrists[side]
    color, other = body.colors[0], body.colors[1]
    sleeve = {"t-shirt": 0.55, "vest": 0.0}.get(body.top, 1.9)  # 1 is the elbow
    loose = 1.12 if body.top in ("jacket", "hoodie") else 1.0
    top, middle, low = (value * body.limbs for value in (0.036, 0.0265, 0.0185))
    pattern = body.pattern if body.pattern in ("stripes", "checks", "dots") and body.top != "jacket" else "plain"
    cloth_upper = on_limb(color, other, pattern, body.skin, sleeve)
    cloth_lower = on_limb(color, other, pattern, body.skin, sleeve - 1)
    pen.cone(shoulder, elbow, (top * loose, middle * loose), cloth_upper, UPPER_ARM + side)
    if 0 < sleeve < 1:
        end = shoulder + sleeve * (elbow - shoulder)
        pen.cone(
            shoulder, end, (top * 1.06, middle * 1.3), on_limb(color, other, pattern, body.skin, 2), UPPER_ARM + side
        )
    reach = min(max(sleeve - 1, 0), 0.9)
    pen.cone(elbow, wrist, (middle * (loose if reach else 1), low), cloth_lower, FOREARM + side)
    if reach:
        end = elbow + reach * (wrist - elbow)
        pen.cone(elbow, end, (middle * loose, 1.3 * low), on_limb(color, other, pattern, body.skin, 2), FOREARM + side)


def _draw_hand(pen: Pen, body: Body, joints: Joints, side: int) -> None:
    points, size = joints.hands[side], body.hand
    wrist, skin = points[0], body.skin
    for finger in (5, 9, 13, 17):
        pen.cone(wrist, points[finger], (0.16 * size, 0.125 * size), skin, HAND + side)
    for name, bones in enumerate(_BONES):
        thick = 0.095 if name == 0 else 0.08
        radii = [0.13 * size if name == 0 else thick * size, *(thick * size * f for f in (1.1, 1.0, 0.9))]
        pen.chain(points[list(bones[1:])], radii, skin * (0.97 if name % 2 else 1.0), HAND + side)


def _sections(body: Body, joints: Joints) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres and half axes of the trunk's cross-sections from the neck down."""
    up, neck, pelvis = joints.chest[1], joints.neck, joints.pelvis
    bust = 1.1 if body.build == "curvy" else 1.0
    rows = (  # part of the way from the neck to the hips, half axes to the side and to the front, shift to the front
        (-0.10, 0.34 * body.chest[0], 0.55 * body.chest[1], -0.002),
        (-0.045, 0.56 * body.chest[0], 0.66 * body.chest[1], -0.002),
        (0.02, 0.93 * body.chest[0], 0.80 * body.chest[1], 0.0),
        (0.12, 1.04 * body.chest[0], 0.97 * body.chest[1], 0.002),
        (0.30, 1.0 * body.chest[0], 1.05 * body.chest[1] * bust, 0.006),
        (0.48, 0.5 * (body.chest[0] + body.waist[0]), 0.5 * (body.chest[1] + body.waist[1]), 0.004),
        (0.66, body.waist[0], body.waist[1], 0.004),
        (0.84, 0.45 * body.waist[0] + 0.55 * body.seat[0], 0.5 * (body.waist[1] + body.seat[1]), 0.002),
        (1.0, body.seat[0], body.seat[1], -0.002),
        (1.10, 0.93 * body.seat[0], 0.80 * body.seat[1], -0.004),
        (1.19, 0.40 * body.seat[0], 0.45 * body.seat[1], -0.004),
    )
    centers, sideways, forward = [], [], []
    for way, wide, deep, shift in rows:
        turned = np.clip(way, 0, 1)
        left = (1 - turned) * joints.chest[0] + turned * joints.trunk[0]
        front = (1 - turned) * joints.chest[2] + turned * joints.trunk[2]
        line = neck + way * (pelvis - neck) if way >= 0 else neck - way * body.spine * up
        centers.append(line + shift * body.height * front)
        sideways.append(wide * left / np.linalg.norm(left))
        forward.append(deep * front / np.linalg.norm(front))
    return np.stack(centers), np.stack(sideways), np.stack(forward)


def _draw_trunk(pen: Pen, body: Body, joints: Joints) -> None:
    centers, sideways, forward = _sections(body, joints)
    if body.top in ("jacket", "hoodie"):
        sideways, forward = sideways * 1.06, forward * 1.08
    pen.loft(centers, sideways, forward, on_trunk(body), TRUNK)
    # Shoulders fill what is between trunk and arms.
    cloth = body.colors[0] if body.top != "vest" else body.skin
    loose = 1.12 if body.top in ("jacket", "hoodie") else 1.0
    for side in (0, 1):
        inner = joints.neck + 0.3 * (joints.shoulders[side] - joints.neck) + 0.006 * body.height * joints.chest[1]
        pen.cone(inner, joints.shoulders[side], (0.028 * body.limbs, 0.035 * body.limbs * loose), cloth, TRUNK)
    if body.top == "hoodie":
        ring = joints.neck + 0.018 * body.height * joints.chest[1] - 0.018 * body.height * joints.chest[2]
        radii = np.array([0.058, 0.026, 0.05]) * body.height
        pen.ellipsoid(ring, joints.chest, radii, body.colors[0] * 0.92, TRUNK)


def _draw_skirt(pen: Pen, body: Body, joints: Joints) -> None:
    """From the waist to above the knees, as wide as the legs ask for."""
    long = 0.95 if body.bottom == "dress" else 0.85
    middle = joints.hips.mean(axis=0) + long * (joints.knees.mean(axis=0) - joints.hips.mean(axis=0))
    left, front = joints.trunk[0], joints.trunk[2]
    spread = joints.knees - joints.knees.mean(axis=0)
    wide = max(1.3 * body.seat[0], float(np.abs(spread @ left).max()) + 0.08 * body.limbs)
    deep = max(1.25 * body.seat[1], float(np.abs(spread @ front).max()) + 0.09 * body.limbs)
    hips = max(1.12 * body.seat[0], body.hips + 0.058 * body.limbs)
    top = joints.pelvis + 0.2 * (joints.neck - joints.pelvis)
    ways = np.array([0.0, 0.3, 0.65, 1.0])[:, None]
    centers = top + ways * (middle - top)
    widths = np.interp(ways, [0, 0.4, 1], [1.04 * body.waist[0], hips, max(wide, hips)])
    depths = np.interp(ways, [0, 0.4, 1], [1.06 * body.waist[1], 1.15 * body.seat[1], deep])
    color = body.colors[0] if body.bottom == "dress" else body.colors[2]
    other = body.colors[1] if body.bottom == "dress" else body.colors[3]
    pattern = body.pattern if body.bottom == "dress" else body.bottom_pattern

    def paint(places: np.ndarray) -> np.ndarray:
        folds = 1 + 0.07 * np.sin(9 * places[:, 1]) * places[:, 0]
        hem = np.where(places[:, 0] > 0.93, 0.85, 1.0)
        cloth = on_limb(color, other, pattern, body.skin, 2)
        plain = cloth(places[:, 0]) if callable(cloth) else np.broadcast_to(cloth, (len(places), 3))
        return np.asarray(plain * (folds * hem)[:, None])

    pen.loft(centers, widths * left, depths * front, paint, HEM)
