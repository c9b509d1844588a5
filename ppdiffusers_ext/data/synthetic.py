"""Drawn people that move: clips for the demo, the tests and training, made from a seed alone.

A clip has what human animation needs: a reference picture of a person at rest, the poses of a motion as OpenPose
drawings, and the same person drawn in these poses. Who it is, what they wear, where they stand and how they move
follow from the seed; the same seed gives the same bits.

Lengths are in units of the figure's height, x to the right and y downwards, the origin between the feet.
"""

import colorsys
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
from PIL import Image, ImageColor, ImageDraw

FPS = Fraction(15)
_OVERSAMPLING = 3  # everything is drawn this much larger and averaged: Pillow draws without anti-aliasing

# The 18 keypoints of OpenPose (COCO); "r" is the person's right, which a viewer sees on the left.
KEYPOINTS = tuple(
    "nose neck r_shoulder r_elbow r_wrist l_shoulder l_elbow l_wrist "
    "r_hip r_knee r_ankle l_hip l_knee l_ankle r_eye l_eye r_ear l_ear".split()
)
_LIMBS = "1-2 1-5 2-3 3-4 5-6 6-7 1-8 8-9 9-10 1-11 11-12 12-13 1-0 0-14 14-16 0-15 15-17".split()
# OpenPose's palette, 18 hues around the circle: limb i and keypoint i have colour i, limbs at 60% brightness.
_PALETTE = tuple(tuple(round(255 * c) for c in colorsys.hsv_to_rgb(i / 18, 1, 1)) for i in range(18))


def _colors(text):
    return tuple(ImageColor.getrgb(f"#{color}") for color in text.split())


_SKINS = _colors("f8ceac f1c296 e0ac78 c68654 8d5532 603a26")
_HAIRS = _colors("1c1818 4a2e1c 804e26 d6ac60 b24822 96969c 5c3c8c")
_CLOTHES = _colors("d63c3c f09630 f6d246 56aa5a 288282 4682d2 303e78 8c58b0 e880a4 f4f4f0 34343a 966e50")
_BACKGROUNDS = _colors("cee2f0 f4eec4 d6ead2 e8d6e6 ced2dc bedee0")


@dataclass(frozen=True)
class SyntheticClip:
    """reference: (H, W, 3) uint8; pose and target: (N, H, W, 3) uint8, frame by frame the same pose; fps: exact."""

    reference: np.ndarray
    pose: np.ndarray
    target: np.ndarray
    fps: Fraction


def synthetic_clip(seed, num_frames, width, height):
    """The `SyntheticClip` of a seed. Raises ValueError for less than one frame or sides below 16 pixels."""
    if num_frames < 1 or min(width, height) < 16:
        raise ValueError(f"got {num_frames} frames of {width}x{height}; at least 1 frame of 16x16 is accepted")
    rng = np.random.default_rng(seed)
    person, motion = _person(rng), _motion(rng)
    poses = [keypoints(person, motion, index) for index in range(num_frames)]
    return SyntheticClip(
        reference=draw_person(person, keypoints(person, _REST, 0), width, height),
        pose=np.stack([draw_pose(points, width, height) for points in poses]),
        target=np.stack([draw_person(person, points, width, height) for points in poses]),
        fps=FPS,
    )


def _person(rng):
    """Looks: colours as RGB, proportions as factors around 1."""

    def choose(options):
        return options[rng.integers(len(options))]

    clothes = [_CLOTHES[i] for i in rng.permutation(len(_CLOTHES))]  # all of different colours
    return SimpleNamespace(
        shirt=clothes[0],
        pattern_color=clothes[1],
        trousers=clothes[2],
        shoes=clothes[3],
        skin=choose(_SKINS),
        hair=choose(_HAIRS),
        wall=choose(_BACKGROUNDS),
        floor=_shade(choose(_BACKGROUNDS), 0.8),
        hair_style=choose(("short", "long", "bun", "cap")),
        pattern=choose(("plain", "stripes", "bars", "dots")),
        bottom=choose(("trousers", "shorts", "skirt")),
        long_sleeves=bool(rng.integers(2)),
        shoulders=rng.uniform(0.9, 1.15),
        hips=rng.uniform(0.9, 1.1),
        head=rng.uniform(0.92, 1.12),
        limbs=rng.uniform(0.85, 1.2),  # thickness
    )


