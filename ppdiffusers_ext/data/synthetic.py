"""Drawn people that move: clips for the demo, the tests and training, made from a seed alone.

A clip has what human animation needs: a reference picture of a person at rest, the poses of a motion as OpenPose
drawings, and the same person drawn in these poses. Who it is, what they wear, where they stand and how they move
follow from the seed; the same seed gives the same bits.

Lengths are in units of the figure's height, x to the right and y downwards, the origin between the feet.
"""

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import ImageColor

from ppdiffusers_ext.data.drawing import draw_face, draw_person, draw_pose, shade
from ppdiffusers_ext.data.drawn_clip import SyntheticClip, identity_vector
from ppdiffusers_ext.data.figures.clips import detailed_clip
from ppdiffusers_ext.data.keypoints import keypoints_of
from ppdiffusers_ext.data.openpose import KEYPOINTS
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.skeletons import PLAIN, WEIGHTED, Style
from ppdiffusers_ext.data.video_writer import VideoWriter

FPS = Fraction(15)
_CRF = 10  # of training clips, which are small
SIMPLE, DETAILED = FIGURES = ("simple", "detailed")
_HAIR_STYLES = ("short", "long", "bun", "cap")


def _colors(text: str) -> tuple[tuple[int, ...], ...]:
    return tuple(ImageColor.getrgb(f"#{color}") for color in text.split())


_SKINS = _colors("f8ceac f1c296 e0ac78 c68654 8d5532 603a26")
_HAIRS = _colors("1c1818 4a2e1c 804e26 d6ac60 b24822 96969c 5c3c8c")
_CLOTHES = _colors("d63c3c f09630 f6d246 56aa5a 288282 4682d2 303e78 8c58b0 e880a4 f4f4f0 34343a 966e50")
_BACKGROUNDS = _colors("cee2f0 f4eec4 d6ead2 e8d6e6 ced2dc bedee0")


def synthetic_clip(
    seed: int | Sequence[int],
    num_frames: int,
    width: int,
    height: int,
    entrance: int = 0,
    close: bool = False,
    figures: str = SIMPLE,
    style: Style = PLAIN,
    still: float = 0.0,
) -> SyntheticClip:
    """The `SyntheticClip` of a seed.

    Args:
        seed: a number, or several (those of a set and of a clip in it).
        num_frames: of the motion.
        width, height: pixels.
        entrance: frames, before the others, in which the person goes from the reference's pose into the motion.
        close: whether the upper body fills the picture.
        figures: one of `FIGURES`: "simple", of 18 joints before a wall, which the shipped models were trained on; or
            "detailed", those of `data.figures`.
        style: in which poses of detailed figures are drawn.
        still: part of the cameras that do not move, from 0 to 1; of the others of detailed figures one in six does
            not either, and those of simple figures never move.

    Raises:
        ValueError: less than one frame, sides below 16 pixels, or figures that are not known.
    """
    if num_frames < 1 or min(width, height) < 16:
        raise ValueError(f"got {num_frames} frames of {width}x{height}; at least 1 frame of 16x16 is accepted")
    if figures not in FIGURES:
        raise ValueError(f"the figures {figures!r} are not known; {' or '.join(FIGURES)} are accepted")
    if figures == DETAILED:
        return detailed_clip(seed, num_frames, width, height, entrance, close, style, still)
    rng = np.random.default_rng(seed)
    person, motion, camera = random_person(rng), _motion(rng), _camera(rng)
    rest = _rest(rng, motion)
    if close:
        camera.zoom, camera.rise = 2 * camera.zoom, camera.rise + 0.19
    poses = [
        keypoints(person, _between(rest, motion, 1 + index / max(entrance, 1)), index)
        for index in range(-entrance, num_frames)
    ]
    return SyntheticClip(
        reference=draw_person(person, keypoints(person, rest, 0), camera, width, height),
        pose=np.stack([draw_pose(points, camera, width, height) for points in poses]),
        target=np.stack([draw_person(person, points, camera, width, height) for points in poses]),
        face=np.stack([draw_face(person, points, camera, width, height) for points in poses]),
        identity=identity_of(person),
        fps=FPS,
    )


def identity_of(person: Any) -> np.ndarray:
    """The `identity_vector` of the colours and the shape of a head."""
    covering = person.pattern_color if person.hair_style == "cap" else person.hair
    colors = (np.array([*person.skin, *covering]) - 128) / 64
    style = 2.0 * np.array([person.hair_style == style for style in _HAIR_STYLES])
    return identity_vector(np.array([*colors, *style, (person.head - 1.025) / 0.0725]))


