"""Who is in a frame: people followed from the frame before, detected ones, and those of whom only a face is found.

As in MediaPipe's `pose_landmark_cpu.pbtxt` a person is followed by its own points while the network is sure that there
is one, and detected again otherwise. That graph follows one person whose hips are in the picture; here all are
followed. Faces that no body covers tell where further people are. In close-ups, whose hips are guesses, the region
comes from the detector, and head and face come from the face detector.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from ppdiffusers_ext.preprocess.blaze import body as bodies
from ppdiffusers_ext.preprocess.blaze import face as faces
from ppdiffusers_ext.preprocess.blaze.body import Body, BodyNetwork
from ppdiffusers_ext.preprocess.blaze.detector import CLOSE_FACES, PEOPLE, Detection, Detector
from ppdiffusers_ext.preprocess.blaze.face import Face, MeshNetwork
from ppdiffusers_ext.preprocess.blaze.face_finder import FaceFinder, tiles
from ppdiffusers_ext.preprocess.blaze.hands import Hand, HandNetworks
from ppdiffusers_ext.preprocess.blaze.networks import Networks
from ppdiffusers_ext.preprocess.blaze.regions import RIGHT, Region, Tolerance, direction, steady, whole

PRESENT = 0.5  # certainty from which there is a person in a region
_SURE, _SURE_FACE = 0.9, 0.98  # the same where the detector is not certain, and of a face without a body
_LEAST = 0.15  # certainty of the detector where nobody is found otherwise
_CERTAIN = 0.8  # the same in a tile, where nobody's face is seen: parts of a body pass for small people up to 0.7
_EVERY = 15  # frames after which newcomers are looked for
_MOST = 32  # people in a frame
_CUT, _THUMBNAIL = 30.0, 32  # mean difference of brightness, of 255, between scenes; pixels that are compared
_COVERED = 0.6  # distance of a nose from the middle of a face, in sizes of the face, within which they are one's
_NEAR = 0.1  # distance of the hips of two people, in sizes of their region, within which they are one
_STEADY = Tolerance(turn=10, move=0.05, growth=0.15)
_STEADY_FACE = Tolerance(turn=15, move=0.1, growth=0.3, inset=0.8)
# From the face to the hips, and side of the region, in sizes of the face: of who stands, and of who sits.
_BODIES = ((3.9, 14.0), (2.5, 8.0))


@dataclass(frozen=True, eq=False)
class Person:
    """What is found of a person in a frame.

    Attributes:
        body: a `Body`; None if only a face is found.
        region: in which it was found.
        is_close: the hips are out of the picture.
        hands: left, right; None where not seen.
        face: None where not seen.
        face_region: in which it was looked for; None where nothing told of one.
    """

    body: Body | None
    region: Region
    is_close: bool
    hands: tuple[Hand | None, Hand | None] = (None, None)
    face: Face | None = None
    face_region: Region | None = None


@dataclass(frozen=True, eq=False)
class _Found:
    """A body that is found, where, and the same `Person` in the frame before, if known."""

    body: Body
    region: Region
    last: Person | None = None


class PeopleFinder:
    """Finds the people in the frames of one video, one frame after another.

    Args:
        networks: the opened `Networks`.
    """

    def __init__(self, networks: Networks) -> None:
        self._detect = Detector(networks.person_detector, PEOPLE)
        self._body = BodyNetwork(networks.body)
        self._hand = HandNetworks(networks.hand_recrop, networks.hand)
        self._close_faces = Detector(networks.close_face_detector, CLOSE_FACES)
        self._mesh = MeshNetwork(networks.face)
        self._faces = FaceFinder(networks.face_detector)
        self._people: list[Person] = []
        self._thumbnail: np.ndarray | None = None
        self._age = 0  # frames since newcomers were looked for
        self._age_of_tiles = _EVERY  # the same in tiles, which take long where nobody is found in any frame

    def __call__(self, frame: np.ndarray) -> list[Person]:
        """The people in the next frame, (H, W, 3) uint8 RGB."""
        if self._is_cut(frame):
            self._people, self._age_of_tiles = [], _EVERY
        found = self._follow(frame)
        self._age, self._age_of_tiles = self._age + 1, self._age_of_tiles + 1
        is_due = not self._people or len(found) < sum(_is_followed(one) for one in self._people) or self._age > _EVERY
        boxes = self._faces(frame, is_due)
        alone = _uncovered(boxes, found)
        known = [one.face for one in self._people if one.body is None]
        is_new = any(not any(_is_at(box, face) for face in known) for box in alone)
        if is_due or is_new or any(one.is_close for one in self._people):
            self._look(frame, found)
            if is_due or is_new:
                self._look_below(frame, found, _uncovered(boxes, found))
            if is_due and self._age_of_tiles > _EVERY:
                self._age_of_tiles = 0
                self._look_in_tiles(frame, found, boxes)
            alone = _uncovered(boxes, found)
        self._age = 0 if is_due else self._age
        people = [self._complete(frame, one, boxes) for one in found]
        self._people = (people + self._heads(frame, alone, people))[:_MOST]
        return self._people

    def _is_cut(self, frame: np.ndarray) -> bool:
        """True if the frame before is of another scene, or of another size, or there is none."""
        height, width = frame.shape[:2]
        steps = (max(1, side // _THUMBNAIL) for side in (height, width))
        thumbnail = frame[tuple(slice(step // 2, None, step) for step in steps)].mean(axis=-1)
        last, self._thumbnail = self._thumbnail, thumbnail
        return last is None or last.shape != thumbnail.shape or float(np.abs(last - thumbnail).mean()) > _CUT

    def _follow(self, frame: np.ndarray) -> list[_Found]:
        """Those whose hips were seen in the frame before, and who are still there."""
        found: list[_Found] = []
        for person in self._people:
            if _is_followed(person) and person.body is not None:
                self._add(frame, found, person.body.region, person)
        return found

    def _add(self, frame: np.ndarray, found: list[_Found], region: Region, last: Person | None) -> None:
        """Add the body in a region, if there is one. Of two bodies that are one person's the surer one stays."""
        if len(found) >= _MOST or not region.is_usable():
            return
        body = self._body(frame, region)
        if body.presence < PRESENT:
            return
        same = [other for other in found if body.is_same_as(other.body)]
        if all(other.last is None and other.body.presence < body.presence for other in same):
            found[:] = [*(other for other in found if other not in same), _Found(body, region, last)]

    def _look(self, frame: np.ndarray, found: list[_Found]) -> None:
        """Add whom the detector sees, and who was close in the frame before."""
        close = [person for person in self._people if person.is_close and person.body is not None]
        detections = self._detect(frame, whole(frame))
        for detection in detections:
            region = bodies.region_of(detection)
            if any(_is_near(region, other.body.region) for other in found):
                continue
            last = min(close, key=lambda one: _distance(region, one.region), default=None)
            if last is not None and _is_near(region, last.region):
                close.remove(last)
                self._add(frame, found, steady(last.region, region, _STEADY), last)
            else:
                self._add(frame, found, region, None)
        for person in close:
            self._add(frame, found, person.region, person)
        if not found and not detections:
            found += self._look_closer(frame)

    def _look_closer(self, frame: np.ndarray) -> list[_Found]:
        """The person whom the detector is not certain of, if its body is where it is from both ways of looking."""
        detections = self._detect(frame, whole(frame), _LEAST)
        return next(([one] for one in map(partial(self._look_twice, frame), detections) if one), [])

    def _look_twice(self, frame: np.ndarray, detection: Detection) -> _Found | None:
        """The body of a detection, if it is surely there from both ways of looking."""
        region = bodies.region_of(detection)
        if not region.is_usable():
            return None
        first = self._body(frame, region)
        if first.presence < _SURE or not first.region.is_usable():
            return None
        second = self._body(frame, first.region)
        return _Found(second, first.region) if second.presence >= _SURE and second.is_same_as(first) else None

    def _look_in_tiles(self, frame: np.ndarray, found: list[_Found], boxes: list[Detection]) -> None:
        """Add those who are too small in the whole for the detector: with a face of their own, or quite certain."""
        for detection in [one for tile in tiles(frame) for one in self._detect(frame, tile, _LEAST)]:
            alone = [box for box in _uncovered(boxes, found) if _is_around(bodies.region_of(detection), box)]
            if not alone and detection.score < _CERTAIN:
                continue
            if any(_is_near(bodies.region_of(detection), other.body.region) for other in found):
                continue
            new = self._look_twice(frame, detection)
            if new is None or len(found) >= _MOST or any(new.body.is_same_as(other.body) for other in found):
                continue
            hips = new.body.region.center
            has_face = any(_covers(new.body, box) for box in alone)
            is_part = any(_is_among(hips, other.body.points) for other in found) or not _is_inside(frame, hips)
            if has_face or (detection.score >= _CERTAIN and not is_part):  # boots pass for a person, too
                found.append(new)

    def _look_below(self, frame: np.ndarray, found: list[_Found], alone: list[Detection]) -> None:
        """Add those of whom the detector saw the face alone, if it is one: look where who stands or sits would be."""
        for box in alone:
            face = self._mesh(frame, faces.region_of(box))
            if (
                face is not None
                and face.presence >= _SURE_FACE
                and not any(_covers(other.body, box) for other in found)
            ):
                self._add_from_face(frame, found, box)

    def _add_from_face(self, frame: np.ndarray, found: list[_Found], box: Detection) -> None:
        """Add the body of a face, if there is one: from where it may be to where it is."""
        seen = []
        for hips, size in _BODIES:
            region = body_region(box, hips, size)
            region = self._body(frame, region).region if region.is_usable() else region
            if region.is_usable():
                body = self._body(frame, region)
                if body.presence >= PRESENT and _covers(body, box):
                    seen.append(_Found(body, region))
        best = min(seen, key=lambda one: _head_distance(one.body, box), default=None)
        if best is not None and len(found) < _MOST and not any(best.body.is_same_as(other.body) for other in found):
            found.append(best)

    def _complete(self, frame: np.ndarray, found: _Found, boxes: list[Detection]) -> Person:
        """Add hands and face to a body."""
        body, last = found.body, found.last
        is_close = not _is_inside(frame, body.region.center)
        last_hands = last.hands if last is not None else (None, None)
        hands = (self._hand(frame, body, 0, last_hands[0]), self._hand(frame, body, 1, last_hands[1]))
        region = self._face_region(frame, body, last, [box for box in boxes if _covers(body, box)] if is_close else [])
        face = None if region is None else self._mesh(frame, region)
        return Person(body, found.region, is_close, hands, face, region)

    def _face_region(
        self, frame: np.ndarray, body: Body, last: Person | None, boxes: list[Detection]
    ) -> Region | None:
        """Where the face of a body is: by the best of `boxes` in close-ups, else by the detector for close faces."""
        if boxes:
            region = faces.region_of(boxes[0])
            return steady(last.face_region, region, _STEADY) if last and last.face_region else region
        head = faces.head_region(body)
        found = self._close_faces(frame, head) if head.is_usable() else []
        if not found:
            return None
        region = faces.region_of(found[0])
        if last is None or last.face is None:
            return region
        return steady(faces.region_from_mesh(last.face.mesh), region, _STEADY_FACE, last.face.mesh)

    def _heads(self, frame: np.ndarray, alone: list[Detection], people: list[Person]) -> list[Person]:
        """People of whom only a face is found: where the detector sees one, or there was one in the frame before."""
        regions = [faces.region_of(box) for box in alone]
        regions += [faces.region_from_mesh(one.face.mesh) for one in self._people if one.body is None and one.face]
        found: list[Person] = []
        for region in regions:
            seen = [one.face for one in (*people, *found) if one.face is not None]
            if not any(_is_in(region.center, face) for face in seen):
                face = self._mesh(frame, region)
                if (
                    face is not None
                    and face.presence >= _SURE_FACE
                    and not any(_is_in(face.mesh.mean(axis=0), other) for other in seen)
                ):
                    found.append(Person(None, region, True, face=face, face_region=region))
        return found


