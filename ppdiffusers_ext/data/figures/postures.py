"""Postures, and the places of a body's joints in them.

Directions are in a body's own axes: its left, up, its front.
"""

from dataclasses import dataclass, fields

import numpy as np

from ppdiffusers_ext.data.figures.bodies import Body

_REACH = 0.998  # part of a leg's length to which it can be stretched


@dataclass(frozen=True)
class Posture:
    """What a motion says of one frame; the first of two sides is the right one.

    Attributes:
        pelvis: (3,), the middle of the hips: x and z in the world, y as a part of what it is when standing.
        yaw: of the hips around the vertical, radians, positive to the person's left; 0 faces +z.
        lean, pitch, twist: of the spine to the left, forward, and of the shoulders to the left against the hips.
        arms: (2, 3), directions of the upper arms. Their x is outwards instead of to the left, as with all below.
        forearms: (2, 3).
        thumbs: (2, 3), roughly where thumbs point.
        curls: (2,), of the fingers: 0 straight, 1 a fist.
        feet: (2, 3), ankles in the world, y above where they stand.
        foot_yaws, foot_pitches: (2,), of the feet: around the vertical as `yaw`; toes down.
        head: (3,), its yaw to the left, pitch down and roll to the left, against the shoulders.
        mouth, eyes: how far they are open, 0 to 1.
        gaze: (2,), of the irises to the left and up, -1 to 1.
    """

    pelvis: np.ndarray
    yaw: float
    lean: float
    pitch: float
    twist: float
    arms: np.ndarray
    forearms: np.ndarray
    thumbs: np.ndarray
    curls: np.ndarray
    feet: np.ndarray
    foot_yaws: np.ndarray
    foot_pitches: np.ndarray
    head: np.ndarray
    mouth: float
    eyes: float
    gaze: np.ndarray


def between(first: Posture, second: Posture, part: float) -> Posture:
    """A `Posture` at `part` of the way (0 to 1), without a jerk at either end."""
    part = float(np.clip(part, 0, 1))
    part = part * part * (3 - 2 * part)
    pairs = {field.name: (getattr(first, field.name), getattr(second, field.name)) for field in fields(Posture)}
    return Posture(**{name: (1 - part) * start + part * end for name, (start, end) in pairs.items()})


@dataclass(frozen=True)
class Joints:
    """Where a body's joints are in the world; the first of two sides is the right one.

    Attributes:
        shoulders, elbows, wrists, hips, knees, ankles, heels, toes: (2, 3).
        neck, pelvis: (3,), the middles of shoulders and hips.
        trunk, chest: (3, 3), axes of hips and shoulders as rows: left, up, front.
        skull: (3,), centre of the head. head: (3, 3), its axes.
        hands: (2, 21, 3), in OpenPose's order.
        palms: (2, 3), unit vectors out of the palms.
    """

    shoulders: np.ndarray
    elbows: np.ndarray
    wrists: np.ndarray
    hips: np.ndarray
    knees: np.ndarray
    ankles: np.ndarray
    heels: np.ndarray
    toes: np.ndarray
    neck: np.ndarray
    pelvis: np.ndarray
    trunk: np.ndarray
    chest: np.ndarray
    skull: np.ndarray
    head: np.ndarray
    hands: np.ndarray
    palms: np.ndarray


