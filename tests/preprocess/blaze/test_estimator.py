"""Poses against MediaPipe's own on real pictures, what must change with a picture, and whatever else may be in it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ppdiffusers_ext.data.skeletons import VISIBLE
from ppdiffusers_ext.preprocess.blaze import face
from ppdiffusers_ext.preprocess.blaze.estimator import EmbeddedEstimator, to_pose
from ppdiffusers_ext.preprocess.blaze.people import PeopleFinder
from ppdiffusers_ext.preprocess.tracks import follow_person
from tests.support.real_people import CARTOON, cartoon, group, picture, sample, video_frame

GOLDENS = Path(__file__).parents[2] / "goldens" / "embedded_pose"
MANIFEST = json.loads((GOLDENS / "manifest.json").read_text())
STILLS = [name for name, entry in MANIFEST.items() if "frame" not in entry]
# The same joint of the other side, and the same point of the other half of a face.
OTHER_JOINT = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16]
OTHER_POINT = [
    *(*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), *range(45, 41, -1), 47, 46),
    *(*range(39, 35, -1), 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65),
]


def one(estimator, frame):
    (pose,) = estimator([np.ascontiguousarray(frame)])
    return pose


@pytest.mark.parametrize("name", MANIFEST)
def test_points_are_where_mediapipe_itself_sees_them(networks, name):
    golden, entry = np.load(GOLDENS / f"{name}.npz"), MANIFEST[name]
    if "frame" in entry:
        frame = video_frame(sample(f"driving_videos/{entry['source']}"), entry["frame"])
    else:
        frame = picture(sample(f"reference_images/{entry['source']}"))
    (person,) = PeopleFinder(networks)(frame)
    height = np.ptp(golden["pose"][:, 1])
    apart = np.linalg.norm(person.body.points - golden["pose"][:, :2], axis=-1)
    assert apart.mean() <= 0.01 * height
    if name in STILLS:  # in close-ups, where guesses of what is out of the picture differ, the face is found otherwise
        assert np.abs(person.body.visibility - golden["pose"][:, 2]).max() < 0.05
    for hand, key in zip(person.hands, ("left_hand", "right_hand")):
        assert (hand is not None) == (key in golden)
        if hand is not None:
            assert np.linalg.norm(hand.points - golden[key], axis=-1).mean() <= 5
    assert (person.face is not None) == ("face" in golden)
    if person.face is not None:
        assert np.linalg.norm(person.face.mesh - golden["face"], axis=-1).mean() <= (2 if name in STILLS else 3)


def compare(pose, other, size, back):
    """Mean distance of the joints and of the face's points, in heights of the body; `back` leads into the first frame.

    Args:
        size: (width, height) of the first frame.
        back: function of points in fractions of the other frame.
    """
    seen = pose.body_scores[0] > 0.5
    joints = pose.body[0] * size
    height = np.ptp(joints[seen, 1])
    body = np.linalg.norm(joints - back(other.body[0]), axis=-1)[seen].mean() / height
    points = np.linalg.norm(pose.face[0] * size - back(other.face[0]), axis=-1).mean() / height
    return body, points


def of_sample(name):
    return pytest.param(lambda: picture(sample(f"reference_images/{name}.png")), id=name)


BODIES = [pytest.param(cartoon, id="cartoon"), of_sample("younglady"), of_sample("sora_woman")]


@pytest.mark.parametrize("load", BODIES)
def test_mirrored_picture_has_the_mirrored_pose(estimator, load):
    frame = load()
    pose, other = one(estimator, frame), one(estimator, frame[:, ::-1])
    swapped = type(other)(
        other.body[:, OTHER_JOINT],
        other.body_scores[:, OTHER_JOINT],
        other.hands[:, ::-1],
        other.hands_scores[:, ::-1],
        other.face[:, OTHER_POINT],
        other.face_scores,
    )
    size = np.array([frame.shape[1], frame.shape[0]])
    body, points = compare(pose, swapped, size, lambda points: [size[0], 0] + points * size * (-1, 1))
    assert len(other) == 1 and body < 0.02 and points < 0.01


@pytest.mark.parametrize("scale", [0.5, 0.8, 2, 3])
@pytest.mark.parametrize("load", BODIES)
def test_scaled_picture_has_the_same_pose(estimator, load, scale):
    frame = load()
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    other = one(estimator, cv2.resize(frame, None, fx=scale, fy=scale, interpolation=way))
    size = np.array([frame.shape[1], frame.shape[0]])
    body, points = compare(one(estimator, frame), other, size, lambda points: points * size)
    assert len(other) == 1 and body < 0.015 and points < 0.01


@pytest.mark.parametrize("angle", [-20, 10, 30, 90, -90, 180])
@pytest.mark.parametrize("load", BODIES)
def test_turned_picture_has_the_turned_pose(estimator, load, angle):
    frame = load()
    size = np.array([frame.shape[1], frame.shape[0]])
    side = int(np.hypot(*size))
    matrix = cv2.getRotationMatrix2D(tuple(map(float, size / 2)), angle, 1)
    matrix[:, 2] += side / 2 - size / 2
    other = one(estimator, cv2.warpAffine(frame, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE))
    back = cv2.invertAffineTransform(matrix)
    turned = compare(one(estimator, frame), other, size, lambda points: points * side @ back[:, :2].T + back[:, 2])
    assert len(other) == 1 and turned[0] < 0.015 and turned[1] < 0.01


@pytest.mark.parametrize("load", [cartoon, lambda: picture(CARTOON)], ids=["plain", "the demo's"])
def test_drawn_person_is_found_whole(estimator, load):
    pose = one(estimator, load())
    assert len(pose) == 1 and (pose.body_scores[0] > 0.8).all() and pose.face_scores.min() > 0.9
    assert pose.body[0, 4, 0] < pose.body[0, 7, 0], "her right hand is left in the picture"


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((360, 640, 3), np.uint8),
        np.full((360, 640, 3), 255, np.uint8),
        noise(240, 320, 3),
        np.zeros((1, 1, 3), np.uint8),
        noise(8, 600, 3),
    ],
    ids=["black", "white", "noise", "one pixel", "strip"],
)
def test_nobody_is_found_where_nobody_is(estimator, frame):
    poses = list(estimator([frame] * 3))
    assert [len(pose) for pose in poses] == [0, 0, 0] and poses[0].body.shape == (0, 18, 2)


def test_hand_alone_is_nobody(estimator):
    hand = picture(sample("reference_images/younglady.png"))[430:530, 440:520]
    assert [len(one(estimator, frame)) for frame in (hand, cv2.resize(hand, (640, 800)))] == [0, 0]


@pytest.mark.parametrize("size", [(64, 64), (2160, 3840)])
def test_small_and_large_pictures(estimator, size):
    pose = one(estimator, cv2.resize(cartoon(), size))
    assert len(pose) == 1 and (pose.body_scores[0] > VISIBLE).all()


def test_six_people_are_six(estimator):
    pose = one(estimator, group())
    assert len(pose) == 6 and (pose.face_scores > 0.9).all()
    noses = pose.body[:, 0] * (group().shape[1], group().shape[0])
    assert np.linalg.norm(noses[:, None] - noses[None], axis=-1)[~np.eye(6, dtype=bool)].min() > 100
    assert ((pose.body_scores > VISIBLE).sum(axis=1) >= 14).sum() >= 5


def walk(left):
    """The drawn woman, so many pixels to the right, before a grey wall (256 high, 480 wide); None without her."""
    frame = np.full((256, 480, 3), 74, np.uint8)
    woman = cartoon()[:, 30:150]
    if left is not None:
        start, end = max(0, left), min(480, left + woman.shape[1])
        frame[:, start:end] = woman[:, start - left : end - left]
    return frame


def test_person_who_leaves_and_comes_back_is_gone_in_between(estimator):
    places = [*range(300, 480, 20), *[None] * 4, *range(-110, 120, 20)]
    poses = list(estimator(walk(left) for left in places))
    counts = [len(pose) for pose in poses]
    assert counts[:6] == [1] * 6 and counts[9:13] == [0] * 4 and counts[-5:] == [1] * 5
    for pose, left in zip(poses, places):
        if len(pose) and left is not None and 0 <= left <= 360:
            assert pose.body[0, 1, 0] * 480 == pytest.approx(left + 59, abs=6)
    assert all(((pose.body >= 0) & (pose.body <= 1)).all(axis=-1)[pose.body_scores > 0].all() for pose in poses)


def test_frame_after_frame_gives_what_each_alone_gives(estimator):
    frames = [walk(left) for left in range(100, 200, 5)]
    alone = np.concatenate([one(estimator, frame).body for frame in frames])
    followed = np.concatenate([pose.body for pose in estimator(frames)])
    assert followed.shape == (20, 18, 2) and np.median(np.abs(followed - alone).max(axis=(1, 2))) * 256 < 5


def test_change_of_scene_is_noticed(estimator):
    frames = [walk(0)] * 3 + [255 - walk(None)] + [np.ascontiguousarray(walk(0)[:, ::-1])] * 2
    assert [len(pose) for pose in estimator(frames)] == [1, 1, 1, 0, 1, 1]


def test_frames_are_taken_as_they_are_needed(estimator):
    taken = []
    poses = estimator(taken.append(i) or walk(0) for i in range(10))
    next(poses)
    assert taken == [0]


def test_each_call_starts_anew(networks):
    estimator = EmbeddedEstimator(networks)
    first, again = (list(estimator([walk(100), walk(104)])) for _ in range(2))
    assert all((one.body == other.body).all() for one, other in zip(first, again))


def test_head_alone_has_no_joints_out_of_the_picture(estimator):
    woman = cartoon()[25:80, 62:116]  # above the shoulders
    pose = one(estimator, cv2.resize(woman, (540, 550)))
    assert len(pose) == 1 and pose.face_scores.min() > 0.9
    assert (pose.body_scores[0, [0, 14, 15, 16, 17]] > 0.9).all()
    assert (pose.body_scores[0, [4, 7]] < VISIBLE).all() and (pose.body_scores[0, 8:14] == 0).all()


def test_face_of_a_head_alone_is_led_by_the_face_detector(networks):
    frame = video_frame(sample("driving_videos/talking_head.mp4"), 60)
    (person,) = PeopleFinder(networks)(frame)
    assert person.is_close and person.face_region is not None
    joints = to_pose([person], frame.shape[:2]).body[0] * frame.shape[1]
    assert joints[[0, 14, 15, 16, 17]] == pytest.approx(person.face.joints)
    assert person.face_region.size == pytest.approx(face.region_from_mesh(person.face.mesh).size, rel=0.25)


def test_head_that_hardly_moves_does_not_tremble(estimator):
    path = sample("driving_videos/talking_head.mp4")
    poses = list(estimator(video_frame(path, i) for i in range(0, 24)))
    points = np.stack([pose.face[0] for pose in poses]) * 512
    assert np.median(np.linalg.norm(np.diff(points, n=2, axis=0), axis=-1)) < 4


def meeting(step, is_in_front):
    """Two drawn women, one in other clothes, who walk past each other; and where the first one's neck is."""
    wall, woman = cartoon()[:, 235:236], cartoon()[:, 30:150]
    mask = (np.abs(woman.astype(int) - wall).sum(axis=-1) > 45).astype(np.uint8)
    mask[215:] = 0
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0
    other = woman.copy()
    cloth = woman[..., 2].astype(int) > woman[..., 0]
    other[cloth] = other[cloth][:, ::-1]
    for left in range(20, 500, step):
        frame = np.repeat(wall, 640, axis=1)
        both = [(520 - left, other[:, ::-1], mask[:, ::-1]), (left, woman, mask)]
        for start, drawn, where in both if is_in_front else reversed(both):
            frame[:, start : start + 120][where] = drawn[where]
        yield frame, left + 59


@pytest.mark.parametrize("is_in_front", [True, False])
def test_chosen_one_of_two_who_cross_stays_the_right_one(estimator, is_in_front):
    frames, necks = zip(*meeting(12, is_in_front))
    found = list(follow_person(estimator(frames), "left"))
    apart = [abs(pose.body[0, 1, 0] * 640 - neck) for pose, neck in zip(found, necks) if len(pose)]
    assert len(apart) > 34 and max(apart) < 45 and max(apart[-10:]) < 5
