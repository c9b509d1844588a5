"""What is to be seen in a video of a drawn person: the colours of shirt and background, and the motion.

Nothing here knows of prompts. The background is what stays: of each row the colour that most pixels of all frames
have. The figure is what differs from it, and its shirt the part between neck and hips. The motion is that of the most
similar clips among rendered ones, by the way the figure's outline changes.
"""

import functools
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from ppdiffusers_ext.data.colour_drift import to_lab, to_rgb
from ppdiffusers_ext.data.scenes import COLORS, MOON, MOTIONS, Scene, all_scenes, draw_scene

PROPERTIES = ("shirt", "background", "motion")
NIGHT = "night"
_DIFFERENT = 16.0  # distance in CIE Lab from the background, of pixels of the figure
_SHADOW, _OF_SHADOW = 0.8, 7.0  # brightness of a shadow beside the floor's, and distance up to which it is one
_WEIGHTS = np.array([0.6, 1.0, 1.0])  # of lightness and the two of colour, where colours are named
_HALF_TRUNK = 0.045  # of the side, to both sides of the figure's middle
_SHIRT = (0.27, 0.45)  # of the figure's height, from the top
_FEWEST = 12  # pixels of a figure
_NEIGHBOURS = 5
# Of a moon: rows above, columns behind, distance from its colour in CIE Lab below, and part of the picture.
_MOON = (0.3, 0.7, 20.0, 0.006)