def place_joints(body: Body, posture: Posture) -> Joints:
    """The `Joints` of a body. Feet stay where they are; hips that are too far away for the legs come nearer."""
    trunk = turned(posture.yaw, 0.0, 0.0)
    ankles = posture.feet + (0.0, body.ankle, 0.0)
    pelvis = _reachable(body, posture, trunk, ankles)
    hips = pelvis + np.array([-1.0, 1.0])[:, None] * body.hips * trunk[0]
    knees = np.stack(
        [
            _bent(hip, ankle, body.thigh, body.shin, trunk[2] + 0.12 * side * trunk[0])
            for hip, ankle, side in zip(hips, ankles, (-1, 1))
        ]
    )
    spine = turned(posture.yaw + 0.5 * posture.twist, posture.pitch, posture.lean)
    chest = turned(posture.yaw + posture.twist, posture.pitch, posture.lean)
    neck = pelvis + body.spine * spine[1]
    shoulders = neck + np.array([-1.0, 1.0])[:, None] * body.shoulders * chest[0] - 0.018 * body.height * chest[1]
    outwards = np.array([[-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    upper, lower, thumbs = (
        _unit(directions * outwards @ chest) for directions in (posture.arms, posture.forearms, posture.thumbs)
    )
    elbows = shoulders + body.upper_arm * upper
    wrists = elbows + body.forearm * lower
    head = turned(0.0, 0.0, posture.head[2]) @ turned(posture.head[0], posture.head[1], 0.0) @ chest
    hands, palms = zip(*(_hand(body, *hand) for hand in zip(wrists, lower, thumbs, posture.curls, (-1, 1))))
    feet = [_foot(body, *foot) for foot in zip(ankles, posture.foot_yaws, posture.foot_pitches)]
    return Joints(
        shoulders=shoulders,
        elbows=elbows,
        wrists=wrists,
        hips=hips,
        knees=knees,
        ankles=ankles,
        heels=np.stack([heel for heel, _ in feet]),
        toes=np.stack([toe for _, toe in feet]),
        neck=neck,
        pelvis=pelvis,
        trunk=trunk,
        chest=chest,
        skull=neck + body.neck * _unit(0.35 * chest[1] + 0.65 * head[1]) + 0.012 * body.height * chest[2],
        head=head,
        hands=np.stack(hands),
        palms=np.stack(palms),
    )


def turned(yaw: float, pitch: float, lean: float) -> np.ndarray:
    """Left, up and front as rows, after a turn to the left, a bow and a lean to the left."""
    left = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    front = np.array([np.sin(yaw), 0.0, np.cos(yaw)])
    up = np.array([0.0, 1.0, 0.0])
    up, front = up * np.cos(pitch) + front * np.sin(pitch), front * np.cos(pitch) - up * np.sin(pitch)
    up, left = up * np.cos(lean) + left * np.sin(lean), left * np.cos(lean) - up * np.sin(lean)
    return np.stack([left, up, front])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def _reachable(body: Body, posture: Posture, trunk: np.ndarray, ankles: np.ndarray) -> np.ndarray:
    """Where the middle of the hips is: lowered until both legs reach."""
    pelvis = posture.pelvis * (1.0, body.leg * 0.99, 1.0) + (0.0, body.ankle, 0.0)
    for side, ankle in zip((-1, 1), ankles):
        hip = pelvis + side * body.hips * trunk[0]
        flat = np.hypot(*(hip - ankle)[[0, 2]])
        reach = np.sqrt(max((_REACH * body.leg) ** 2 - flat**2, 0.01 * body.leg**2))
        pelvis = pelvis - (0.0, max(hip[1] - ankle[1] - reach, 0.0), 0.0)
    return np.asarray(pelvis)


def _bent(start: np.ndarray, end: np.ndarray, upper: float, lower: float, towards: np.ndarray) -> np.ndarray:
    """The joint between two bones of given lengths from `start` to `end`, which bends `towards`."""
    line = end - start
    length = max(float(np.linalg.norm(line)), 1e-6)
    along = (upper**2 - lower**2 + length**2) / (2 * length)
    out = towards - (towards @ line) / length**2 * line
    return np.asarray(start + along * line / length + np.sqrt(max(upper**2 - along**2, 0.0)) * _unit(out))


# A hand with its fingers straight, in its lengths: to the thumb's side, along; and the bones of each finger.
_ROOTS = np.array([[0.16, 0.17], [0.235, 0.49], [0.08, 0.51], [-0.075, 0.48], [-0.22, 0.43]])
_BONES = np.array([[0.20, 0.17, 0.14], [0.23, 0.14, 0.11], [0.26, 0.16, 0.12], [0.23, 0.15, 0.11], [0.18, 0.11, 0.1]])
_FANS = np.array([0.85, 0.16, 0.03, -0.1, -0.24])  # radians to the thumb's side


def _hand(
    body: Body, wrist: np.ndarray, along: np.ndarray, thumb: np.ndarray, curl: float, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """The 21 joints of a hand, and the direction out of its palm; `side` is -1 for the right one."""
    across = _unit(thumb - (thumb @ along) * along)
    palm = -side * np.cross(across, along)
    points = [wrist]
    for finger, (root, bones, fan) in enumerate(zip(_ROOTS, _BONES, _FANS)):
        place = wrist + body.hand * (root[0] * across + root[1] * along)
        points.append(place)
        bend = (0.12 + 0.35 * curl) if finger == 0 else (0.10 + 1.25 * curl)
        angle = 0.3 * bend
        outwards = np.cos(fan) * along + np.sin(fan) * across
        for bone in bones:
            angle += bend * 0.75
            place = place + body.hand * bone * (np.cos(angle) * outwards + np.sin(angle) * palm)
            points.append(place)
    return np.stack(points), palm


def _foot(body: Body, ankle: np.ndarray, yaw: float, pitch: float) -> tuple[np.ndarray, np.ndarray]:
    """Heel and toe."""
    front = np.array([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    up = np.array([np.sin(yaw) * np.sin(pitch), np.cos(pitch), np.cos(yaw) * np.sin(pitch)])
    sole = ankle - 0.024 * body.height * up
    return sole - 0.018 * body.height * front, sole + 0.078 * body.height * front - 0.005 * body.height * up