def _motion(rng):
    """A periodic movement. Angles in radians: an arm at 0 hangs down, at pi/2 points outwards, at pi upwards."""
    kinds = {  # limits of: angle of the upper arm, its swing, angle of the elbow, its swing, swings in a period
        "wave": ((1.5, 1.9), (0.1, 0.2), (0.9, 1.3), (0.3, 0.5), (2, 2)),
        "swing": ((0.35, 0.5), (0.1, 0.3), (0.1, 0.6), (0.1, 0.4), (1, 1)),
        "flap": ((0.9, 1.3), (0.4, 0.7), (0.2, 0.6), (0.2, 0.4), (1, 1)),
    }
    return SimpleNamespace(
        period=float(rng.integers(20, 37)),  # frames
        phase=rng.uniform(0, 2 * np.pi),
        sway=rng.uniform(0.015, 0.05),  # hips to the side
        step=rng.uniform(0.02, 0.08),  # feet off the floor, in turn
        tilt=rng.uniform(0.03, 0.15),  # of the head
        turn=rng.uniform(0.0, 0.3),  # of the face
        arms=[[rng.uniform(*limits) for limits in kinds[rng.choice(list(kinds))]] for _ in range(2)],
    )


_REST = SimpleNamespace(period=1, phase=0, sway=0, step=0, tilt=0, turn=0, arms=2 * [(0.3, 0, 0.08, 0, 1)])


def keypoints(person, motion, index):
    """The (18, 2) keypoints of a person at frame `index` of a motion."""
    angle = 2 * np.pi * index / motion.period + motion.phase
    hips = np.array([motion.sway * np.sin(angle), -0.47 + 0.4 * motion.sway * np.cos(2 * angle)])
    point = {"neck": hips + _direction(np.pi + 0.8 * motion.sway * np.sin(angle)) * 0.335}
    for side, name, arm in ((-1, "r", motion.arms[0]), (1, "l", motion.arms[1])):
        point[f"{name}_hip"] = hips + (side * 0.055 * person.hips, 0.0)
        lift = motion.step * max(0.0, side * np.sin(angle))
        ankle = np.array([side * 0.075, -0.045 - lift])
        # Seen from the front a raised knee comes forward: thigh and shin look shorter and it moves out a little.
        point[f"{name}_ankle"] = ankle
        point[f"{name}_knee"] = 0.5 * (point[f"{name}_hip"] + ankle) + (side * (0.005 + 0.35 * lift), -0.2 * lift)
        base, upper_swing, elbow, elbow_swing, swings = arm
        upper = base + upper_swing * np.sin(swings * angle)
        lower = upper + elbow + elbow_swing * np.sin(swings * angle + 0.8)
        point[f"{name}_shoulder"] = point["neck"] + (side * 0.1 * person.shoulders, 0.012)
        point[f"{name}_elbow"] = point[f"{name}_shoulder"] + _direction(side * upper) * 0.16
        point[f"{name}_wrist"] = point[f"{name}_elbow"] + _direction(side * lower) * 0.15
    point.update(_face(person, motion, angle, point["neck"]))
    return np.array([point[name] for name in KEYPOINTS])


def _face(person, motion, angle, neck):
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


def _direction(angle):
    """The unit vector at an angle from straight down, positive to the right."""
    return np.array([np.sin(angle), np.cos(angle)])