def name_colors(frames: np.ndarray) -> tuple[str, str]:
    """The names, of `COLORS`, of shirt and background.

    Args:
        frames: (N, H, W, 3) uint8.
    """
    lab = np.stack([to_lab(frame) for frame in frames])  # (N, H, W, 3)
    background = _background(lab)
    shirt = [
        frame[rows, columns][mask[rows, columns]]
        for frame, mask in zip(lab, _figure(lab, background))
        if (where := _shirt_region(mask)) is not None
        for rows, columns in [where]
    ]
    wall = np.median(background[: len(background) // 2], axis=0)
    pixels = np.concatenate(shirt) if shirt else np.empty((0, 3))
    return _nearest_color(np.median(pixels, axis=0) if len(pixels) else wall), _nearest_color(wall)


def is_at_night(frames: np.ndarray) -> bool:
    """Whether a moon is to be seen in at least half of the frames, (N, H, W, 3) uint8."""
    lab = np.stack([to_lab(frame) for frame in frames])
    below, before, near, part = _MOON
    rows, columns = int(below * lab.shape[1]), int(before * lab.shape[2])
    away = np.linalg.norm(lab[:, :rows, columns:] - to_lab(np.array([[MOON]], np.uint8)), axis=-1)
    areas = (away < near).sum(axis=(1, 2)) / lab[0, ..., 0].size
    return bool(np.mean(areas > part) >= 0.5)


def mean_lightness(frames: np.ndarray) -> float:
    """CIE's lightness, from 0 to 100, of the mean pixel of (N, H, W, 3) uint8."""
    return float(np.mean([to_lab(frame)[..., 0].mean() for frame in frames]))


class MotionClassifier:
    """Names the motion in a video by rendered clips, sharp and soft ones, the most similar of which have it.

    Args:
        seed: of the rendered clips.
        num_frames: of each, at `data.scenes.FPS`.
        side: pixels.
        clips: of each motion.
    """

    def __init__(self, seed: int, num_frames: int, side: int, clips: int = 12) -> None:
        self._names, features = _known_motions(seed, num_frames, side, clips)
        self._mean, self._spread = features.mean(axis=0), features.std(axis=0) + 1e-3
        self._features = (features - self._mean) / self._spread

    def __call__(self, frames: np.ndarray) -> str:
        """The name, of `MOTIONS`, of the motion in (N, H, W, 3) uint8."""
        features = (motion_features(frames) - self._mean) / self._spread
        distances = np.linalg.norm(self._features - features, axis=1)
        votes = dict.fromkeys(MOTIONS, 0.0)
        for i in np.argsort(distances, kind="stable")[:_NEIGHBOURS]:
            votes[self._names[i]] += 1 / (1e-6 + distances[i])
        return max(votes, key=lambda name: votes[name])

    def accuracy(self, seed: int, count: int, num_frames: int, side: int) -> float:
        """The part of `count` rendered clips of another seed that are named rightly."""
        motions = [list(MOTIONS)[i % len(MOTIONS)] for i in range(count)]
        right = [self(rendered_clip(m, (seed, i), num_frames, side)) == m for i, m in enumerate(motions)]
        return float(np.mean(right))


@functools.lru_cache(maxsize=2)  # they take seconds
def _known_motions(seed: int, num_frames: int, side: int, clips: int) -> tuple[list[str], np.ndarray]:
    """Names and features of the clips of a `MotionClassifier`, each sharp and soft."""
    names, rows = [], []
    for number, motion in enumerate(motion for motion in MOTIONS for _ in range(clips)):
        frames = rendered_clip(motion, (seed, number), num_frames, side)
        names += [motion, motion]
        rows += [motion_features(frames), motion_features(_softened(frames))]
    return names, np.stack(rows)


def rendered_clip(motion: str, seed: Sequence[int], num_frames: int, side: int) -> np.ndarray:
    """A clip of a motion in colours that follow from the seed: (N, side, side, 3) uint8."""
    scenes = [scene for scene in all_scenes() if scene.motion == motion]
    rng = np.random.default_rng([*seed, 2])
    skipped = int(rng.integers(2, 6))  # as in training, which leaves out the first tenth of a clip, or more
    return draw_scene(scenes[rng.integers(len(scenes))], seed, num_frames + skipped, side)[skipped:]


def motion_features(frames: np.ndarray) -> np.ndarray:
    """How a figure's outline moves, in parts of the picture's side.

    Of its lower end, upper end, left and right end, middle, and area in quarters of the picture around the middle,
    the mean, the range, and how much of the range is covered from one frame to the next.

    Args:
        frames: (N, H, W, 3) uint8.

    Returns:
        (features,) float.
    """
    lab = np.stack([to_lab(frame) for frame in frames])
    signals = _signals(_figure(lab, _background(lab)))  # (N, signals)
    low, high = np.percentile(signals, [5, 95], axis=0)
    steps = np.abs(np.diff(signals, axis=0)).mean(axis=0) if len(signals) > 1 else np.zeros(signals.shape[1])
    drift = signals[-len(signals) // 4 :].mean(axis=0) - signals[: max(1, len(signals) // 4)].mean(axis=0)
    return np.concatenate([signals.mean(axis=0), 2 * (high - low), 4 * steps, drift])


def _softened(frames: np.ndarray) -> np.ndarray:
    """Frames as an autoencoder leaves them: without what is smaller than two pixels."""
    height, width = frames.shape[1:3]
    small = (max(1, width // 2), max(1, height // 2))
    return np.stack([cv2.resize(cv2.resize(f, small, interpolation=cv2.INTER_AREA), (width, height)) for f in frames])


def _signals(masks: np.ndarray) -> np.ndarray:
    """(N, H, W) bool -> (N, signals), of frames with a figure; others are as the frame before."""
    rows: list[np.ndarray] = []
    for mask in masks:
        if mask.sum() < _FEWEST:
            rows.append(rows[-1] if rows else np.zeros(9))
            continue
        height, width = mask.shape
        y, x = np.nonzero(mask)
        top, bottom, left, right = (np.percentile(v, p) for v, p in ((y, 1), (y, 99), (x, 1), (x, 99)))
        middle = np.median(x)
        trunk = mask[:, max(0, int(middle) - 2) : int(middle) + 3].any(axis=1)
        head = np.argmax(trunk) if trunk.any() else top  # where the figure begins above its middle
        ends = np.array([top / height, bottom / height, head / height, middle / width])
        spread = np.array([(middle - left) / width, (right - middle) / width])
        upper = y < head + 0.2 * (bottom - head)
        beside = (x < middle - 0.06 * width, x > middle + 0.06 * width)
        sides = [float((upper & is_beside).mean()) for is_beside in beside]
        rows.append(np.array([*ends, *spread, *sides, np.sqrt(mask.mean())]))
    return np.stack(rows)


def _background(lab: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) -> the colour of each row behind the figure, (H, 3)."""
    return np.median(lab.transpose(1, 0, 2, 3).reshape(lab.shape[1], -1, 3), axis=1)


def _figure(lab: np.ndarray, background: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) and (H, 3) -> (N, H, W) bool, without its shadow on the floor."""
    shadow = to_lab((to_rgb(background[None]) * _SHADOW).astype(np.uint8))  # (1, H, 3)
    away = [np.linalg.norm(lab - color[None, :, None], axis=-1) for color in (background, shadow[0])]
    return (away[0] > _DIFFERENT) & (away[1] > _OF_SHADOW)


def _shirt_region(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns between the figure's neck and hips; None without a figure."""
    if mask.sum() < _FEWEST:
        return None
    height, width = mask.shape
    middle, half = int(np.median(np.nonzero(mask)[1])), max(1, round(_HALF_TRUNK * width))
    columns = slice(max(0, middle - half), middle + half + 1)
    rows = np.nonzero(mask[:, columns].sum(axis=1) > half)[0]
    if len(rows) < 3:
        return None
    top, tall = rows[0], rows[-1] - rows[0]
    return slice(int(top + _SHIRT[0] * tall), int(top + _SHIRT[1] * tall) + 1), columns


def _nearest_color(lab: np.ndarray) -> str:
    table = to_lab(np.array([list(COLORS.values())], np.uint8))[0]
    distances = np.linalg.norm((table - lab) * _WEIGHTS, axis=1)
    return list(COLORS)[int(np.argmin(distances))]


def right_parts(wanted: Sequence[Scene], seen: Sequence[Scene]) -> dict[str, float]:
    """For each of `PROPERTIES`, in how large a part of videos what is seen is what is wanted; and for "all"."""
    rows = np.array([[getattr(a, name) == getattr(b, name) for name in PROPERTIES] for a, b in zip(wanted, seen)])
    return {**dict(zip(PROPERTIES, rows.mean(axis=0).tolist())), "all": float(rows.all(axis=1).mean())}


def chance_parts(wanted: Sequence[Scene], seen: Sequence[Scene]) -> dict[str, float]:
    """As `right_parts`, of what is seen against every other prompt but its own: what is right by chance."""
    others: Iterable[int] = range(1, len(wanted))
    parts = [right_parts([*wanted[k:], *wanted[:k]], seen) for k in others]
    names = (*PROPERTIES, "all")
    return {name: float(np.mean([part[name] for part in parts])) if parts else 0.0 for name in names}
