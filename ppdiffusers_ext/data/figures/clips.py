"""Clips of detailed figures: a reference, poses, the same person in these poses, and what is to be measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from ppdiffusers_ext.data.drawn_clip import SyntheticClip, identity_vector
from ppdiffusers_ext.data.figures import backgrounds, motions
from ppdiffusers_ext.data.figures.backgrounds import Background, random_background
from ppdiffusers_ext.data.figures.bodies import Body, random_body
from ppdiffusers_ext.data.figures.cameras import Camera, random_camera
from ppdiffusers_ext.data.figures.figure import draw_figure
from ppdiffusers_ext.data.figures.pens import Pen
from ppdiffusers_ext.data.figures.postures import Posture, between, place_joints
from ppdiffusers_ext.data.figures.recorded import recorded_head, recorded_motion
from ppdiffusers_ext.data.figures.skeletons import head_mask, skeleton
from ppdiffusers_ext.data.figures.surfaces import Canvas
from ppdiffusers_ext.data.skeletons import Pose, SkeletonPainter, Style

RECORDED = "recorded"
_RECORDED_PART = 0.3  # of the clips
_RECORDED_HEADS = 0.4  # of the others
_STREAMS = 7  # tells the generators of detailed figures from others of the same seed


@dataclass(frozen=True)
class Actor:
    """Whom a clip shows, where, and what happens. rest: `Posture` of the reference. motion: a name."""

    body: Body
    background: Background
    camera: Camera
    rest: Posture
    move: motions.Motion
    motion: str


@dataclass(frozen=True)
class Frame:
    """One drawn frame. picture: (H, W, 3) uint8. pose: what an estimator would find. head: (H, W) uint8, white where
    head and hair are seen. parts: the canvas' numbers of parts, in its pixels."""

    picture: np.ndarray
    pose: Pose
    head: np.ndarray
    parts: np.ndarray


def actor_of(seed: int | Sequence[int], close: bool = False, motion: str | None = None, still: float = 0.0) -> Actor:
    """The `Actor` of a seed.

    Args:
        seed: a number, or several.
        close: whether the upper body fills the picture.
        motion: one of `motions.MOTIONS` or "recorded", instead of what the seed says.
        still: part of the cameras that do not move, see `cameras.random_camera`.
    """
    key = [int(number) for number in np.atleast_1d(seed)]
    looks, place, way, view = (np.random.default_rng([*key, _STREAMS, number]) for number in range(4))
    body, background, camera = random_body(looks), random_background(place), random_camera(view, close, still)
    name = motions.MOTIONS[way.integers(len(motions.MOTIONS))]
    name = RECORDED if way.random() < _RECORDED_PART else name
    name = motion or name
    rest = motions.standing(way, float(way.uniform(-0.3, 0.3)), float(way.uniform(-0.08, 0.08)))
    move = recorded_motion(way, body) if name == RECORDED else motions.random_motion(way, body, name)
    if name == RECORDED or way.random() < _RECORDED_HEADS:
        move = recorded_head(way, move)
    return Actor(body, background, camera, rest, move, name)


def draw_frame(actor: Actor, posture: Posture, index: float, width: int, height: int) -> Frame:
    """The `Frame` of an actor in a posture, as the camera sees them in frame `index`."""
    joints, canvas = place_joints(actor.body, posture), Canvas(width, height)
    follows = float(posture.pelvis[0]) if actor.motion == "walk" else 0.0
    # A child's face is lower than an adult's.
    camera = actor.camera.lowered(actor.body.height)
    view = camera.view(index, follows, width, height)
    backgrounds.paint_background(actor.background, view, canvas)
    backgrounds.paint_shadow(actor.background, view, canvas, actor.body, joints)
    draw_figure(Pen(canvas, view), actor.body, joints, posture)
    canvas.color *= actor.background.tint.astype(np.float32)
    mask = cv2.resize(255 * head_mask(canvas).astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA)
    return Frame(canvas.finish(), skeleton(actor.body, joints, posture, view, canvas), mask, canvas.part)


def detailed_clip(
    seed: int | Sequence[int],
    num_frames: int,
    width: int,
    height: int,
    entrance: int,
    close: bool,
    style: Style,
    still: float,
) -> SyntheticClip:
    """The `SyntheticClip` of a seed; arguments are those of `data.synthetic.synthetic_clip`."""
    actor = actor_of(seed, close, still=still)
    painter = SkeletonPainter(height, width, style)
    frames = [
        draw_frame(actor, between(actor.rest, actor.move(index), 1 + index / max(entrance, 1)), index, width, height)
        for index in range(-entrance, num_frames)
    ]
    return SyntheticClip(
        reference=draw_frame(actor, actor.rest, -entrance, width, height).picture,
        pose=np.stack([painter(frame.pose) for frame in frames]),
        target=np.stack([frame.picture for frame in frames]),
        face=np.stack([frame.head for frame in frames]),
        identity=identity_vector(actor.body.features()),
        fps=Fraction(motions.FPS),
        skeletons=tuple(frame.pose for frame in frames),
    )
