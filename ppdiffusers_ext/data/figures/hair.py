"""Hair of a head, which covers it and hangs from it, and caps."""

from collections.abc import Callable

import numpy as np

from ppdiffusers_ext.data.figures.bodies import Body
from ppdiffusers_ext.data.figures.parts import HAIR
from ppdiffusers_ext.data.figures.pens import Pen
from ppdiffusers_ext.data.figures.postures import Joints, turned

_LOW = {"long": -0.9, "bob": -0.85, "curly": -0.6}  # how far down the back of the head hair reaches


def draw_hair(pen: Pen, body: Body, joints: Joints) -> None:
    """Draw hair, or a cap, on a head that is drawn."""
    style, size, axes, hair = body.hair_style, body.head, joints.head, body.hair
    if style == "bald":
        return
    if style == "cap":
        _draw_cap(pen, body, joints)
        return

    def strands(places: np.ndarray) -> np.ndarray:
        shine = (
            1
            + 0.13 * np.sin(11 * places[:, 0] + 3 * places[:, 2])
            + 0.22 * np.exp(-((places[:, 1] - 0.72) ** 2) / 0.02)
        )
        return np.asarray(hair * shine[:, None])

    thick = 1.2 if style == "curly" else 1.1
    center = joints.skull + 0.02 * size[1] * axes[1]
    pen.ellipsoid(center, axes, size * (thick, thick, thick + 0.02), strands, HAIR, _covering(style))
    _draw_locks(pen, body, joints, strands)


def _covering(style: str) -> Callable[[np.ndarray], np.ndarray]:
    """Which places on the unit sphere have hair, by the name of a style."""
    low = _LOW.get(style, -0.42)

    def keep(places: np.ndarray) -> np.ndarray:
        x, y, z = places.T
        line = 0.52 - 0.12 * (1 - x**2)
        if style == "parted":
            line = 0.36 + 0.36 * np.abs(x - 0.35)
        elif style in ("bob", "long"):
            line = 0.30 + 0.32 * np.abs(x + 0.1)
        elif style == "curly":
            line = 0.42 + 0.05 * np.sin(14 * x)
        sides = (
            (z < 0.28 + 0.2 * (y - 0.2)) & (y > low)
            if style in ("bob", "long")
            else (z < 0.12 * y - 0.25 * (y < 0.15)) & (y > low)
        )
        return np.asarray((y > line) | sides | ((z < 0.3) & (y > 0.18)))

    return keep


def _draw_locks(pen: Pen, body: Body, joints: Joints, strands: Callable[[np.ndarray], np.ndarray]) -> None:
    """Draw what hangs from a head or is tied on it."""
    style, size, axes, center, hair = body.hair_style, body.head, joints.head, joints.skull, body.hair
    back = center - 0.55 * size[2] * axes[2]
    down = -0.75 * joints.chest[1] - 0.25 * axes[1] - 0.25 * joints.chest[2]
    if style == "bob":
        for side in (-1, 1):
            start = center + side * 0.86 * size[0] * axes[0] - 0.15 * size[2] * axes[2] + 0.1 * size[1] * axes[1]
            end = start - 0.95 * size[1] * axes[1]
            pen.cone(start, end, (0.28 * size[0], 0.24 * size[0]), hair, HAIR)
        pen.cone(back, back - 0.6 * size[1] * axes[1], (0.85 * size[0], 0.8 * size[0]), hair * 0.9, HAIR)
    elif style == "long":
        for side in (-1, 0, 1):
            start = back + side * 0.5 * size[0] * axes[0]
            pen.chain(
                [start, start + 1.0 * size[1] * down, start + 2.5 * size[1] * down - 0.1 * size[2] * joints.chest[2]],
                [0.62 * size[0], 0.5 * size[0], 0.3 * size[0]],
                hair * (0.92 + 0.05 * side),
                HAIR,
            )
    elif style == "bun":
        top = center + 0.95 * size[1] * axes[1] - 0.6 * size[2] * axes[2]
        pen.ellipsoid(top, axes, size[0] * np.array([0.52, 0.46, 0.5]), strands, HAIR)
    elif style == "ponytail":
        root = center - 1.0 * size[2] * axes[2] + 0.35 * size[1] * axes[1]
        middle = root - 0.5 * size[2] * axes[2] - 0.4 * size[1] * joints.chest[1]
        end = middle - 1.7 * size[1] * joints.chest[1] + 0.1 * size[2] * axes[2]
        pen.chain([root, middle, end], [0.2 * size[0], 0.36 * size[0], 0.14 * size[0]], hair, HAIR)
    elif style == "curly":
        for angle in np.arange(0, 2 * np.pi, 0.62):
            for height, wide in ((0.75, 0.72), (0.25, 1.02)):
                out = np.array([np.sin(angle) * wide, height, np.cos(angle) * wide - 0.1]) * size
                if out[2] < 0.25 * size[2] or height > 0.5:
                    pen.ellipsoid(center + out @ axes, axes, size[0] * np.array([0.36, 0.36, 0.36]), hair, HAIR)


def _draw_cap(pen: Pen, body: Body, joints: Joints) -> None:
    size, axes, center, color = body.head, joints.head, joints.skull, body.colors[1]

    def dome(places: np.ndarray) -> np.ndarray:
        seam = (np.abs(places[:, 0]) < 0.05) | (places[:, 1] < 0.30)
        return np.where(seam[:, None], color * 0.8, color)

    pen.ellipsoid(
        center, axes, size * 1.07, body.hair, HAIR, lambda places: (places[:, 2] < 0.1) & (places[:, 1] > -0.45)
    )
    pen.ellipsoid(center, axes, size * (1.13, 1.16, 1.13), dome, HAIR, lambda places: places[:, 1] > 0.22)
    brim = center + 0.27 * size[1] * axes[1] + 0.95 * size[2] * axes[2]
    sloping = turned(0.0, 0.2, 0.0) @ axes
    pen.ellipsoid(brim, sloping, size * (0.84, 0.09, 0.78), color * 0.7, HAIR)