def body_region(face: Detection, hips: float, size: float) -> Region:
    """Where the body of a face may be.

    Args:
        hips: how far below the face, in sizes of the face.
        size: of the region, likewise.
    """
    right, left = face.keypoints[:2]
    center = (face.box[:2] + face.box[2:]) / 2
    return Region(center, face.size, direction(right, left, RIGHT)).scaled(size, hips)


def _head_distance(body: Body, face: Detection) -> float:
    """How far nose and eyes of a body are from those of a face."""
    points = body.points[[bodies.RIGHT_EYE, bodies.LEFT_EYE, bodies.NOSE]]
    return float(np.linalg.norm(points - face.keypoints[:3], axis=-1).mean())


def _is_followed(person: Person) -> bool:
    return person.body is not None and not person.is_close


def _uncovered(boxes: list[Detection], found: list[_Found]) -> list[Detection]:
    """Faces that are no found body's."""
    return [box for box in boxes if not any(_covers(one.body, box) for one in found)]


def _covers(body: Body, face: Detection) -> bool:
    """True if a face is this body's: its nose is in it."""
    center = (face.box[:2] + face.box[2:]) / 2
    return bool(np.abs(body.points[bodies.NOSE] - center).max() <= _COVERED * face.size)


def _is_at(box: Detection, face: Face | None) -> bool:
    return face is not None and _is_in((box.box[:2] + box.box[2:]) / 2, face)


def _is_in(point: np.ndarray, face: Face) -> bool:
    """True if a point, (2,), is within the mesh of a face."""
    return _is_among(point, face.mesh)


def _is_among(point: np.ndarray, points: np.ndarray) -> bool:
    """True if a point, (2,), is in the box around others, (n, 2)."""
    low, high = points.min(axis=0), points.max(axis=0)
    return bool((low <= point).all() and (point <= high).all())


def _distance(region: Region, other: Region) -> float:
    return float(np.linalg.norm(region.center - other.center)) / min(region.size, other.size)


def _is_near(region: Region, other: Region) -> bool:
    return _distance(region, other) < _NEAR


def _is_around(region: Region, face: Detection) -> bool:
    """True if a face is in the region of a body."""
    center = (face.box[:2] + face.box[2:]) / 2
    return region.is_usable() and bool(np.abs(region.to_region(center) - 0.5).max() <= 0.5)


def _is_inside(frame: np.ndarray, point: np.ndarray) -> bool:
    return bool((point >= 0).all() and (point <= (frame.shape[1], frame.shape[0])).all())
