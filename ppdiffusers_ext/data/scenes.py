"""Drawn people of whom one thing can be said in words: the colours of shirt and background, and the motion.

The figures are those of `data.synthetic`. Who it is, the framing and the phase of the motion follow from the seed.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from ppdiffusers_ext.data.drawing import draw_person, shade
from ppdiffusers_ext.data.synthetic import keypoints, random_person

FPS = Fraction(8)
STYLES = ("day", "night")
COLORS: dict[str, tuple[int, ...]] = {
    name: ImageColor.getrgb(color)
    for name, color in (
        ("red", "#d43232"),
        ("orange", "#f08a1e"),
        ("yellow", "#f4dc3c"),
        ("green", "#46a046"),
        ("blue", "#3264d2"),
        ("purple", "#7d3cb4"),
        ("pink", "#f096be"),
        ("white", "#f2f2f0"),
    )
}
MOTIONS = ("stand", "wave", "raise", "jump", "squat", "walk")
_TROUSERS = tuple(ImageColor.getrgb(color) for color in ("#26262c", "#3c4048", "#4a3c34"))
MOON = (244, 238, 190)
_NIGHT = np.array([0.34, 0.38, 0.62])


@dataclass(frozen=True)
class Scene:
    """What words say of a clip: names of `COLORS` (of the shirt, and of the background) and of `MOTIONS`."""

    shirt: str
    background: str
    motion: str


def all_scenes() -> list[Scene]:
    """All scenes, in order: a shirt is never of the background's colour."""
    names = itertools.product(COLORS, COLORS, MOTIONS)
    return [Scene(*each) for each in names if each[0] != each[1]]


def draw_scene(scene: Scene, seed: int | Sequence[int], num_frames: int, side: int, style: str = "day") -> np.ndarray:
    """The frames of a scene.

    Args:
        scene: `Scene`.
        seed: of the person, the framing and the phase of the motion; a number, or several.
        num_frames: of the clip, at `FPS`; more than 24 may leave the picture.
        side: pixels.
        style: one of `STYLES`: as it is, or as at night, dark and blue, below a moon.

    Returns:
        (num_frames, side, side, 3) uint8.
    """
    rng = np.random.default_rng(seed)
    person, camera = _person(rng, scene), _camera(rng)
    move = _MOVES[scene.motion](rng)
    moon = (rng.uniform(0.8, 0.86), rng.uniform(0.12, 0.18))
    frames = []
    for index in range(num_frames):
        motion, lift = move(index)
        points = keypoints(person, motion, index) - (0.0, lift)
        frame = draw_person(person, points, camera, side, side)
        frames.append(_as_at_night(frame, moon) if style == "night" else frame)
    return np.stack(frames)


def _person(rng: np.random.Generator, scene: Scene) -> Any:
    """Looks of a person in a plain shirt before a wall; all that is not named is grey, brown or of the skin."""
    person = random_person(rng)
    shirt, wall = (shade(COLORS[name], rng.uniform(0.93, 1.0)) for name in (scene.shirt, scene.background))
    person.shirt, person.wall, person.floor = shirt, wall, shade(wall, 0.8)
    person.trousers, person.shoes, person.pattern_color = (_TROUSERS[i] for i in rng.permutation(len(_TROUSERS)))
    person.pattern, person.bottom, person.long_sleeves = "plain", "trousers", True
    return person


def _camera(rng: np.random.Generator) -> SimpleNamespace:
    return SimpleNamespace(
        zoom=rng.uniform(0.84, 0.92), shift=rng.uniform(-0.02, 0.02), rise=rng.uniform(-0.01, 0.01), horizon=0.16
    )


_HANGING = (0.3, 0.0, 0.08, 0.0, 1)  # an arm: see `data.synthetic`
_STILL: dict[str, Any] = {
    **{"period": 16.0, "phase": 0.0, "travel": 0.0, "place": 0.0, "sway": 0.0, "bend": 0.0, "lean": 0.0},
    **{"stance": 0.08, "step": 0.0, "tilt": 0.0, "turn": 0.0, "arms": [_HANGING, _HANGING]},
}
_Move = Callable[[int], tuple[SimpleNamespace, float]]  # number of a frame -> pose, and height above the floor


def _swung(rng: np.random.Generator, period: tuple[float, float], **changes: Any) -> _Move:
    """A move on the spot, of so many frames."""
    phase = {"period": rng.uniform(*period), "phase": rng.uniform(0, 2 * np.pi)}
    motion = SimpleNamespace(**{**_STILL, **phase, **changes})
    return lambda index: (motion, 0.0)


def _stand(rng: np.random.Generator) -> _Move:
    return _swung(rng, (16, 16))


def _wave(rng: np.random.Generator) -> _Move:
    return _swung(rng, (9, 11), arms=[_HANGING, (2.0, 0.12, 0.75, 0.6, 1)])


def _raise(rng: np.random.Generator) -> _Move:
    arm = (1.45, 1.15, 0.15, 0.1, 1)
    return _swung(rng, (13, 16), arms=[arm, arm])


def _squat(rng: np.random.Generator) -> _Move:
    return _swung(rng, (26, 32), bend=rng.uniform(0.2, 0.24), arms=[(0.6, 0.0, 0.3, 0.0, 1)] * 2)


def _jump(rng: np.random.Generator) -> _Move:
    period, phase, height = rng.uniform(9, 12), rng.uniform(0, 1), rng.uniform(0.16, 0.2)
    motion = SimpleNamespace(**{**_STILL, "arms": [(0.7, 0.0, 0.2, 0.0, 1)] * 2})

    def move(index: int) -> tuple[SimpleNamespace, float]:
        part = (index / period + phase) % 1 / 0.75  # of the time in the air
        return motion, height * 4 * part * (1 - part) if part < 1 else 0.0

    return move


def _walk(rng: np.random.Generator) -> _Move:
    pace, start = rng.uniform(0.028, 0.034), rng.uniform(-0.42, -0.38)
    motion = {**_STILL, "period": rng.uniform(8, 10), "phase": rng.uniform(0, 2 * np.pi), "step": 0.06}
    return lambda index: (SimpleNamespace(**{**motion, "place": start + pace * index}), 0.0)


_MOVES: dict[str, Callable[[np.random.Generator], _Move]] = {
    **{"stand": _stand, "wave": _wave, "raise": _raise, "jump": _jump, "squat": _squat, "walk": _walk}
}


def _as_at_night(frame: np.ndarray, moon: tuple[float, float]) -> np.ndarray:
    """A picture in dark blue, with a moon whose centre is at fractions of the sides."""
    side, large = len(frame), 3 * len(frame)
    dark = Image.fromarray(np.round(frame * _NIGHT).astype(np.uint8))
    disk = Image.new("L", (large, large))
    x, y = (large * part for part in moon)
    ImageDraw.Draw(disk).ellipse([x - 0.07 * large, y - 0.07 * large, x + 0.07 * large, y + 0.07 * large], fill=255)
    dark.paste(MOON, mask=disk.resize((side, side), Image.Resampling.BOX))
    return np.asarray(dark)