def random_person(rng: np.random.Generator) -> SimpleNamespace:
    """Looks: colours as RGB, proportions as factors around 1."""

    def choose(options: Sequence[Any]) -> Any:
        return options[rng.integers(len(options))]

    clothes = [shade(_CLOTHES[i], rng.uniform(0.85, 1.0)) for i in rng.permutation(len(_CLOTHES))[:4]]
    return SimpleNamespace(
        shirt=clothes[0],
        pattern_color=clothes[1],
        trousers=clothes[2],
        shoes=clothes[3],
        skin=choose(_SKINS),
        hair=choose(_HAIRS),
        wall=shade(choose(_BACKGROUNDS), rng.uniform(0.4, 1.0)),
        floor=shade(choose(_BACKGROUNDS), rng.uniform(0.3, 0.9)),
        hair_style=choose(_HAIR_STYLES),
        pattern=choose(("plain", "stripes", "bars", "dots")),
        bottom=choose(("trousers", "shorts", "skirt")),
        long_sleeves=bool(rng.integers(2)),
        shoulders=rng.uniform(0.88, 1.15),
        hips=rng.uniform(0.9, 1.15),
        head=rng.uniform(0.9, 1.15),
        limbs=rng.uniform(0.85, 1.25),  # thickness
        legs=rng.uniform(0.9, 1.04),  # lengths
        torso=rng.uniform(0.9, 1.04),
        arms=rng.uniform(0.9, 1.06),
    )


def _motion(rng: np.random.Generator) -> SimpleNamespace:
    """A periodic dance. Angles in radians: an arm at 0 hangs down, at pi/2 points outwards, at pi upwards."""
    kinds = {  # limits of: angle of the upper arm, its swing, angle of the elbow, its swing, swings in a period
        "wave": ((1.5, 1.9), (0.1, 0.3), (0.8, 1.3), (0.3, 0.5), (2, 2)),
        "swing": ((0.35, 0.6), (0.1, 0.3), (0.1, 0.6), (0.1, 0.4), (1, 1)),
        "flap": ((0.9, 1.4), (0.5, 0.8), (0.2, 0.6), (0.2, 0.4), (1, 1)),
        "raise": ((2.2, 2.5), (0.2, 0.4), (0.1, 0.4), (0.1, 0.3), (1, 1)),
    }
    return SimpleNamespace(
        period=float(rng.integers(20, 37)),  # frames
        phase=rng.uniform(0, 2 * np.pi),
        travel=rng.uniform(0.04, 0.13),  # of the whole figure to the side, there and back in two periods
        place=0,
        sway=rng.uniform(0.015, 0.05),  # hips to the side
        bend=rng.uniform(0.0, 0.06),  # knees
        lean=rng.uniform(0.0, 0.14),  # of the torso
        stance=rng.uniform(0.06, 0.11),  # feet from the middle
        step=rng.uniform(0.02, 0.1),  # feet off the floor, in turn
        tilt=rng.uniform(0.03, 0.15),  # of the head
        turn=rng.uniform(0.0, 0.3),  # of the face
        arms=[[rng.uniform(*limits) for limits in kinds[rng.choice(list(kinds))]] for _ in range(2)],
    )


def _rest(rng: np.random.Generator, motion: SimpleNamespace) -> SimpleNamespace:
    """Standing still at a side, with the beat of the motion."""
    still = {**vars(motion), **dict.fromkeys("travel sway bend lean step tilt turn".split(), 0)}
    place = rng.choice((-1, 1)) * rng.uniform(0.08, 0.2)
    arms = [(0.3, 0, 0.08, 0, arm[-1]) for arm in motion.arms]
    return SimpleNamespace(**{**still, "place": place, "stance": 0.075, "arms": arms})


def _between(rest: SimpleNamespace, motion: SimpleNamespace, part: float) -> SimpleNamespace:
    """The motion at `part` of the way from rest (0) into it (1 and more), without a jerk."""
    part = np.clip(part, 0, 1)
    part = part * part * (3 - 2 * part)

    def mix(first: Any, second: Any) -> Any:
        if isinstance(second, list):
            return [[mix(*pair) for pair in zip(*arms)] for arms in zip(first, second)]
        return first if first == second else (1 - part) * first + part * second

    return SimpleNamespace(**{name: mix(value, getattr(motion, name)) for name, value in vars(rest).items()})


def _camera(rng: np.random.Generator) -> SimpleNamespace:
    """Framing: size of the figure, its place in the picture, and the height of the horizon above the feet."""
    return SimpleNamespace(
        zoom=rng.uniform(0.88, 1.0),
        shift=rng.uniform(-0.03, 0.03),
        rise=rng.uniform(-0.02, 0.02),
        horizon=rng.uniform(0.1, 0.3),
    )


