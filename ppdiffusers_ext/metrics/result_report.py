"""What can be said of a result without its truth: identity, pose errors and drift, gathered in one pass over it.

What is not measured is None, and `reasons` says why. The networks come as arguments: an estimator of people, and a
network that identifies faces.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.metrics.drift import LEAST, PER, Drift, slope
from ppdiffusers_ext.metrics.identity import FaceEmbedder, align_face, csim, five_points
from ppdiffusers_ext.metrics.poses import PARTS, Points, PoseErrors

NO_PEOPLE = "no network that estimates people is at hand"
NO_EMBEDDER = "no network that identifies faces is at hand"
NO_DRIVER = "the poses that drove the result are not known"
_THUMBNAILS, _THUMBNAIL_SIDE = 6, 240  # how many, and pixels
_LEAST_FACE = 0.5  # of its points that have to be seen
_OF_SLOPES = f"a change per {PER} frames is computed over {LEAST} and more"

# Frames, in order -> the people in each, in pixels.
Estimate = Callable[[Iterable[np.ndarray]], Iterable[Sequence[Points]]]


@dataclass(frozen=True)
class Networks:
    """What measures a result; each may be missing, for a reason.

    Attributes:
        people: estimator.
        people_name: its name, as reports tell it.
        faces: identifies faces that `people` finds.
        no_people, no_faces: why one is missing.
    """

    people: Estimate | None = None
    people_name: str = ""
    faces: FaceEmbedder | None = None
    no_people: str = NO_PEOPLE
    no_faces: str = NO_EMBEDDER


@dataclass(frozen=True)
class Driver:
    """The poses that drove a result: one `Points` or None for each frame, in its pixels, and what estimated them.

    Where they are not known `poses` is None, and `reason` says why. Those of a file have its `path`. `from_picture`
    names the joints that the driving video does not show, which were taken from the picture's pose.
    """

    poses: Sequence[Points | None] | None = None
    estimator: str = ""
    reason: str = NO_DRIVER
    path: Path | None = None
    from_picture: tuple[str, ...] = ()

    def inside(self, width: int, height: int) -> Driver:
        """As far as it lies in frames of this size; see `Points.inside`."""
        poses = [None if one is None else one.inside(width, height) for one in self.poses or ()]
        return replace(self, poses=None if self.poses is None else poses)


@dataclass(frozen=True)
class Measures:
    """What was measured.

    Attributes:
        values: as it is written as JSON; see docs/metrics.md.
        thumbnails: number of the frame and JPEG of some frames.
        reference: JPEG of the reference.
    """

    values: dict[str, Any]
    thumbnails: list[tuple[int, bytes]] = field(default_factory=list)
    reference: bytes = b""


def measure(
    frames: Iterable[np.ndarray],
    reference: np.ndarray,
    num_frames: int,
    networks: Networks | None = None,
    driver: Driver | None = None,
) -> Measures:
    """Measure a result against its reference picture and, where they are known, the poses that drove it.

    Args:
        frames: of the result, (H, W, 3) uint8, read as they are asked for: a few at a time are held.
        reference: picture of the frames' size, uint8.
        num_frames: how many there will be.
        networks, driver: see `Networks`, `Driver`.

    Raises:
        ValueError: no frames, frames of several sizes, or another number of driving poses.
    """
    networks, driver = networks or Networks(), driver or Driver()
    if driver.poses is not None and len(driver.poses) != num_frames:
        raise ValueError(f"the result has {num_frames} frames, its driver {len(driver.poses)}; both must be equal")
    drift, errors, identity = Drift(reference), PoseErrors(), _Identity(networks, reference)
    shown, thumbnails = {round(i) for i in np.linspace(0, num_frames - 1, min(_THUMBNAILS, num_frames))}, []
    for i, (frame, people) in enumerate(_with_people(frames, networks.people)):
        drift.add(frame)
        identity.add(frame, people)
        errors.add(people, driver.poses[i] if driver.poses is not None else None)
        if i in shown:
            thumbnails.append((i, thumbnail(frame)))
    reasons: dict[str, str] = {}
    measured = drift.result()
    if measured["sharpness"]["mean"] is None:
        reasons["sharpness"] = "the reference is flat: nothing in it is sharp"
    if measured["colour"]["delta_e_per_100_frames"] is None:
        reasons["drift"] = f"the result has {counted(num_frames, 'frame')}; {_OF_SLOPES}"
    of_faces = identity.result()
    reasons |= identity.reasons
    poses = _poses(errors, networks, driver, reasons)
    values = {
        "networks": {
            "poses": networks.people_name or None,
            "driving_poses": driver.estimator or None,
            "identity": networks.faces.name if networks.faces is not None else None,
        },
        f"csim_{networks.faces.name}" if networks.faces is not None else "csim": of_faces,
        "poses": poses,
        **measured,
        "reasons": reasons,
    }
    return Measures(values, thumbnails, thumbnail(reference))


def identity_of(values: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """The key of the identity in what `measure` gives, `csim_NETWORK`, and its value."""
    return next((name, value) for name, value in values.items() if name.startswith("csim"))


def _with_people(
    frames: Iterable[np.ndarray], estimate: Estimate | None
) -> Iterator[tuple[np.ndarray, Sequence[Points]]]:
    """Frames with the people in them; an estimator that takes several at a time has as many held."""
    if estimate is None:
        return ((frame, ()) for frame in frames)
    ours, its = itertools.tee(frames)
    return ((frame, people) for people, frame in zip(estimate(its), ours, strict=True))


def _poses(errors: PoseErrors, networks: Networks, driver: Driver, reasons: dict[str, str]) -> dict[str, Any] | None:
    """The errors of poses, or None and a reason; so for parts of them."""
    if driver.poses is None or networks.people is None:
        reasons["poses"] = driver.reason if driver.poses is None else networks.no_people
        return None
    values = errors.result()
    if not values["frames_with_driver"]:
        reasons["poses"] = "the poses that drove the result show nobody"
        return None
    for part in PARTS:
        if not values[part]["points"]:
            reasons[f"poses.{part}"] = "no driving pose shows it"
        elif values[part]["akd_pixels"] is None:
            reasons[f"poses.{part}"] = "the result shows none of it"
    return {**values, "joints_from_picture": list(driver.from_picture)}


class _Identity:
    """Cosines of the embeddings of the largest face in each frame with that of the reference."""

    def __init__(self, networks: Networks, reference: np.ndarray) -> None:
        self._embedder = networks.faces
        self._threshold = networks.faces.threshold if networks.faces is not None else 0.0
        self._cosines: list[float | None] = []
        self._reference: np.ndarray | None = None
        self.reasons: dict[str, str] = {}
        if networks.faces is None:
            self.reasons["csim"] = networks.no_faces
        elif networks.people is None:
            self.reasons["csim"] = f"faces are found by the pose network: {networks.no_people}"
        else:
            (people,) = networks.people([reference])
            self._reference = self._embed(reference, people)
            if self._reference is None:
                self.reasons["csim"] = "the reference shows no face"

    def _embed(self, frame: np.ndarray, people: Sequence[Points]) -> np.ndarray | None:
        if self._embedder is None or (face := _largest_face(people)) is None:
            return None
        return np.asarray(self._embedder.embed(align_face(frame, five_points(face))))

    def add(self, frame: np.ndarray, people: Sequence[Points]) -> None:
        if self._reference is not None:
            embedding = self._embed(frame, people)
            self._cosines.append(None if embedding is None else csim(embedding, self._reference))

    def result(self) -> dict[str, Any] | None:
        seen = [cosine for cosine in self._cosines if cosine is not None]
        if self._reference is not None and not seen:
            self.reasons["csim"] = "no frame shows a face"
        if not seen:
            return None
        change = slope(self._cosines)
        if change is None and len(self._cosines) >= LEAST:
            self.reasons["csim.per_100_frames"] = f"the frames with a face are too close together; {_OF_SLOPES}"
        return {
            "mean": float(np.mean(seen)),
            "min": min(seen),
            "per_100_frames": change,
            "threshold": self._threshold,
            "frames_below_threshold": sum(cosine < self._threshold for cosine in seen),
            "frames_without_face": len(self._cosines) - len(seen),
            "frames": self._cosines,
        }


def _largest_face(people: Sequence[Points]) -> np.ndarray | None:
    """The (68, 2) points of the largest face that is seen, or None."""
    part = PARTS["face"]
    faces = [one.xy[part] for one in people if one.seen[part].mean() >= _LEAST_FACE]
    faces = [face for face in faces if np.ptp(face, axis=0).min() > 0]
    return max(faces, key=lambda face: float(np.prod(np.ptp(face, axis=0))), default=None)


def thumbnail(frame: np.ndarray) -> bytes:
    """A small JPEG of a frame."""
    picture, buffer = Image.fromarray(frame), io.BytesIO()
    picture.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    picture.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def summary(values: Mapping[str, Any]) -> str:
    """One line of the key numbers, for a contact sheet; what is not measured is left out."""
    name, identity = identity_of(values)
    colour, sharp, poses = values["colour"], values["sharpness"], values["poses"]
    parts = []
    if identity is not None:
        parts.append(f"{name} {identity['mean']:.3f} (min {identity['min']:.3f})")
    if poses is not None and poses["body"]["akd_pixels"] is not None:
        parts.append(f"AKD {poses['body']['akd_pixels']:.1f} px")
    if poses is not None and poses["body"]["mkr"] is not None:
        parts.append(f"missing joints {poses['body']['mkr']:.1%}")
    parts.append(f"colour dE {colour['delta_e']:.1f}")
    if colour["delta_e_per_100_frames"] is not None:
        parts.append(f"drift {colour['delta_e_per_100_frames']:.1f} per 100 frames")
    if sharp["mean"] is not None:
        parts.append(f"sharpness {sharp['mean']:.0%}")
    if values["flicker_second_difference"] is not None:
        parts.append(f"flicker {values['flicker_second_difference']:.2f}")
    return "   ".join(parts)
