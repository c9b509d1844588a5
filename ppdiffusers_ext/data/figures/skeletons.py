"""What an estimator of poses would find on a figure: body, hands and face, with scores.

Joints that the body or something else hides keep a lower score, as estimators guess them; eyes, ears and the nose have
none where the head hides them.
"""

import numpy as np

from ppdiffusers_ext.data.figures.bodies import Body
from ppdiffusers_ext.data.figures.cameras import View
from ppdiffusers_ext.data.figures.heads import face_points, landmarks
from ppdiffusers_ext.data.figures.parts import HAIR, HAND, HEAD
from ppdiffusers_ext.data.figures.postures import Joints, Posture
from ppdiffusers_ext.data.figures.surfaces import Canvas
from ppdiffusers_ext.data.skeletons import Pose

SEEN, GUESSED, HIDDEN = 0.9, 0.5, 0.0  # scores
_COVERED = 0.025  # how far in front of a point of a head hair may be, and it still counts as seen
_LEAST_SEEN = 0.5  # part of a hand or face that has to be seen for it to be found


def skeleton(body: Body, joints: Joints, posture: Posture, view: View, canvas: Canvas) -> Pose:
    """The `Pose` of a figure that is drawn on a canvas."""
    size = np.array(canvas.depth.shape[::-1])
    face = joints.skull + face_points(body, posture) @ joints.head
    head = joints.skull + landmarks(body, posture) @ joints.head
    points = np.concatenate([_body(joints), head[1:]])
    points[0] = head[0]
    thick = _thickness(body) * view.scale
    places, _ = view.project(points)
    inside = _inside(places, size)
    scores = np.where(_shows(canvas, places, thick), SEEN, GUESSED) * inside
    found = _on_face(joints, view, head[[0, 1, 2, 3, 4]])
    in_front = _shows(canvas, places[[0, 14, 15, 16, 17]], np.full(5, _COVERED * body.height * view.scale))
    scores[[0, 14, 15, 16, 17]] = np.where(found & in_front, SEEN, HIDDEN) * inside[[0, 14, 15, 16, 17]]
    scores[1] = float((scores[[2, 5]] > 0).all())
    hands, hand_scores = zip(*(_hand(joints, view, canvas, side, body) for side in (1, 0)))
    places_of_face, _ = view.project(face)
    nose = places_of_face[30]
    looks_here = float(joints.head[2] @ view.axes[2]) > 0.05
    of_face = _shows(canvas, places_of_face, np.full(68, _COVERED * body.height * view.scale))
    face_scores = np.where(of_face, SEEN, GUESSED) * _inside(places_of_face, size)
    if not looks_here or of_face.mean() < _LEAST_SEEN or not _inside(nose[None], size)[0]:
        face_scores = np.zeros(68)
    return Pose(
        body=places[None, :, :2] / size,
        body_scores=scores[None],
        hands=np.stack(hands)[None] / size,
        hands_scores=np.stack(hand_scores)[None],
        face=places_of_face[None, :, :2] / size,
        face_scores=face_scores[None],
    )


def head_mask(canvas: Canvas) -> np.ndarray:
    """Where head and hair of a figure are seen, (H, W) bool of the canvas."""
    return np.asarray((canvas.part == HEAD) | (canvas.part == HAIR))


def _body(joints: Joints) -> np.ndarray:
    """The first 14 of OpenPose's joints, (14, 3)."""
    points = [joints.neck, joints.neck]  # the first is the nose's
    for side in (0, 1):
        points += [joints.shoulders[side], joints.elbows[side], joints.wrists[side]]
    for side in (0, 1):
        points += [joints.hips[side], joints.knees[side], joints.ankles[side]]
    return np.stack(points)


def _thickness(body: Body) -> np.ndarray:
    """How far each of the 18 joints lies within the body, from its surface, at most."""
    arm, leg, head = (0.05, 0.045, 0.04), (0.12, 0.06, 0.045), (0.05,) * 4
    return np.array([0.05, 0.10, *arm, *arm, *leg, *leg, *head]) * max(body.limbs, body.height) * 1.1


def _inside(places: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(n,) bool: which points of the canvas are in the picture."""
    return np.asarray(((places[:, :2] >= 0) & (places[:, :2] < size)).all(axis=1))


def _shows(canvas: Canvas, places: np.ndarray, thick: np.ndarray) -> np.ndarray:
    """(n,) bool: whether what is drawn at a point is no more than `thick` in front of it."""
    height, width = canvas.depth.shape
    x = np.clip(places[:, 0].astype(int), 0, width - 1)
    y = np.clip(places[:, 1].astype(int), 0, height - 1)
    return np.asarray(canvas.depth[y, x] <= places[:, 2] + thick)


def _on_face(joints: Joints, view: View, points: np.ndarray) -> np.ndarray:
    """(5,) bool: whether the head itself does not hide nose, eyes and ears."""
    to_viewer = view.position - joints.skull
    ahead, left = (to_viewer @ joints.head[axis] / np.linalg.norm(to_viewer) for axis in (2, 0))
    # The nose shows in profile too; the far eye is hidden a little before, the far ear much earlier.
    return np.array([ahead > -0.12, ahead > 0.12 + 0.4 * left, ahead > 0.12 - 0.4 * left, left < 0.42, left > -0.42])


def _hand(joints: Joints, view: View, canvas: Canvas, side: int, body: Body) -> tuple[np.ndarray, np.ndarray]:
    """Places and scores of a hand's points; `side` is 0 for the right one."""
    places, _ = view.project(joints.hands[side])
    size = np.array(canvas.depth.shape[::-1])
    is_seen = _shows(canvas, places, np.full(21, 0.03 * body.height * view.scale))
    scores = np.where(is_seen, SEEN, GUESSED) * _inside(places, size)
    if is_seen.mean() < _LEAST_SEEN or not (canvas.part == HAND + side).any():
        scores = np.zeros(21)
    return places[:, :2], scores
