"""A camera that moves: pans, goes sideways, nearer and around, or is held in the hand."""

from dataclasses import dataclass, replace

import numpy as np

from ppdiffusers_ext.data.figures.surfaces import OVERSAMPLING

DISTANCE = 4.6  # from the figure, in heights of an adult
STILL = "still"
MOVES = (STILL, "pan", "truck", "dolly", "orbit", "handheld")


@dataclass(frozen=True)
class View:
    """Where a camera is in one frame.

    Attributes:
        position: (3,) in the world.
        axes: (3, 3), its right, down and back as rows.
        focal: pixels of the canvas of what is one unit large at one unit of distance.
        center: (2,), where the canvas' pixels have what is straight ahead.
    """

    position: np.ndarray
    axes: np.ndarray
    focal: float
    center: np.ndarray

    @property
    def scale(self) -> float:
        """Pixels of the canvas of one unit at `DISTANCE`: what depths are measured in."""
        return self.focal / DISTANCE

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points, (..., 3), in the canvas: (..., 3), and pixels of one unit there, (...)."""
        seen = (points - self.position) @ self.axes.T
        away = np.maximum(-seen[..., 2], 0.05)
        scales = self.focal / away
        places = np.concatenate(
            [seen[..., :2] * scales[..., None] + self.center, -away[..., None] * self.scale], axis=-1
        )
        return places, scales


@dataclass(frozen=True)
class Camera:
    """A camera's framing and its way.

    Attributes:
        move: one of `MOVES`.
        size: how many pictures' heights an adult is high.
        aim: height of the point it looks at, and where in the picture this is, in heights of the picture from its top.
        amount, period, phase: of the way there and back; the period in frames.
        yaw, pitch: where it looks at rest, radians.
        wobbles: (3, 3), amount, frequency and phase of what a hand does to both angles and to the place.
    """

    move: str
    size: float
    aim: tuple[float, float]
    amount: float
    period: float
    phase: float
    yaw: float
    pitch: float
    wobbles: np.ndarray

    def lowered(self, height: float) -> "Camera":
        """The same for a body of another height: it looks at the same part of it, and is nearer to smaller ones."""
        return replace(self, size=self.size * height**-0.6, aim=(self.aim[0] * height, self.aim[1]))

    def view(self, index: float, place: float, width: int, height: int) -> View:
        """The `View` of frame `index`, of a figure at x = `place`."""
        way = self.amount * np.sin(2 * np.pi * index / self.period + self.phase)
        ways = dict.fromkeys(MOVES, 0.0) | {self.move: way}
        shakes = self.wobbles[:, 0] * np.sin(self.wobbles[:, 1] * index + self.wobbles[:, 2])
        shakes = shakes * (self.move == "handheld")
        yaw = self.yaw + ways["orbit"]
        axes = _axes(yaw + 0.05 * ways["pan"] + shakes[0], self.pitch + shakes[1])
        target = np.array([place + 0.18 * ways["truck"] + shakes[2], self.aim[0], 0.0])
        away = DISTANCE * (1 - 0.14 * ways["dolly"])
        position = target + _axes(yaw, self.pitch)[2] * away
        large = np.array([width, height]) * OVERSAMPLING
        focal = DISTANCE * self.size * min(large[1], 1.15 * large[0])
        return View(position, axes, float(focal), np.array([0.5 * large[0], self.aim[1] * large[1]]))


def random_camera(rng: np.random.Generator, is_close: bool = False, still: float = 0.0) -> Camera:
    """A camera that has all of a figure in the picture, or its upper body.

    Args:
        rng: of what the camera does.
        is_close: whether the upper body fills the picture.
        still: part of the cameras that do not move; of the others one in `len(MOVES)` does not either.
    """
    move = MOVES[rng.integers(len(MOVES))]
    size = rng.uniform(0.68, 0.75) * (2.0 if is_close else 1.0)
    aim = (0.74, rng.uniform(0.5, 0.56)) if is_close else (0.5, rng.uniform(0.545, 0.56))
    wobbles = np.stack([[0.006, 0.005, 0.012], rng.uniform(0.15, 0.4, 3), rng.uniform(0, 2 * np.pi, 3)], axis=1)
    amount = {"orbit": rng.uniform(0.1, 0.3)}.get(move, rng.uniform(0.5, 1.0)) * rng.choice((-1, 1))
    camera = Camera(
        move=move,
        size=size,
        aim=aim,
        amount=float(amount) * (0.5 if is_close else 1.0),  # what is close leaves the picture sooner
        period=rng.uniform(50, 110),
        phase=rng.uniform(0, 2 * np.pi),
        yaw=rng.uniform(-0.12, 0.12),
        pitch=rng.uniform(0.03, 0.12),
        wobbles=wobbles,
    )
    # Drawn last, so that what else a camera is like does not depend on how many are still.
    return replace(camera, move=STILL) if rng.random() < still else camera


def _axes(yaw: float, pitch: float) -> np.ndarray:
    """Right, down and back of a camera that looks along -z at no angle, to the left by `yaw`, down by `pitch`."""
    sin, cos = np.sin(yaw), np.cos(yaw)
    right, level = np.array([cos, 0.0, -sin]), np.array([sin, 0.0, cos])
    back = level * np.cos(pitch) + np.array([0.0, np.sin(pitch), 0.0])
    down = np.array([0.0, -np.cos(pitch), 0.0]) + level * np.sin(pitch)
    return np.stack([right, down, back])
