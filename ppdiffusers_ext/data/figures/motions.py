"""Motions: functions of a frame's number to a `Posture`.

A motion is made of what legs, arms and head do. It is defined for all numbers, so that a longer clip begins with a
shorter one.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ppdiffusers_ext.data.figures.bodies import Body
from ppdiffusers_ext.data.figures.postures import Posture

FPS = 15
MOTIONS = ("dance", "walk", "turn", "wave", "talk", "exercise")
Motion = Callable[[float], Posture]  # number of a frame -> posture
_HANGING = ((0.22, -1.0, 0.02), (0.08, -1.0, 0.22), (-0.3, 0.2, 1.0))  # directions of arm and forearm; of the thumb
_STANCE = 0.065  # feet from the middle


def standing(rng: np.random.Generator, yaw: float = 0.0, place: float = 0.0) -> Posture:
    """Standing still and looking ahead, arms hanging."""
    arms, forearms, thumbs = (np.array([each, each]) for each in _HANGING)
    arms = arms + rng.uniform(0, 0.12, (2, 1)) * (1, 0, 0)
    return Posture(
        pelvis=np.array([place, 1.0, 0.0]),
        yaw=yaw,
        lean=0.0,
        pitch=0.02,
        twist=0.0,
        arms=arms,
        forearms=forearms,
        thumbs=thumbs,
        curls=np.array([0.3, 0.3]),
        feet=_feet(yaw, place),
        foot_yaws=yaw + np.array([-0.25, 0.25]),
        foot_pitches=np.zeros(2),
        head=np.zeros(3),
        mouth=0.0,
        eyes=1.0,
        gaze=np.zeros(2),
    )


def random_motion(rng: np.random.Generator, body: Body, kind: str) -> Motion:
    """A motion of one of `MOTIONS`."""
    base = standing(rng, float(rng.uniform(-0.35, 0.35)))
    move = _MOVES[kind](rng, body, base)
    return _alive(rng, move)


def _feet(yaw: float, place: float) -> np.ndarray:
    """Where feet stand side by side, (2, 3)."""
    sideways = np.array([-_STANCE, _STANCE])
    return np.stack([place + sideways * np.cos(yaw), np.zeros(2), -sideways * np.sin(yaw)], axis=1)


def _wave(rng: np.random.Generator, period: tuple[float, float], amount: tuple[float, float]) -> Callable:
    """A swing of a random period in frames and a random amount."""
    length, size, phase = rng.uniform(*period), rng.uniform(*amount), rng.uniform(0, 2 * np.pi)
    return lambda index: size * np.sin(2 * np.pi * index / length + phase)


def _alive(rng: np.random.Generator, move: Motion) -> Motion:
    """A motion with glances, blinks and a head that is never quite still."""
    nod, turn, roll = (_wave(rng, (28, 60), size) for size in ((0.02, 0.12), (0.1, 0.5), (0.02, 0.12)))
    glance, blink = _wave(rng, (30, 70), (0.2, 0.8)), rng.integers(30, 60)
    first = rng.integers(blink)

    def posture(index: float) -> Posture:
        now = move(index)
        since = (index - first) % blink
        eyes = now.eyes * (0.15 if since < 2 else 0.6 if since < 3 else 1.0)
        head = now.head + (turn(index), nod(index), roll(index))
        gaze = now.gaze + (glance(index), 0.0)
        return replace(now, head=head, eyes=float(eyes), gaze=gaze)

    return posture


def _dance(rng: np.random.Generator, body: Body, base: Posture) -> Motion:
    """Hips and shoulders swing, feet are lifted in turn, arms go their own ways."""
    period, phase = rng.uniform(18, 30), rng.uniform(0, 2 * np.pi)
    sway, dip, lean, twist = rng.uniform(0.02, 0.05), rng.uniform(0.03, 0.1), rng.uniform(0, 0.14), rng.uniform(0, 0.4)
    lift, travel = rng.uniform(0.03, 0.1), rng.uniform(0.0, 0.1)
    arms = [_swinging_arm(rng) for _ in range(2)]

    def posture(index: float) -> Posture:
        angle = 2 * np.pi * index / period + phase
        middle = travel * np.sin(0.5 * angle)
        lifts = lift * np.maximum(0, np.array([1.0, -1.0]) * -np.sin(angle)) ** 1.5
        feet = base.feet + np.stack([np.full(2, middle), lifts, 0.3 * lifts], axis=1)
        parts = [arm(angle) for arm in arms]
        return replace(
            base,
            pelvis=base.pelvis + (middle + sway * np.sin(angle), -dip * (0.5 - 0.5 * np.cos(2 * angle)), 0.0),
            lean=lean * np.sin(angle + np.pi),
            twist=twist * np.sin(angle + 0.6),
            feet=feet,
            foot_pitches=3 * lifts,
            arms=np.stack([part[0] for part in parts]),
            forearms=np.stack([part[1] for part in parts]),
            thumbs=np.stack([part[2] for part in parts]),
            curls=np.full(2, 0.35 + 0.3 * np.sin(angle)),
        )

    return posture


def _swinging_arm(rng: np.random.Generator) -> Callable[[float], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Directions of arm, forearm and thumb at an angle of a dance. Arms at 0 hang, at pi point up."""
    limits = {  # of the upper arm, its swing, how far it points forward, the elbow, its swing
        "low": ((0.3, 0.6), (0.1, 0.3), (0.0, 0.3), (0.3, 1.2), (0.1, 0.5)),
        "front": ((0.5, 0.8), (0.1, 0.4), (0.6, 1.1), (0.9, 1.6), (0.2, 0.5)),
        "side": ((1.1, 1.6), (0.3, 0.6), (0.0, 0.4), (0.3, 1.2), (0.3, 0.6)),
        "up": ((2.2, 2.6), (0.2, 0.5), (0.0, 0.3), (0.2, 0.7), (0.1, 0.4)),
    }
    kind = list(limits)[rng.integers(len(limits))]
    upper, swing, forward, elbow, bend = (rng.uniform(*pair) for pair in limits[kind])
    phase = rng.uniform(0, 2 * np.pi)

    def directions(angle: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first = upper + swing * np.sin(angle + phase)
        second = first + elbow + bend * np.sin(angle + phase + 0.8)
        arm = np.array([np.sin(first), -np.cos(first), forward])
        fore = np.array([np.sin(second), -np.cos(second), 0.4 + 0.6 * forward])
        up = np.clip(0.5 - 0.5 * np.cos(second), 0, 1)
        return arm, fore, (1 - up) * np.array(_HANGING[2]) + up * np.array([-1.0, 0.2, 0.1])

    return directions


def _walk(rng: np.random.Generator, body: Body, base: Posture) -> Motion:
    """Walks to a side, aslant or ahead; the foot that stands does not slip."""
    yaw = float(rng.choice((-1, 1)) * rng.uniform(0.15, 1.7))
    period, stride = rng.uniform(15, 20), rng.uniform(0.16, 0.22) * body.height
    phase, swing = rng.uniform(0, 1), rng.uniform(0.3, 0.55)
    ahead, aside = np.array([np.sin(yaw), 0.0, np.cos(yaw)]), np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    stands = 0.6  # part of the period in which a foot stands
    pace = stride / (stands * period)  # on the floor, in a frame
    elbow = rng.uniform(0.2, 0.9)

    def posture(index: float) -> Posture:
        feet, pitches, along = [], [], pace * (index - 12)
        for side, offset in ((-1, 0.0), (1, 0.5)):
            part = (index / period + phase + offset) % 1
            if part < stands:
                forward, lift, pitch = stride * (0.5 - part / stands), 0.0, max(0.0, part / stands - 0.75)
            else:
                way = (part - stands) / (1 - stands)
                smooth = way * way * (3 - 2 * way)
                forward, lift = stride * (smooth - 0.5), 0.055 * body.height * np.sin(np.pi * way)
                pitch = 0.25 * (1 - way) + 0.6 * np.sin(np.pi * way) * (1 - way) - 0.25 * way
            feet.append((along + forward) * ahead + 0.5 * side * _STANCE * aside + (0.0, lift, 0.0))
            pitches.append(pitch)
        angle = 2 * np.pi * (index / period + phase)
        swings = swing * np.array([-np.cos(angle), np.cos(angle)])
        arms = np.stack([np.full(2, 0.16), np.full(2, -1.0), swings - 0.05], axis=1)
        forearms = np.stack([np.full(2, 0.05), np.full(2, -1.0), swings + elbow], axis=1)
        pelvis = along * ahead + (0.0, 0.985 + 0.012 * np.cos(2 * angle), 0.0)
        return replace(
            base,
            pelvis=pelvis,
            yaw=yaw,
            pitch=0.05,
            lean=0.03 * np.sin(angle),
            twist=-0.18 * np.cos(angle),
            feet=np.stack(feet),
            foot_yaws=np.full(2, yaw) + (-0.1, 0.1),
            foot_pitches=np.array(pitches),
            arms=arms,
            forearms=forearms,
        )

    return posture


def _turn(rng: np.random.Generator, body: Body, base: Posture) -> Motion:
    """Turns round on the spot, step by step."""
    speed = rng.choice((-1, 1)) * 2 * np.pi / rng.uniform(44, 80)
    step = 0.7  # radians of a step
    arms = [_swinging_arm(rng) for _ in range(2)] if rng.random() < 0.5 else None

    def posture(index: float) -> Posture:
        yaw = base.yaw + speed * index
        feet, yaws = [], []
        for number, side in enumerate((-1, 1)):
            steps = yaw / step + 0.5 * number
            whole = np.floor(steps)
            way = np.clip((steps - whole - 0.5) * 2, 0, 1)
            smooth = way * way * (3 - 2 * way)
            turned = (whole + smooth - 0.5 * number) * step
            feet.append(_feet(turned, 0.0)[number] + (0.0, 0.035 * np.sin(np.pi * smooth), 0.0))
            yaws.append(turned + 0.25 * side)
        parts = [arm(0.12 * index) for arm in arms] if arms else [_HANGING] * 2
        directions, forearms, thumbs = (np.array([part[i] for part in parts]) for i in range(3))
        return replace(
            base,
            yaw=float(yaw),
            twist=float(0.12 * np.sign(speed)),
            pelvis=base.pelvis - (0.0, 0.012, 0.0),
            feet=np.stack(feet),
            foot_yaws=np.array(yaws),
            arms=directions,
            forearms=forearms,
            thumbs=thumbs,
        )

    return posture


def _greet(rng: np.random.Generator, body: Body, base: Posture) -> Motion:
    """Waves a hand."""
    arm, swing = int(rng.integers(2)), _wave(rng, (8, 14), (0.25, 0.45))
    sway, smile = _wave(rng, (40, 60), (0.01, 0.03)), _wave(rng, (20, 40), (0.1, 0.3))
    out = rng.uniform(0.8, 1.2)

    def posture(index: float) -> Posture:
        arms, forearms, thumbs = base.arms.copy(), base.forearms.copy(), base.thumbs.copy()
        arms[arm] = (out, -0.25, 0.3)
        forearms[arm] = (0.35 + swing(index), 1.0, 0.3)
        thumbs[arm] = (-1.0, 0.3, 0.0)
        curls = np.where(np.arange(2) == arm, 0.0, 0.3)
        pelvis = base.pelvis + (sway(index), 0.0, 0.0)
        return replace(
            base,
            pelvis=pelvis,
            lean=sway(index),
            arms=arms,
            forearms=forearms,
            thumbs=thumbs,
            curls=curls,
            mouth=float(max(0.15 + smile(index), 0.0)),
        )

    return posture


def _talk(rng: np.random.Generator, body: Body, base: Posture) -> Motion:
    """Speaks, and shows with both hands."""
    moves = [[_wave(rng, (18, 44), (0.1, 0.4)) for _ in range(3)] for _ in range(2)]
    heights = rng.uniform(-0.5, 0.5, 2)
    speech, pauses = _wave(rng, (3.5, 5.5), (0.4, 0.6)), _wave(rng, (25, 50), (0.3, 0.5))
    sway, twist = _wave(rng, (40, 70), (0.01, 0.025)), _wave(rng, (40, 70), (0.05, 0.25))

    def posture(index: float) -> Posture:
        arms, forearms = [], []
        for side in range(2):
            first, second, third = (move(index) for move in moves[side])
            arms.append((0.35 + 0.3 * first, -1.0, 0.25 + 0.4 * second))
            forearms.append((-0.15 + first, heights[side] + third, 1.0))
        return replace(
            base,
            pelvis=base.pelvis + (sway(index), 0.0, 0.0),
            lean=-sway(index),
            twist=twist(index),
            arms=np.array(arms),
            forearms=np.array(forearms),
            thumbs=np.array([[-0.2, 1.0, 0.2]] * 2),
            curls=np.full(2, 0.25 + 0.2 * np.sin(0.2 * index)),
            mouth=float(np.clip(0.35 + speech(index) + pauses(index), 0, 1)),
        )

    return posture


def _exercise(rng: np.random.Generator, body: Body, base: Posture) -> Motion:
    """Squats or bows, arms forward or up."""
    period, phase = rng.uniform(26, 40), rng.uniform(0, 2 * np.pi)
    squat, bow = (rng.uniform(0.2, 0.42), 0.35) if rng.random() < 0.6 else (0.04, rng.uniform(0.4, 0.7))
    goal = np.array([(0.1, -0.05, 1.0), (0.35, 1.0, 0.1), (1.0, 0.0, 0.1)][rng.integers(3)])

    def posture(index: float) -> Posture:
        part = 0.5 - 0.5 * np.cos(2 * np.pi * index / period + phase)
        arms, forearms = (1 - part) * base.arms + part * goal, (1 - part) * base.forearms + part * goal
        thumbs = (1 - part) * base.thumbs + part * np.array([-0.3, 1.0, 0.5])
        back = part * squat * body.leg * 0.25
        pelvis = base.pelvis * (1, 1 - squat * part, 1) - back * np.array([np.sin(base.yaw), 0.0, np.cos(base.yaw)])
        feet = base.feet * (1.35, 1, 1.35)
        return replace(
            base,
            pelvis=pelvis,
            pitch=base.pitch + bow * part,
            arms=arms,
            forearms=forearms,
            thumbs=thumbs,
            feet=feet,
            curls=np.full(2, 0.3 * (1 - part)),
        )

    return posture


_Move = Callable[[np.random.Generator, Body, Posture], Motion]
_MOVES: dict[str, _Move] = {
    **{"dance": _dance, "walk": _walk, "turn": _turn, "wave": _greet, "talk": _talk, "exercise": _exercise}
}
