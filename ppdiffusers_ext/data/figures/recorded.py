"""Motions of real people: tables of joints, which are laid on a body by the lengths of its bones.

The tables in assets/motions have numbers alone. Depth, which they lack, follows from how much shorter than at its
longest a bone looks; elbows and knees bend forward.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ppdiffusers_ext import packaged
from ppdiffusers_ext.data.figures.bodies import Body
from ppdiffusers_ext.data.figures.motions import FPS, Motion, standing
from ppdiffusers_ext.data.figures.postures import Posture, turned
from ppdiffusers_ext.files import read_json

_FOLDER = Path("assets") / "motions"
_LIFT = 0.03  # lengths of a leg below which an ankle that is off the floor counts as noise
_Joints = dict[str, np.ndarray]  # of a joint, (frames, 2), y down, in heights of the video


@dataclass(frozen=True)
class Table:
    """Joints of a video, and how many of its frames go by in one of a motion."""

    joints: _Joints
    speed: float


@functools.cache
def tables() -> tuple[dict[str, "Table"], dict[str, "Table"]]:
    """Tables of bodies and of faces by name."""
    found: dict[str, dict[str, Table]] = {"body": {}, "face": {}}
    for path in sorted((packaged.FOLDER / _FOLDER).glob("*.json")):
        table = read_json(path, "table of joints", "a file of assets/motions")
        points = np.array(table["points"], np.float64).reshape(len(table["points"]), -1, 2) / table["unit"]
        joints = {name: points[:, i] for i, name in enumerate(table["joints"])}
        found[table["kind"]][path.stem] = Table(joints, table["fps"] / FPS)
    return found["body"], found["face"]


def recorded_motion(rng: np.random.Generator, body: Body) -> Motion:
    """The motion of a real person, from a random frame on, mirrored or not; at its end it goes back."""
    bodies, _ = tables()
    table = bodies[list(bodies)[rng.integers(len(bodies))]]
    lifted, base = _lifted(table.joints, bool(rng.integers(2))), standing(rng)
    at = _there_and_back(rng, len(lifted.lean), table.speed)

    def posture(index: float) -> Posture:
        now, later, part = at(index)
        mixed = {name: (1 - part) * values[now] + part * values[later] for name, values in vars(lifted).items()}
        lean, ankles = float(mixed["lean"]), mixed["ankles"] * body.leg
        chest = turned(0.0, base.pitch, lean)
        outwards = np.array([[-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
        feet = np.stack([ankles[:, 0] + mixed["middle"] * body.leg, ankles[:, 1], np.zeros(2)], axis=1)
        return replace(
            base,
            pelvis=np.array([mixed["middle"] * body.leg, mixed["height"], 0.0]),
            lean=lean,
            arms=mixed["arms"] @ chest.T * outwards,
            forearms=mixed["forearms"] @ chest.T * outwards,
            feet=feet,
            foot_pitches=3 * feet[:, 1],
            head=np.array([0.0, 0.0, mixed["roll"] - lean]),
        )

    return posture


def recorded_head(rng: np.random.Generator, move: Motion) -> Motion:
    """A motion whose head moves, and whose mouth and eyes open and close, as a real person's."""
    _, faces = tables()
    table = faces[list(faces)[rng.integers(len(faces))]]
    head, mouth, eyes = _of_face(table.joints)
    at = _there_and_back(rng, len(head), table.speed)

    def posture(index: float) -> Posture:
        before = move(index)
        now, later, part = at(index)
        mixed_head, mixed_mouth, mixed_eyes = (
            (1 - part) * each[now] + part * each[later] for each in (head, mouth, eyes)
        )
        return replace(before, head=mixed_head, mouth=float(mixed_mouth), eyes=float(mixed_eyes))

    return posture


def _there_and_back(rng: np.random.Generator, count: int, speed: float) -> Callable[[float], tuple[int, int, float]]:
    """From a frame's number to two rows of a table and the way between them."""
    start = int(rng.integers(2 * count - 2))

    def at(index: float) -> tuple[int, int, float]:
        place = (start + speed * index) % (2 * count - 2)
        place = place if place <= count - 1 else 2 * count - 2 - place
        now = min(int(place), count - 1)
        return now, min(now + 1, count - 1), place - now

    return at


