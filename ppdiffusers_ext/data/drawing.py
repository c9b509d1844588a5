"""How drawn people look: a pose as OpenPose draws it, and a person in that pose, from 18 keypoints.

Lengths are in units of the figure's height, x to the right and y downwards, the origin between the feet.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ppdiffusers_ext.data.openpose import KEYPOINTS, LIMB_BRIGHTNESS, LIMBS, PALETTE

Color = str | tuple[int, ...]  # a name, or red, green and blue
_OVERSAMPLING = 3  # everything is drawn this much larger and averaged: Pillow draws without anti-aliasing


class _Canvas:
    """An oversized drawing in the figure's units, shrunk to the size of the picture by `finish`."""

    def __init__(self, camera: SimpleNamespace, width: int, height: int, color: Color) -> None:
        self.size = (width, height)
        self.large = (width * _OVERSAMPLING, height * _OVERSAMPLING)
        self.image = Image.new("RGB", self.large, color)
        self.draw = ImageDraw.Draw(self.image)
        # Room for a bun and for arms that are spread at the end of the way to a side.
        self.scale = camera.zoom * min(0.82 * self.large[1], 0.75 * self.large[0])
        center = np.array([camera.shift, 0.525 + camera.rise]) * self.scale
        self.origin = 0.5 * np.array(self.large) + center

    def pixels(self, points: Sequence[Any] | np.ndarray) -> np.ndarray:
        return np.asarray(points) * self.scale + self.origin

    def polygon(self, points: Sequence[Any] | np.ndarray, color: Color) -> None:
        self.draw.polygon([tuple(point) for point in self.pixels(points)], fill=color)

    def disk(self, center: np.ndarray, radius: float, color: Color) -> None:
        self.ellipse(center, radius, radius, (1.0, 0.0), color)

    def ellipse(
        self,
        center: np.ndarray | tuple[float, float],
        along: float,
        across: float,
        direction: np.ndarray | tuple[float, float],
        color: Color,
    ) -> None:
        """An ellipse with half axes `along` the direction and `across` it."""
        angles = np.linspace(0, 2 * np.pi, 49)[:-1, None]
        direction = np.asarray(direction)
        normal = np.array([-direction[1], direction[0]])
        self.polygon(center + along * np.cos(angles) * direction + across * np.sin(angles) * normal, color)

    def limb(self, start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float, color: Color) -> None:
        """A tapered limb with round ends."""
        along = (end - start) / max(np.linalg.norm(end - start), 1e-6)
        normal = np.array([-along[1], along[0]])
        self.disk(start, start_radius, color)
        self.disk(end, end_radius, color)
        corners = [start + normal * start_radius, end + normal * end_radius]
        self.polygon([*corners, end - normal * end_radius, start - normal * start_radius], color)

    def finish(self) -> np.ndarray:
        return np.asarray(self.image.resize(self.size, Image.Resampling.BOX))


def draw_pose(points: np.ndarray, camera: Any, width: int, height: int) -> np.ndarray:
    """The (H, W, 3) uint8 OpenPose drawing of (18, 2) keypoints: an ellipse for a limb, a dot for a joint."""
    canvas = _Canvas(camera, width, height, "black")
    radius = max(0.0065, 1.2 * _OVERSAMPLING / canvas.scale)  # at least 1.2 pixels, to be seen in small pictures
    for (start, end), color in zip(LIMBS, PALETTE):
        vector = points[end] - points[start]
        length = float(np.linalg.norm(vector))
        canvas.ellipse(
            (points[start] + points[end]) / 2, length / 2, radius, vector / length, shade(color, LIMB_BRIGHTNESS)
        )
    for point, color in zip(points, PALETTE):
        canvas.disk(point, radius, color)
    return canvas.finish()


def draw_person(person: Any, points: np.ndarray, camera: Any, width: int, height: int) -> np.ndarray:
    """The (H, W, 3) uint8 picture of a person whose (18, 2) keypoints are given."""
    canvas = _Canvas(camera, width, height, person.wall)
    point = dict(zip(KEYPOINTS, points))
    _draw_room(canvas, person, camera, 0.5 * (point["r_ankle"] + point["l_ankle"])[0])
    _draw_hair_behind(canvas, person, point)
    _draw_legs(canvas, person, point)
    _draw_torso(canvas, person, point)
    _draw_head(canvas, person, point)
    _draw_arms(canvas, person, point)
    return canvas.finish()


