"""Who a figure is: build, lengths of bones, colours, hair and clothes, which follow from a seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ImageColor

BUILDS = {  # height, and factors of shoulders, waist, hips, depth of the belly, thickness of limbs, head
    "average": (1.00, 1.00, 1.00, 1.00, 1.00, 1.00, 1.00),
    "slim": (1.00, 0.92, 0.86, 0.92, 0.88, 0.84, 0.99),
    "athletic": (1.02, 1.12, 0.92, 0.94, 0.98, 1.12, 0.98),
    "curvy": (0.98, 0.95, 0.92, 1.16, 1.00, 1.03, 1.01),
    "heavy": (0.99, 1.06, 1.34, 1.18, 1.38, 1.22, 1.03),
    "child": (0.76, 0.90, 1.02, 0.94, 1.02, 0.95, 1.36),
}
_HEAD = np.array([0.0595, 0.0775, 0.0660])  # half axes of an adult's skull: to the side, up, and to the front
HAIR_STYLES = ("short", "parted", "long", "bob", "bun", "ponytail", "curly", "bald", "cap")
TOPS = ("t-shirt", "long sleeves", "vest", "jacket", "hoodie")
BOTTOMS = ("trousers", "shorts", "skirt", "dress")
PATTERNS = ("plain", "stripes", "bars", "checks", "dots", "print")


def _colors(text: str) -> np.ndarray:
    return np.array([ImageColor.getrgb(f"#{color}") for color in text.split()], np.float32)


_SKINS = _colors("fbd7bb f2c49b e2b084 c98d5e 9a6240 6d4630 f0c8a8")
_HAIRS = _colors("1f1a1a 3d2618 6e4424 a9743a d9b26a b4512a 9b9ba2 33272e")
_CLOTHES = _colors("d4453f ee9432 f2cf4a 5aa564 2f8a8a 4a86cf 35427c 8a5fb0 e58aa8 f1efe8 3a3b42 97714f b8c4cc 7d8f4e")
_EYES = _colors("4a2f20 5b4632 3f6b52 3d6a9b 37302e")


@dataclass(frozen=True)
class Body:
    """A person's looks.

    Attributes:
        build: one of `BUILDS`.
        height: in heights of an adult; all lengths below are in these too.
        upper_arm, forearm, hand, thigh, shin, spine, neck: lengths; the spine is from the hips to between the
            shoulders, the neck from there to the head's centre.
        shoulders, hips: halves of the distances of both joints.
        chest, waist, seat: half axes of cross-sections, to the side and to the front.
        limbs: factor of the limbs' thickness.
        head: half axes of the skull: to the side, up, and to the front.
        skin, hair, eyes: colours, (3,) fp32.
        hair_style, top, bottom, pattern, bottom_pattern: names; see above.
        colors: (5, 3) fp32, of the top, its pattern, the bottom, the shoes, and what is under a jacket.
        beard, glasses: whether there are.
    """

    build: str
    height: float
    upper_arm: float
    forearm: float
    hand: float
    thigh: float
    shin: float
    spine: float
    neck: float
    shoulders: float
    hips: float
    chest: tuple[float, float]
    waist: tuple[float, float]
    seat: tuple[float, float]
    limbs: float
    head: np.ndarray
    skin: np.ndarray
    hair: np.ndarray
    eyes: np.ndarray
    hair_style: str
    top: str
    bottom: str
    pattern: str
    bottom_pattern: str
    colors: np.ndarray
    beard: bool
    glasses: bool

    @property
    def ankle(self) -> float:
        """Height of an ankle on the floor."""
        return 0.048 * self.height

    @property
    def leg(self) -> float:
        """Length of a leg from hip to ankle."""
        return self.thigh + self.shin

    def features(self) -> np.ndarray:
        """Numbers around zero in which people whose heads look alike are alike, (n,)."""
        covering = self.colors[1] if self.hair_style == "cap" else self.hair
        colors = (np.concatenate([self.skin, covering]) - 128) / 64
        style = 2.0 * np.array([self.hair_style == style for style in HAIR_STYLES])
        head = (self.head / (self.height * _HEAD) - 1.07) / 0.1
        return np.array([*colors, *style, self.beard, self.glasses, *head])


def random_body(rng: np.random.Generator) -> Body:
    """The `Body` that a generator gives."""

    def choose(options: Sequence[Any] | np.ndarray) -> Any:
        return options[rng.integers(len(options))]

    build = choose(list(BUILDS))
    height, shoulders, waist, hips, belly, limbs, head = (value * rng.uniform(0.97, 1.03) for value in BUILDS[build])
    legs, arms = rng.uniform(0.96, 1.04, 2) * height * (0.94 if build == "child" else 1.0)
    head = head * rng.uniform(0.98, 1.06)
    clothes = _CLOTHES[rng.permutation(len(_CLOTHES))[:5]] * rng.uniform(0.88, 1.0, (5, 1))
    style, bottom = choose(HAIR_STYLES), choose(BOTTOMS)
    style = "short" if style == "bald" and (build in ("child", "curvy") or bottom in ("skirt", "dress")) else style
    may_have_beard = style in ("short", "parted", "bald", "cap") and build not in ("child", "curvy")
    may_have_beard = may_have_beard and bottom in ("trousers", "shorts")
    return Body(
        build=build,
        height=height,
        upper_arm=0.160 * arms,
        forearm=0.140 * arms,
        hand=0.098 * arms,
        thigh=0.245 * legs,
        shin=0.232 * legs,
        spine=0.295 * (2 * height - legs),
        neck=0.118 * height * (1.12 if build == "child" else 1.0),
        shoulders=0.100 * height * shoulders,
        hips=0.052 * height * hips,
        chest=(0.093 * height * shoulders, 0.062 * height * (0.5 + 0.5 * belly)),
        waist=(0.082 * height * waist, 0.055 * height * belly),
        seat=(0.096 * height * hips, 0.064 * height * (0.5 + 0.5 * belly)),
        limbs=height * limbs,
        head=_HEAD * height * head * rng.uniform(0.97, 1.03, 3),
        skin=choose(_SKINS),
        hair=choose(_HAIRS),
        eyes=choose(_EYES),
        hair_style=style,
        top=choose([top for top in TOPS if (top, bottom) != ("jacket", "dress")]),
        bottom=bottom,
        pattern=choose(PATTERNS),
        bottom_pattern=choose(("plain", "plain", "stripes", "checks", "dots")),
        colors=clothes.astype(np.float32),
        beard=bool(rng.random() < 0.35 and may_have_beard),
        glasses=bool(rng.random() < 0.2),
    )