class _Canvas:
    """An oversized drawing in the figure's units, shrunk to the size of the picture by `finish`."""

    def __init__(self, width, height, color):
        self.size = (width, height)
        self.large = (width * _OVERSAMPLING, height * _OVERSAMPLING)
        self.image = Image.new("RGB", self.large, color)
        self.draw = ImageDraw.Draw(self.image)
        self.scale = min(0.82 * self.large[1], self.large[0])  # room for a bun and for spread arms
        self.origin = np.array([0.5 * self.large[0], 0.5 * self.large[1] + 0.525 * self.scale])

    def pixels(self, points):
        return np.asarray(points) * self.scale + self.origin

    def polygon(self, points, color):
        self.draw.polygon([tuple(point) for point in self.pixels(points)], fill=color)

    def disk(self, center, radius, color):
        self.ellipse(center, radius, radius, (1.0, 0.0), color)

    def ellipse(self, center, along, across, direction, color):
        """An ellipse with half axes `along` the direction and `across` it."""
        angles = np.linspace(0, 2 * np.pi, 49)[:-1, None]
        direction = np.asarray(direction)
        normal = np.array([-direction[1], direction[0]])
        self.polygon(center + along * np.cos(angles) * direction + across * np.sin(angles) * normal, color)

    def limb(self, start, end, start_radius, end_radius, color):
        """A tapered limb with round ends."""
        along = (end - start) / max(np.linalg.norm(end - start), 1e-6)
        normal = np.array([-along[1], along[0]])
        self.disk(start, start_radius, color)
        self.disk(end, end_radius, color)
        corners = [start + normal * start_radius, end + normal * end_radius]
        self.polygon([*corners, end - normal * end_radius, start - normal * start_radius], color)

    def finish(self):
        return np.asarray(self.image.resize(self.size, Image.Resampling.BOX))


def draw_pose(points, width, height):
    """The (H, W, 3) uint8 OpenPose drawing of (18, 2) keypoints: an ellipse for a limb, a dot for a joint."""
    canvas = _Canvas(width, height, "black")
    radius = max(0.0065, 1.2 * _OVERSAMPLING / canvas.scale)  # at least 1.2 pixels, to be seen in small pictures
    for limb, color in zip(_LIMBS, _PALETTE):
        start, end = map(int, limb.split("-"))
        vector = points[end] - points[start]
        length = np.linalg.norm(vector)
        canvas.ellipse((points[start] + points[end]) / 2, length / 2, radius, vector / length, _shade(color, 0.6))
    for point, color in zip(points, _PALETTE):
        canvas.disk(point, radius, color)
    return canvas.finish()


def draw_person(person, points, width, height):
    """The (H, W, 3) uint8 picture of a person whose (18, 2) keypoints are given."""
    canvas = _Canvas(width, height, person.wall)
    point = dict(zip(KEYPOINTS, points))
    _draw_room(canvas, person)
    _draw_hair_behind(canvas, person, point)
    _draw_legs(canvas, person, point)
    _draw_torso(canvas, person, point)
    _draw_head(canvas, person, point)
    _draw_arms(canvas, person, point)
    return canvas.finish()


def _draw_room(canvas, person):
    width, height = canvas.large
    horizon = canvas.pixels((0.0, -0.16))[1]
    for row in range(0, height, _OVERSAMPLING):
        color = _shade(person.wall, 0.9 + 0.1 * row / height) if row < horizon else person.floor
        canvas.draw.rectangle([0, row, width, row + _OVERSAMPLING], fill=color)
    canvas.ellipse((0.0, -0.01), 0.2, 0.03, (1.0, 0.0), _shade(person.floor, 0.8))


def _draw_legs(canvas, person, point):
    thick = person.limbs
    for name, side in (("r", -1), ("l", 1)):
        hip, knee, ankle = (point[f"{name}_{joint}"] for joint in ("hip", "knee", "ankle"))
        canvas.ellipse(ankle + (side * 0.016, 0.026), 0.042, 0.02, (1.0, 0.0), person.shoes)
        upper = person.skin if person.bottom == "skirt" else person.trousers
        lower = person.trousers if person.bottom == "trousers" else person.skin
        canvas.limb(knee, ankle, 0.034 * thick, 0.024 * thick, lower)
        canvas.limb(hip, knee, 0.05 * thick, 0.036 * thick, upper)


def _draw_torso(canvas, person, point):
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
    canvas.limb(left[-1], right[-1], 0.012, 0.012, _shade(person.trousers, 0.7))


def _torso_outline(person, point):
    """Left and right edge of the torso from the shoulders over the waist to the hips, (8, 2) each."""
    edges = []
    for name, side in (("r", -1), ("l", 1)):
        hip = point[f"{name}_hip"] + (side * 0.044 * person.limbs, -0.02)
        along = np.linspace(0, 1, 8)[:, None]
        waist = np.sin(np.pi * along) * (side * 0.028, 0.0)
        edges.append(point[f"{name}_shoulder"] * (1 - along) + hip * along - waist)
    return edges