def draw_face(person: Any, points: np.ndarray, camera: Any, width: int, height: int) -> np.ndarray:
    """The (H, W) uint8 mask of the head of a person whose (18, 2) keypoints are given: white, with the hair."""
    canvas = _Canvas(camera, width, height, "black")
    at, radius, _, _ = _head_frame(person, dict(zip(KEYPOINTS, points)))
    canvas.disk(at(0, 0), radius * 1.4, "white")
    return canvas.finish()[..., 0]


def _draw_room(canvas: _Canvas, person: SimpleNamespace, camera: SimpleNamespace, middle: float) -> None:
    """Wall, floor, and a shadow below the `middle` between the feet."""
    width, height = canvas.large
    horizon = canvas.pixels((0.0, -camera.horizon))[1]
    for row in range(0, height, _OVERSAMPLING):
        color = shade(person.wall, 0.9 + 0.1 * row / height) if row < horizon else person.floor
        canvas.draw.rectangle([0, row, width, row + _OVERSAMPLING], fill=color)
    canvas.ellipse((middle, -0.01), 0.2, 0.03, (1.0, 0.0), shade(person.floor, 0.8))


def _draw_legs(canvas: _Canvas, person: SimpleNamespace, point: dict[str, np.ndarray]) -> None:
    thick = person.limbs
    for name, side in (("r", -1), ("l", 1)):
        hip, knee, ankle = (point[f"{name}_{joint}"] for joint in ("hip", "knee", "ankle"))
        canvas.ellipse(ankle + (side * 0.016, 0.026), 0.042, 0.02, (1.0, 0.0), person.shoes)
        upper = person.skin if person.bottom == "skirt" else person.trousers
        lower = person.trousers if person.bottom == "trousers" else person.skin
        canvas.limb(knee, ankle, 0.034 * thick, 0.024 * thick, lower)
        canvas.limb(hip, knee, 0.05 * thick, 0.036 * thick, upper)


def _draw_torso(canvas: _Canvas, person: SimpleNamespace, point: dict[str, np.ndarray]) -> None:
    left, right = outline = _torso_outline(person, point)
    waist = 0.052 * person.limbs
    canvas.limb(point["r_hip"], point["l_hip"], waist, waist, person.trousers)
    if person.bottom == "skirt":
        hem = 0.5 * (point["r_knee"] + point["l_knee"]) + (0.0, -0.03)
        sides = (point["r_hip"] - (waist, 0.0), point["l_hip"] + (waist, 0.0))
        canvas.polygon([*sides, hem + (0.13, 0.0), hem + (-0.13, 0.0)], person.trousers)
    canvas.limb(left[0], right[0], 0.026, 0.026, person.shirt)
    canvas.polygon([*left, *right[::-1]], person.shirt)
    if person.pattern == "stripes":
        for start in np.arange(0.08, 0.95, 0.2):
            _draw_patch(canvas, outline, (0.0, 1.0), (start, start + 0.1), person.pattern_color)
    elif person.pattern == "bars":
        for start in np.arange(0.1, 0.9, 0.28):
            _draw_patch(canvas, outline, (start, start + 0.12), (0.0, 1.0), person.pattern_color)
    elif person.pattern == "dots":
        for row, y in enumerate(np.arange(0.12, 0.95, 0.19)):
            for x in np.arange(0.2 if row % 2 else 0.35, 0.9, 0.3):
                canvas.disk(_on_torso(outline, x, y), 0.014, person.pattern_color)
    canvas.limb(left[-1], right[-1], 0.012, 0.012, shade(person.trousers, 0.7))