def keypoints(person: Any, motion: Any, index: float) -> np.ndarray:
    """The (18, 2) keypoints of a person at frame `index` of a motion."""
    angle = 2 * np.pi * index / motion.period + motion.phase
    middle = motion.travel * np.sin(0.5 * angle) + motion.place
    bend = motion.bend * (0.5 - 0.5 * np.cos(2 * angle))
    hips = np.array([middle + motion.sway * np.sin(angle), -0.47 * person.legs + bend])
    lean = (motion.lean + 0.8 * motion.sway) * np.sin(angle)
    point = {"neck": hips + _direction(np.pi - lean) * 0.335 * person.torso}
    for side, name, arm in ((-1, "r", motion.arms[0]), (1, "l", motion.arms[1])):
        point[f"{name}_hip"] = hips + (side * 0.055 * person.hips, 0.0)
        lift = motion.step * max(0.0, side * np.sin(angle))
        ankle = np.array([middle + side * motion.stance, -0.045 - lift])
        # Seen from the front a bent knee comes forward: thigh and shin look shorter and it moves out a little.
        point[f"{name}_ankle"] = ankle
        outwards = side * (0.005 + 0.35 * lift + 0.5 * bend)
        point[f"{name}_knee"] = 0.5 * (point[f"{name}_hip"] + ankle) + (outwards, -0.2 * lift)
        base, upper_swing, elbow, elbow_swing, swings = arm
        upper = base + upper_swing * np.sin(swings * angle)
        lower = upper + elbow + elbow_swing * np.sin(swings * angle + 0.8)
        point[f"{name}_shoulder"] = point["neck"] + (side * 0.1 * person.shoulders, 0.012)
        point[f"{name}_elbow"] = point[f"{name}_shoulder"] + _direction(side * upper) * 0.16 * person.arms
        point[f"{name}_wrist"] = point[f"{name}_elbow"] + _direction(side * lower) * 0.15 * person.arms
    point.update(_face(person, motion, angle, point["neck"]))
    return np.array([point[name] for name in KEYPOINTS])


def _face(person: SimpleNamespace, motion: SimpleNamespace, angle: float, neck: np.ndarray) -> dict[str, np.ndarray]:
    """Nose, eyes and ears on a head that tilts and turns."""
    tilt = motion.tilt * np.sin(angle + 0.5)
    turn = motion.turn * np.sin(angle + 1.2)
    right, down = np.array([np.cos(tilt), np.sin(tilt)]), np.array([-np.sin(tilt), np.cos(tilt)])
    radius = 0.068 * person.head
    center = neck - down * (0.055 + radius)
    looking = center + right * radius * turn
    face = {"nose": looking + down * radius * 0.12}
    for side, name in ((-1, "r"), (1, "l")):
        face[f"{name}_eye"] = looking + radius * (side * 0.36 * right - 0.14 * down)
        face[f"{name}_ear"] = center + radius * ((side * 0.95 - 0.3 * turn) * right + 0.02 * down)
    return face


def _direction(angle: float) -> np.ndarray:
    """The unit vector at an angle from straight down, positive to the right."""
    return np.array([np.sin(angle), np.cos(angle)])


def write_clips(
    folder: str | os.PathLike,
    seed: int,
    numbers: Iterable[int],
    num_frames: int,
    side: int,
    entrance: int = 0,
    figures: str = SIMPLE,
    still: float = 0.0,
    close: bool = False,
    weighted: bool = False,
) -> None:
    """Write drawn clips as training data: video/NUMBER.mp4, video_dwpose/NUMBER.mp4 and, of detailed figures,
    keypoints/NUMBER.npy: (frames, 18, 3), x and y in parts of the picture, and a score. Those there are kept.

    Args:
        folder: of the set.
        seed, numbers: clip n of the set is that of the seed (seed, n).
        num_frames, entrance, figures, still, close: of each, see `synthetic_clip`.
        weighted: whether the colours of poses are darker by their scores (`data.skeletons.WEIGHTED`).
        side: pixels of the drawings, and of the files, whose colours are as fine as their brightness.
    """
    for number in numbers:
        style = WEIGHTED if weighted else PLAIN
        paths = [Path(folder) / kind / f"{number:05d}.mp4" for kind in ("video", "video_dwpose")]
        keypoints = Path(folder) / "keypoints" / f"{number:05d}.npy"
        if all(path.exists() for path in [*paths, *[keypoints] * (figures != SIMPLE)]):
            continue
        clip = synthetic_clip((seed, number), num_frames, side, side, entrance, close, figures, style, still)
        for path, frames in zip(paths, (clip.target, clip.pose)):
            with VideoWriter(path, clip.fps, side, side, _CRF, full_colours=True) as writer:
                writer.write(frames)
        if clip.skeletons:
            with output_file(keypoints) as temporary, open(temporary, "wb") as file:
                np.save(file, keypoints_of(clip.skeletons))