def _on_torso(outline, x, y):
    """The point at fractions x from the person's right and y from the shoulders."""
    rows = np.linspace(0, 1, len(outline[0]))
    left, right = (np.array([np.interp(y, rows, edge[:, axis]) for axis in (0, 1)]) for edge in outline)
    return left * (1 - x) + right * x


def _draw_patch(canvas, outline, across, along, color):
    down = np.linspace(*along, 8)
    sides = [[_on_torso(outline, x, y) for y in down] for x in across]
    canvas.polygon([*sides[0], *sides[1][::-1]], color)


def _draw_arms(canvas, person, point):
    thick, sleeve = person.limbs, _shade(person.shirt, 0.88)
    forearm = sleeve if person.long_sleeves else person.skin
    for name in ("r", "l"):
        shoulder, elbow, wrist = (point[f"{name}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
        canvas.limb(elbow, wrist, 0.026 * thick, 0.02 * thick, forearm)
        canvas.limb(shoulder, elbow, 0.034 * thick, 0.027 * thick, forearm)
        canvas.limb(shoulder, 0.45 * shoulder + 0.55 * elbow, 0.034 * thick, 0.036 * thick, sleeve)
        canvas.disk(wrist + (wrist - elbow) * 0.12, 0.025 * thick, person.skin)


def _head_frame(person, point):
    """The head's own coordinates: a function of (x, y) in radii from its center, the radius, right and down."""
    right = (point["l_ear"] - point["r_ear"]) / np.linalg.norm(point["l_ear"] - point["r_ear"])
    down = np.array([-right[1], right[0]])
    radius = 0.068 * person.head
    center = point["neck"] - down * (0.055 + radius)
    return lambda x, y: center + radius * (x * right + y * down), radius, right, down


def _draw_hair_behind(canvas, person, point):
    at, radius, _, _ = _head_frame(person, point)
    if person.hair_style == "long":
        canvas.limb(at(0, 0), at(0, 1.5), radius * 1.2, radius * 1.1, person.hair)
    if person.hair_style == "bun":
        canvas.disk(at(0, -1.35), radius * 0.5, person.hair)


def _draw_head(canvas, person, point):
    at, radius, right, down = _head_frame(person, point)
    canvas.limb(point["neck"] - down * 0.04, point["neck"], 0.024, 0.028, _shade(person.skin, 0.9))
    for ear in (point["r_ear"], point["l_ear"]):
        canvas.disk(ear, radius * 0.2, _shade(person.skin, 0.94))
    canvas.ellipse(at(0, 0), radius * 1.12, radius * 0.96, down, person.skin)
    for eye in (point["r_eye"], point["l_eye"]):
        canvas.ellipse(eye, radius * 0.2, radius * 0.15, right, (252, 252, 252))
        canvas.disk(eye, radius * 0.12, (40, 34, 34))
        brow, half = eye - down * radius * 0.3, right * radius * 0.17
        canvas.limb(brow - half, brow + half, 0.004, 0.004, person.hair)
    canvas.disk(point["nose"], radius * 0.11, _shade(person.skin, 0.84))
    mouth = point["nose"] + down * radius * 0.4
    canvas.ellipse(mouth, radius * 0.3, radius * 0.13, right, (176, 56, 62))
    canvas.ellipse(mouth - down * radius * 0.07, radius * 0.3, radius * 0.08, right, person.skin)
    _draw_hair_in_front(canvas, person, at, radius)


def _draw_hair_in_front(canvas, person, at, radius):
    """The upper part of an ellipse around the skull, or a cap with a brim."""
    low, color = (-0.42, person.pattern_color) if person.hair_style == "cap" else (-0.3, person.hair)
    angles = np.linspace(np.arcsin(low / 1.2), -np.pi - np.arcsin(low / 1.2), 33)[:, None]
    canvas.polygon(at(1.04 * np.cos(angles), 1.2 * np.sin(angles)), color)
    if person.hair_style == "cap":
        canvas.limb(at(-0.95, low), at(0.95, low), 0.009, 0.009, _shade(color, 0.7))
    elif person.hair_style == "long":
        for side in (-1, 1):
            canvas.limb(at(side, -0.45), at(side * 1.06, 0.9), radius * 0.2, radius * 0.16, color)


def _shade(color, factor):
    return tuple(int(channel * factor) for channel in color)