def _torso_outline(person: SimpleNamespace, point: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Left and right edge of the torso from the shoulders over the waist to the hips, (8, 2) each."""
    edges = []
    for name, side in (("r", -1), ("l", 1)):
        hip = point[f"{name}_hip"] + (side * 0.044 * person.limbs, -0.02)
        along = np.linspace(0, 1, 8)[:, None]
        waist = np.sin(np.pi * along) * (side * 0.028, 0.0)
        edges.append(point[f"{name}_shoulder"] * (1 - along) + hip * along - waist)
    return edges


def _on_torso(outline: Sequence[np.ndarray], x: float, y: float) -> np.ndarray:
    """The point at fractions x from the person's right and y from the shoulders."""
    rows = np.linspace(0, 1, len(outline[0]))
    left, right = (np.array([np.interp(y, rows, edge[:, axis]) for axis in (0, 1)]) for edge in outline)
    return left * (1 - x) + right * x


def _draw_patch(
    canvas: _Canvas,
    outline: Sequence[np.ndarray],
    across: tuple[float, float],
    along: tuple[float, float],
    color: Color,
) -> None:
    down = np.linspace(along[0], along[1], 8)
    sides = [[_on_torso(outline, x, y) for y in down] for x in across]
    canvas.polygon([*sides[0], *sides[1][::-1]], color)


def _draw_arms(canvas: _Canvas, person: SimpleNamespace, point: dict[str, np.ndarray]) -> None:
    thick, sleeve = person.limbs, shade(person.shirt, 0.88)
    forearm = sleeve if person.long_sleeves else person.skin
    for name in ("r", "l"):
        shoulder, elbow, wrist = (point[f"{name}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
        canvas.limb(elbow, wrist, 0.026 * thick, 0.02 * thick, forearm)
        canvas.limb(shoulder, elbow, 0.034 * thick, 0.027 * thick, forearm)
        canvas.limb(shoulder, 0.45 * shoulder + 0.55 * elbow, 0.034 * thick, 0.036 * thick, sleeve)
        canvas.disk(wrist + (wrist - elbow) * 0.12, 0.025 * thick, person.skin)


def _head_frame(
    person: SimpleNamespace, point: dict[str, np.ndarray]
) -> tuple[Callable[[float, float], np.ndarray], float, np.ndarray, np.ndarray]:
    """The head's own coordinates: a function of (x, y) in radii from its center, the radius, right and down."""
    right = (point["l_ear"] - point["r_ear"]) / np.linalg.norm(point["l_ear"] - point["r_ear"])
    down = np.array([-right[1], right[0]])
    radius = 0.068 * person.head
    center = point["neck"] - down * (0.055 + radius)
    return lambda x, y: center + radius * (x * right + y * down), radius, right, down


def _draw_hair_behind(canvas: _Canvas, person: SimpleNamespace, point: dict[str, np.ndarray]) -> None:
    at, radius, _, _ = _head_frame(person, point)
    if person.hair_style == "long":
        canvas.limb(at(0, 0), at(0, 1.5), radius * 1.2, radius * 1.1, person.hair)
    if person.hair_style == "bun":
        canvas.disk(at(0, -1.35), radius * 0.5, person.hair)


def _draw_head(canvas: _Canvas, person: SimpleNamespace, point: dict[str, np.ndarray]) -> None:
    at, radius, right, down = _head_frame(person, point)
    canvas.limb(point["neck"] - down * 0.04, point["neck"], 0.024, 0.028, shade(person.skin, 0.9))
    for ear in (point["r_ear"], point["l_ear"]):
        canvas.disk(ear, radius * 0.2, shade(person.skin, 0.94))
    canvas.ellipse(at(0, 0), radius * 1.12, radius * 0.96, down, person.skin)
    for eye in (point["r_eye"], point["l_eye"]):
        canvas.ellipse(eye, radius * 0.2, radius * 0.15, right, (252, 252, 252))
        canvas.disk(eye, radius * 0.12, (40, 34, 34))
        brow, half = eye - down * radius * 0.3, right * radius * 0.17
        canvas.limb(brow - half, brow + half, 0.004, 0.004, person.hair)
    canvas.disk(point["nose"], radius * 0.11, shade(person.skin, 0.84))
    mouth = point["nose"] + down * radius * 0.4
    canvas.ellipse(mouth, radius * 0.3, radius * 0.13, right, (176, 56, 62))
    canvas.ellipse(mouth - down * radius * 0.07, radius * 0.3, radius * 0.08, right, person.skin)
    _draw_hair_in_front(canvas, person, at, radius)


def _draw_hair_in_front(
    canvas: _Canvas, person: SimpleNamespace, at: Callable[[float, float], np.ndarray], radius: float
) -> None:
    """The upper part of an ellipse around the skull, or a cap with a brim."""
    low, color = (-0.42, person.pattern_color) if person.hair_style == "cap" else (-0.3, person.hair)
    angles = np.linspace(np.arcsin(low / 1.2), -np.pi - np.arcsin(low / 1.2), 33)[:, None]
    canvas.polygon(at(1.04 * np.cos(angles), 1.2 * np.sin(angles)), color)
    if person.hair_style == "cap":
        canvas.limb(at(-0.95, low), at(0.95, low), 0.009, 0.009, shade(color, 0.7))
    elif person.hair_style == "long":
        for side in (-1, 1):
            canvas.limb(at(side, -0.45), at(side * 1.06, 0.9), radius * 0.2, radius * 0.16, color)


def shade(color: Any, factor: float) -> Any:
    """A colour of `factor` times its brightness."""
    return tuple(int(channel * factor) for channel in color)
