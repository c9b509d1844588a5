"""Poses as JSON: what is read back is what was written, as far as it is drawn."""

import json

import numpy as np
import pytest

from ppdiffusers_ext.data.skeletons import Pose, Style
from ppdiffusers_ext.metrics.driving import read_driver
from ppdiffusers_ext.metrics.poses import PARTS
from ppdiffusers_ext.preprocess.extraction import STYLES
from ppdiffusers_ext.preprocess.pose_file import as_drawn, people, pose_file
from tests.support.people import person, together

SIZE = (200, 100)


def written(path, *poses):
    with pose_file(path, "made_up", SIZE) as file:
        for pose in poses:
            file.write(pose)
    assert file.counts == [len(pose) for pose in poses]
    return read_driver(path)


def test_poses_are_read_back_as_they_were_written(tmp_path):
    poses = [person(missing=(4,)), Pose.empty(), together(person(width=0.2, height=0.2), person(left=0.3))]
    driver = written(tmp_path / "poses.json", *poses)
    assert driver.estimator == "made_up" and driver.poses[1] is None
    for found, pose in ((driver.poses[0], poses[0]), (driver.poses[2], poses[2].person(1))):
        points = np.concatenate([pose.body[0], pose.hands[0].reshape(-1, 2), pose.face[0]]) * SIZE
        assert found.xy[found.seen] == pytest.approx(points[found.seen], abs=0.006)
    assert np.flatnonzero(~driver.poses[0].seen).tolist() == [4]


@pytest.mark.parametrize("hands", [True, False])
@pytest.mark.parametrize("face", [True, False])
def test_what_is_not_drawn_is_not_seen(tmp_path, hands, face):
    style = Style(512, weighted=True, hands=hands, face=face)
    (one,) = written(tmp_path / "poses.json", as_drawn(person(), style)).poses
    assert one.seen[PARTS["body"]].all()
    assert one.seen[PARTS["hands"]].all() == one.seen[PARTS["hands"]].any() == hands
    assert one.seen[PARTS["face"]].all() == one.seen[PARTS["face"]].any() == face


def test_file_of_a_run_that_fails_is_not_there(tmp_path):
    with pytest.raises(KeyError), pose_file(tmp_path / "poses.json", "made_up", SIZE) as file:
        file.write(person())
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_no_frames_are_a_file_too(tmp_path):
    assert written(tmp_path / "poses.json").poses == []
    assert json.loads((tmp_path / "poses.json").read_text()) == {"estimator": "made_up", "frames": []}


def test_styles_of_the_systems_draw_all():
    for style in STYLES.values():
        assert as_drawn(person(), style).face_scores.all()


def test_what_is_not_seen_is_null():
    pose = together(person(missing=(3,)), person())
    pose.body_scores[0, 3] = pose.hands_scores[0, 1] = pose.face_scores[1] = 0
    one, other = people(pose, (200, 100))
    assert one["body"][3] is None and one["right_hand"] is None and other["face"] is None
    assert one["body"][0] == pytest.approx([*(pose.body[0, 0] * (200, 100)), 0.9], abs=0.01)
    assert one["left_hand"] is not None and people(Pose.empty(), (10, 10)) == []
