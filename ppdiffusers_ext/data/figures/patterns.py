"""Patterns of clothes, which lie on a body and turn with it."""

from collections.abc import Callable

import numpy as np

from ppdiffusers_ext.data.figures.bodies import Body
from ppdiffusers_ext.data.figures.surfaces import Paint

_WAY = 1.3  # from above the neck to the end of the trunk, in lengths of the spine
_ABOVE = 0.1


def on_limb(color: np.ndarray, other: np.ndarray, pattern: str, skin: np.ndarray, clothed: float) -> Paint:
    """The paint of a cone of which the first part, `clothed`, is covered; at 1 and more all is, at 0 and less none."""
    if clothed <= 0:
        return skin
    if pattern == "plain" and clothed >= 1:
        return color

    def paint(t: np.ndarray) -> np.ndarray:
        mask = {
            "stripes": lambda: t * 6 % 1 > 0.55,
            "checks": lambda: t * 4 % 1 < 0.5,
            "dots": lambda: np.abs(t * 5 % 1 - 0.5) < 0.14,
        }.get(pattern, lambda: np.zeros(t.shape, bool))()
        cloth = np.where(mask[:, None], other, color)
        return np.where((t < clothed)[:, None], cloth, skin)

    return paint


def on_trunk(body: Body) -> Callable[[np.ndarray], np.ndarray]:
    """The paint of the trunk: the top with its pattern, the neckline, a belt, and what is of the bottom."""
    color, other, bottom, _, under = body.colors
    neckline = {"vest": 0.11, "t-shirt": 0.075, "hoodie": 0.02}.get(body.top, 0.055)

    def paint(places: np.ndarray) -> np.ndarray:
        y, angle = places[:, 0] * _WAY - _ABOVE, places[:, 1]  # y in lengths of the spine from between the shoulders
        cloth = np.where(_pattern(body.pattern, y, angle)[:, None], other, color)
        front = np.abs(angle)
        if body.top == "jacket":
            is_open = front < 0.34 + 0.12 * (1 - y)
            edge = np.abs(front - 0.34 - 0.12 * (1 - y)) < 0.07
            cloth = np.where(edge[:, None], color * 0.72, np.where(is_open[:, None], under, color))
        if body.top == "hoodie":
            pocket = (front < 0.85) & (y > 0.62) & (y < 0.86)
            cloth = np.where(pocket[:, None], cloth * 0.86, cloth)
        skin = (y < 1.25 * neckline * np.cos(front)) & (front < 1.45)
        if body.top == "vest":
            skin = skin | ((y < 0.24) & (np.abs(front - np.pi / 2) < 0.62 - 1.3 * y)) | (y < 0.02)
        cloth = np.where(skin[:, None] | ((y < -0.06) & (front < 1.7))[:, None], body.skin, cloth)
        if body.bottom == "dress":
            return np.where(((y > 0.60) & (y < 0.66))[:, None], other, cloth)
        belt = (y > 0.86) & (y < 0.91)
        below = np.where(_pattern(body.bottom_pattern, y, angle)[:, None], body.colors[3], bottom)
        cloth = np.where((y > 0.86)[:, None], bottom if body.bottom == "skirt" else below, cloth)
        return np.asarray(np.where(belt[:, None], bottom * 0.6, cloth))

    return paint


def _pattern(name: str, y: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """(n,) bool: where a pattern has its second colour; it lies around the body."""
    x = angle / np.pi * 4  # about as long as y's unit
    if name == "stripes":
        return y * 6 % 1 < 0.45
    if name == "bars":
        return x * 2.2 % 1 < 0.32
    if name == "checks":
        return (y * 4 % 1 < 0.5) ^ (x % 1 < 0.5)
    if name == "dots":
        row = np.floor(y * 5.5)
        return ((x * 1.5 + 0.5 * (row % 2)) % 1 - 0.5) ** 2 + ((y * 5.5) % 1 - 0.5) ** 2 < 0.075
    if name == "print":  # on the chest, and a line across the back
        chest = (np.abs(angle) / 0.5) ** 2 + ((y - 0.32) / 0.13) ** 2 < 1
        back = (np.abs(angle) > 2.2) & (np.abs(y - 0.3) < 0.05)
        return chest | back
    return np.zeros(y.shape, bool)