@dataclass(frozen=True)
class _Lifted:
    """A table in lengths of bones, frame by frame: directions of arms, (2, 3); ankles against the hips, (2, 2)."""

    arms: np.ndarray
    forearms: np.ndarray
    ankles: np.ndarray
    middle: np.ndarray
    height: np.ndarray
    lean: np.ndarray
    roll: np.ndarray


def _lifted(table: _Joints, is_mirrored: bool) -> _Lifted:
    """What a body needs of a table."""
    if is_mirrored:
        other = {"r": "l", "l": "r"}
        table = {
            (other[name[0]] + name[1:] if name[1] == "_" else name): points * (-1, 1) for name, points in table.items()
        }
    hips = 0.5 * (table["r_hip"] + table["l_hip"])
    legs = np.concatenate([np.linalg.norm(table[f"{s}_hip"] - table[f"{s}_ankle"], axis=1) for s in "rl"])
    leg = float(np.percentile(legs, 95))
    ankles = np.stack([table[f"{s}_ankle"] for s in "rl"], axis=1)
    floor = np.percentile(ankles[..., 1].max(axis=1), 60)
    lifts = np.maximum((floor - ankles[..., 1]) / leg - _LIFT, 0)
    aside = (ankles[..., 0] - hips[:, None, 0]) / leg
    spine, ears = table["neck"] - hips, table["l_ear"] - table["r_ear"]
    middle = (hips[:, 0] - np.median(hips[:, 0])) / leg
    return _Lifted(
        arms=np.stack([_directions(table[f"{s}_elbow"] - table[f"{s}_shoulder"]) for s in "rl"], axis=1),
        forearms=np.stack([_directions(table[f"{s}_wrist"] - table[f"{s}_elbow"]) for s in "rl"], axis=1),
        ankles=np.stack([aside, lifts], axis=-1),
        middle=middle,
        height=np.clip((floor - hips[:, 1]) / leg, 0.3, 1.0),
        lean=np.arctan2(spine[:, 0], -spine[:, 1]),
        roll=np.clip(np.arctan2(ears[:, 1], ears[:, 0]), -0.5, 0.5),
    )


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors in the world of a bone that looks as (frames, 2) says."""
    flat = vectors * (1, -1) / np.percentile(np.linalg.norm(vectors, axis=1), 95)
    forward = np.sqrt(np.maximum(1 - (flat**2).sum(axis=1), 0))
    return np.concatenate([flat, forward[:, None]], axis=1)


def _of_face(table: _Joints) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles of the head, (frames, 3): yaw, pitch and roll; and how far mouth and eyes are open, (frames,)."""
    middle, wide = 0.5 * (table["0"] + table["16"]), np.linalg.norm(table["16"] - table["0"], axis=1)
    eyes_right, eyes_left = 0.5 * (table["36"] + table["39"]), 0.5 * (table["42"] + table["45"])
    line = eyes_left - eyes_right
    roll = np.arctan2(line[:, 1], line[:, 0])
    yaw = np.arcsin(np.clip(1.3 * (table["30"] - middle)[:, 0] / wide, -0.8, 0.8))
    drop = (table["30"] - 0.5 * (eyes_right + eyes_left))[:, 1] / np.linalg.norm(line, axis=1)
    pitch = np.clip(1.2 * (drop - np.median(drop)), -0.4, 0.4)
    mouth = np.linalg.norm(table["66"] - table["62"], axis=1) / np.linalg.norm(table["54"] - table["48"], axis=1)
    lids = sum(
        np.linalg.norm(table[low] - table[high], axis=1)
        for high, low in (("37", "41"), ("38", "40"), ("43", "47"), ("44", "46"))
    )
    lids = lids / np.percentile(lids, 80)
    head = np.stack([yaw, pitch, roll], axis=1)
    return head, np.clip(2.4 * mouth, 0, 1), np.clip(1.4 * lids - 0.4, 0.05, 1)
