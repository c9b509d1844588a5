"""Places where figures stand, made of flat polygons: rooms, a studio, streets, a park."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import ImageColor


@dataclass(frozen=True)
class Quad:
    """A flat polygon, (n, 3) in the world, and its colour, (3,)."""

    points: np.ndarray
    color: np.ndarray


_Place = tuple[list[Quad], tuple[np.ndarray, np.ndarray]]
_FRONT = 2.5  # how far floors reach towards the camera


def _colors(text: str) -> np.ndarray:
    return np.array([ImageColor.getrgb(f"#{color}") for color in text.split()], np.float64)


_WALLS = _colors("e9e2d4 d5dde3 cfd8c6 e8d3c4 c4c9d6 f0e9dc b9c7c9 d9c7a8 a9b7a3 8fa3b5")
_FLOORS = _colors("b58a5c 8c6a48 c9b08c a5a29c 7d7f86 d6cfc0 6f5138")
_THINGS = _colors("a8483c 3f6f8f d2a03c 5c8058 7a5a86 c97b5a 4a4e58 e0d8c8 2f7f7a 94644a")
_SKY = (_colors("8fb8e0 b9cfe6 e8b98c 9fa9b8"), _colors("dcebf5 eef3f6 f8e4c8 ccd2d8"))


def _pick(rng: np.random.Generator, colors: np.ndarray) -> np.ndarray:
    return np.asarray(colors[rng.integers(len(colors))] * rng.uniform(0.92, 1.0))


def _upright(x: tuple[float, float], y: tuple[float, float], z: float, color: np.ndarray) -> Quad:
    """A rectangle that faces the viewer."""
    return Quad(np.array([[x[0], y[0], z], [x[1], y[0], z], [x[1], y[1], z], [x[0], y[1], z]]), color)


def _flat(x: tuple[float, float], z: tuple[float, float], y: float, color: np.ndarray) -> Quad:
    """A rectangle that lies."""
    return Quad(np.array([[x[0], y, z[0]], [x[1], y, z[0]], [x[1], y, z[1]], [x[0], y, z[1]]]), color)


def _side(x: float, y: tuple[float, float], z: tuple[float, float], color: np.ndarray) -> Quad:
    """A rectangle that faces to a side."""
    return Quad(np.array([[x, y[0], z[0]], [x, y[0], z[1]], [x, y[1], z[1]], [x, y[1], z[0]]]), color)


def _disk(center: tuple[float, float, float], wide: float, high: float, color: np.ndarray, lies: bool = False) -> Quad:
    angles = np.linspace(0, 2 * np.pi, 25)[:-1]
    across, other = wide * np.cos(angles), high * np.sin(angles)
    still = np.zeros(24)
    return Quad(np.array(center) + np.stack([across, still, other] if lies else [across, other, still], axis=1), color)


def _box(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], color: np.ndarray) -> list[Quad]:
    """A box on which one looks from the front: sides and top, then the front. `z` is back and front."""
    inner = x[0] if x[0] > 0 else x[1]
    sides = [_side(inner, y, z, color * 0.72)] if x[0] > 0 or x[1] < 0 else []
    return [*sides, _flat(x, z, y[1], np.minimum(color * 1.1, 255)), _upright(x, y, z[1], color)]


def _floor(rng: np.random.Generator, back: float, color: np.ndarray) -> Iterator[Quad]:
    """A floor of planks, of tiles, or plain."""
    wide = (-6.0, 6.0)
    yield _flat(wide, (back, _FRONT), 0.0, color)
    kind = rng.integers(3)
    if kind == 0:  # planks away from the viewer
        for number, x in enumerate(np.arange(-6.0, 6.0, 0.32)):
            yield _flat((x, x + 0.32), (back, _FRONT), 0.0, color * (0.9 + 0.1 * (number * 7 % 5) / 4))
            yield _flat((x - 0.006, x + 0.006), (back, _FRONT), 0.0, color * 0.72)
    elif kind == 1:
        size = rng.uniform(0.4, 0.6)
        for i, x in enumerate(np.arange(-4.0, 4.0, size)):
            for j, z in enumerate(np.arange(back, _FRONT, size)):
                if (i + j) % 2:
                    yield _flat((x, x + size), (z, min(z + size, _FRONT)), 0.0, color * 0.84)


def _window(rng: np.random.Generator, x: float, z: float) -> Iterator[Quad]:
    wide, low, high = rng.uniform(0.3, 0.5), rng.uniform(0.45, 0.6), rng.uniform(1.15, 1.35)
    frame, sky = np.full(3, 245.0), _pick(rng, _SKY[0])
    yield _upright((x - wide - 0.04, x + wide + 0.04), (low - 0.04, high + 0.04), z, frame)
    yield _upright((x - wide, x + wide), (low, high), z, sky)
    yield _upright((x - wide, x + wide), (low, low + 0.3 * (high - low)), z, _colors("8fae84")[0])
    for bar in (x - 0.012, x + 0.012):
        yield _upright((bar - 0.006, bar + 0.006), (low, high), z, frame)
    yield _upright((x - wide, x + wide), (0.5 * (low + high) - 0.012, 0.5 * (low + high) + 0.012), z, frame)
    if rng.random() < 0.6:
        cloth = _pick(rng, _THINGS)
        for side in (-1, 1):
            for fold in range(4):
                edge = x + side * (wide + 0.10 - 0.07 * fold)
                yield _upright(
                    (edge - 0.045, edge + 0.045), (low - 0.25, high + 0.08), z, cloth * (0.85 + 0.1 * (fold % 2))
                )


def _painting(rng: np.random.Generator, x: float, z: float) -> Iterator[Quad]:
    wide, high, middle = rng.uniform(0.12, 0.25), rng.uniform(0.12, 0.22), rng.uniform(0.95, 1.1)
    yield _upright((x - wide, x + wide), (middle - high, middle + high), z, _pick(rng, _THINGS) * 0.5)
    yield _upright(
        (x - 0.86 * wide, x + 0.86 * wide), (middle - 0.84 * high, middle + 0.84 * high), z, _pick(rng, _WALLS)
    )
    yield _disk((x + 0.2 * wide, middle, z), 0.4 * wide, 0.4 * high, _pick(rng, _THINGS))


def _shelf(rng: np.random.Generator, x: float, z: float) -> Iterator[Quad]:
    wood, wide, high = _pick(rng, _FLOORS) * 0.8, 0.36, rng.uniform(0.9, 1.25)
    yield from _box((x - wide, x + wide), (0, high), (z, z + 0.22), wood)
    for low in np.arange(0.05, high - 0.2, 0.3):
        yield _upright((x - wide + 0.04, x + wide - 0.04), (low, low + 0.25), z + 0.22, wood * 0.45)
        edge = x - wide + 0.05
        while edge < x + wide - 0.1:
            thick = rng.uniform(0.03, 0.06)
            yield _upright(
                (edge, edge + thick * 0.9), (low, low + rng.uniform(0.15, 0.23)), z + 0.22, _pick(rng, _THINGS)
            )
            edge += thick


def _sofa(rng: np.random.Generator, x: float, z: float) -> Iterator[Quad]:
    cloth = _pick(rng, _THINGS)
    yield from _box((x - 0.6, x + 0.6), (0.05, 0.5), (z, z + 0.15), cloth)
    yield from _box((x - 0.55, x + 0.55), (0.05, 0.25), (z + 0.15, z + 0.5), cloth * 0.94)
    for side in (-1, 1):
        arm = sorted((x + side * 0.52, x + side * 0.68))
        yield from _box((arm[0], arm[1]), (0.03, 0.36), (z + 0.05, z + 0.52), cloth * 0.88)
    yield _upright((x - 0.3, x), (0.27, 0.47), z + 0.16, _pick(rng, _THINGS))


def _plant(rng: np.random.Generator, x: float, z: float) -> Iterator[Quad]:
    green = _colors("4f8048")[0] * rng.uniform(0.8, 1.15)
    for angle, high in ((-0.24, 0.55), (0.22, 0.6), (-0.1, 0.75), (0.1, 0.68), (0.0, 0.5)):
        yield _disk((x + angle, high, z), 0.10, 0.22, green * rng.uniform(0.8, 1.1))
    yield from _box((x - 0.11, x + 0.11), (0, 0.26), (z - 0.1, z + 0.1), _pick(rng, _THINGS))


def _room(rng: np.random.Generator) -> _Place:
    """Walls, a floor, a window or paintings, and furniture along the wall."""
    back, wall = -rng.uniform(1.1, 1.8), _pick(rng, _WALLS)
    left, right = -rng.uniform(1.7, 2.6), rng.uniform(1.7, 2.6)
    quads = [_upright((-6, 6), (0, 3.0), back, wall)]
    style = rng.integers(3)
    if style == 0:
        quads += [_upright((x, x + 0.16), (0, 3.0), back, wall * 0.94) for x in np.arange(-5, 5, 0.32)]
    elif style == 1:
        quads += [_upright((-6, 6), (0, 0.5), back, _pick(rng, _WALLS) * 0.9)]
    quads += [_upright((-6, 6), (0, 0.07), back, np.minimum(wall * 1.1, 255))]
    quads += list(_floor(rng, back, _pick(rng, _FLOORS)))
    if rng.random() < 0.5:
        rug = _pick(rng, _THINGS)
        quads += [_disk((0, 0, 0.1), 0.95, 0.55, rug, lies=True), _disk((0, 0, 0.1), 0.8, 0.44, rug * 0.85, lies=True)]
    things = [_window, _painting, _painting]
    places = np.array([-1.15, 0.05, 1.15]) + rng.uniform(-0.15, 0.15, 3)
    for x, number in zip(places, rng.permutation(3)):
        quads += list(things[number](rng, float(x), back))
    furniture: list[Callable] = [_shelf, _sofa, _plant]
    for x, number in zip((-1.05, 1.1), rng.permutation(3)[:2]):
        quads += list(furniture[number](rng, float(x + rng.uniform(-0.2, 0.2)), back + 0.03))
    quads += [_side(left, (0, 3.0), (back, _FRONT), wall * 0.86), _side(right, (0, 3.0), (back, _FRONT), wall * 0.8)]
    return quads, (wall, wall * 0.9)


def _studio(rng: np.random.Generator) -> _Place:
    """A backdrop that goes over into the floor."""
    color = _pick(rng, _WALLS)
    steps = np.linspace(0, 1, 14)
    quads = [_flat((-6, 6), (-1.0, _FRONT), 0.0, color * 0.9)]
    for first, second in zip(steps, steps[1:]):  # a quarter of a cylinder
        angles = first * np.pi / 2, second * np.pi / 2
        (z0, y0), (z1, y1) = ((-1.0 - 0.7 * np.sin(a), 0.7 * (1 - np.cos(a))) for a in angles)
        points = np.array([[-6, y0, z0], [6, y0, z0], [6, y1, z1], [-6, y1, z1]])
        quads.append(Quad(points, color * (0.9 + 0.1 * second)))
    return quads, (color, color)


def _sky(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    number = rng.integers(len(_SKY[0]))
    return _SKY[0][number], _SKY[1][number]


def _pavement(rng: np.random.Generator, back: float) -> Iterator[Quad]:
    color = _colors("b4b0a8 a39d96 c2b8a8")[rng.integers(3)]
    yield _flat((-14, 14), (back, _FRONT), 0.0, color)
    size = rng.uniform(0.45, 0.65)
    for z in np.arange(back, _FRONT, size):
        yield _flat((-14, 14), (z - 0.008, z + 0.008), 0.0, color * 0.8)
    for x in np.arange(-9, 9, size):
        yield _flat((x - 0.008, x + 0.008), (back, _FRONT), 0.0, color * 0.82)


def _houses(rng: np.random.Generator, z: float, has_shops: bool) -> Iterator[Quad]:
    """A row of fronts with windows, with shops below if they are near."""
    x = -9.0
    while x < 9:
        wide, high, color = rng.uniform(1.5, 2.4), rng.uniform(2.4, 4.2), _pick(rng, _WALLS) * rng.uniform(0.75, 1.0)
        yield _upright((x, x + wide), (0, high), z, color)
        low = 1.25 if has_shops else 0.35
        glass = _colors("5f7688 8fa7b5 3f4c58")[rng.integers(3)]
        for floor in np.arange(low + 0.2, high - 0.5, 0.85):
            for left in np.arange(x + 0.18, x + wide - 0.4, 0.55):
                yield _upright(
                    (left - 0.03, left + 0.33), (floor - 0.03, floor + 0.53), z, np.minimum(color * 1.15, 255)
                )
                yield _upright((left, left + 0.3), (floor, floor + 0.5), z, glass)
        if has_shops:
            trim = _pick(rng, _THINGS)
            yield _upright((x + 0.08, x + wide - 0.08), (0, 1.12), z, trim * 0.7)
            yield _upright((x + 0.16, x + wide - 0.62), (0.25, 0.9), z, _colors("c8d4d4")[0])
            yield _upright((x + 0.22, x + wide - 0.8), (0.28, 0.5), z, _pick(rng, _THINGS))
            yield _upright((x + wide - 0.54, x + wide - 0.16), (0, 0.92), z, trim)
            yield _upright((x + wide - 0.49, x + wide - 0.21), (0.3, 0.86), z, _colors("a8bcc4")[0])
            stripes = np.linspace(x + 0.08, x + wide - 0.08, 9)
            for number, (first, second) in enumerate(zip(stripes, stripes[1:])):
                points = np.array(
                    [[first, 1.14, z], [second, 1.14, z], [second, 0.95, z + 0.35], [first, 0.95, z + 0.35]]
                )
                yield Quad(points, trim if number % 2 else np.full(3, 238.0))
        x += wide


def _street(rng: np.random.Generator) -> _Place:
    """A pavement along shops."""
    back = -rng.uniform(1.2, 1.7)
    return [*_houses(rng, back, True), *_pavement(rng, back)], _sky(rng)


def _tree(rng: np.random.Generator, x: float, z: float) -> Iterator[Quad]:
    green, high = _colors("5a8a4a 6d9a52 4a7850")[rng.integers(3)], rng.uniform(0.9, 1.4)
    yield _upright((x - 0.06, x + 0.06), (0, high), z, _colors("6b4e38")[0])
    for across, up, size in ((-0.3, 0.1, 0.42), (0.32, 0.12, 0.4), (0.0, 0.45, 0.5), (0.05, 0.0, 0.42)):
        yield _disk((x + across, high + up, z), size, 0.9 * size, green * rng.uniform(0.85, 1.08))


def _car(rng: np.random.Generator, x: float, z: float) -> Iterator[Quad]:
    color = _pick(rng, _THINGS)
    roof = np.array([[-0.55, 0.42], [0.6, 0.42], [0.38, 0.74], [-0.3, 0.74]])
    yield Quad(np.column_stack([roof + (x, 0), np.full(4, z)]), color * 0.9)
    yield Quad(np.column_stack([roof * (0.88, 0.9) + (x, 0.055), np.full(4, z)]), _colors("44525e")[0])
    yield _upright((x - 1.05, x + 1.0), (0.14, 0.44), z, color)
    for wheel in (-0.62, 0.6):
        yield _disk((x + wheel, 0.16, z), 0.17, 0.17, np.full(3, 38.0))
        yield _disk((x + wheel, 0.16, z), 0.08, 0.08, np.full(3, 150.0))


def _avenue(rng: np.random.Generator) -> _Place:
    """A pavement, a road with cars, and houses beyond."""
    kerb, far, tar = -0.9, -4.2, _colors("62646a")[0]
    quads = [*_houses(rng, far - 0.8, False), _flat((-16, 16), (far - 0.8, far), 0.0, _colors("a8a49c")[0])]
    quads += [_flat((-16, 16), (far, kerb), -0.05, tar)]
    quads += [_flat((x, x + 0.7), (-2.6, -2.5), -0.05, np.full(3, 225.0)) for x in np.arange(-10, 10, 1.4)]
    for x in rng.permutation([-4.0, -1.4, 1.5, 4.2])[:2]:
        quads += list(_car(rng, float(x + rng.uniform(-0.3, 0.3)), -3.2))
    quads += list(_pavement(rng, kerb)) + [_upright((-16, 16), (-0.06, 0.0), kerb, np.full(3, 130.0))]
    for x in rng.permutation([-1.6, 1.5, 3.4])[: rng.integers(1, 3)]:
        quads += list(_tree(rng, float(x), kerb + 0.12))
    return quads, _sky(rng)


def _park(rng: np.random.Generator) -> _Place:
    """Grass, a path, trees, and hills."""
    grass = _colors("86a860 7a9c5a 9ab06c")[rng.integers(3)]
    quads = [_disk((float(x), 0.0, -9.0), 4.0, float(rng.uniform(0.8, 1.8)), grass * 0.75) for x in (-7, -1, 5, 9)]
    quads += [_flat((-20, 20), (-9, _FRONT), 0.0, grass)]
    for z in (-6.0, -4.0, -2.4):
        quads += [quad for x in rng.uniform(-3.4, 3.4, 2) for quad in _tree(rng, float(x), z)]
    quads += [_flat((-20, 20), (-0.7, 0.9), 0.0, _colors("d0bc94")[0])]
    bench = float(rng.choice((-1.1, 1.1)))
    quads += _box((bench - 0.4, bench + 0.4), (0.2, 0.24), (-1.2, -0.95), _colors("7c5a3c")[0])
    quads += [_upright((bench - 0.4, bench + 0.4), (0.32, 0.46), -1.2, _colors("86623f")[0])]
    quads += [_upright((bench + x - 0.02, bench + x + 0.02), (0, 0.2), -0.96, np.full(3, 60.0)) for x in (-0.33, 0.33)]
    return quads, _sky(rng)


PLACES: dict[str, Callable[[np.random.Generator], _Place]] = {
    **{"room": _room, "studio": _studio, "street": _street, "avenue": _avenue, "park": _park}
}
